"""What one call may cost at most, by teacher name.

A budget can only be kept if the price of a call is known before it is made. A teacher that is not
listed here has an unknown price, which is not the same as a free one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Price:
    """The most one call can cost, in US dollars; 0.0 is free."""

    call_usd: float


FREE = Price(0.0)


def price_of(teacher: str) -> Price | None:
    """The price of a teacher's calls, None where it is not known. The offline world is free."""
    return FREE if teacher.partition("-")[0] == "sketch" else None
