"""What one call may cost, by teacher.

A budget can only be kept if the price of a call is known before it is made. A teacher that does not
say what it costs has an unknown price, which is not the same as a free one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from janus4o.exchange import PaintRequest, WriteRequest


@dataclass(frozen=True, slots=True)
class Price:
    """The most one call can cost, in US dollars; 0.0 is free.

    Attributes:
        likely_usd: what it will cost as far as one can tell; None where it is always `call_usd`.
    """

    call_usd: float
    likely_usd: float | None = None

    @property
    def low_usd(self) -> float:
        return self.call_usd if self.likely_usd is None else self.likely_usd


FREE = Price(0.0)


@runtime_checkable
class Priced(Protocol):
    """A teacher that knows what a call costs before it is made: one behind a server, or a free one."""

    @property
    def name(self) -> str: ...

    def price(self, request: WriteRequest | PaintRequest) -> Price | None:
        """None where the price of its model is not known."""

    def tokens(self, request: WriteRequest | PaintRequest) -> int:
        """What the call may use, in and out, at most."""

    def serves(self, model: str) -> bool:
        """Is this name, which its server answered with, the model that was asked for?"""

    async def close(self) -> None:
        """Ends its connections; it is not asked again."""


def price_of(teacher: str) -> Price | None:
    """The price of a teacher that is not `Priced`. The offline world is free."""
    return FREE if teacher.partition("-")[0] == "sketch" else None
