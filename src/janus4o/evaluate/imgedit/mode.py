"""How a judge's reply is read."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """OFFICIAL is the published parser to the letter; STRICT reads what it misses, refuses what it
    should not take, and enforces the rule it only states."""

    OFFICIAL = "official"
    STRICT = "strict"
