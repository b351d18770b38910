"""A leaderboard as values: what `evaluate` reads out of score files and evidence, and `report` shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Value:
    """A score on its table's scale; limits (95 %) and n are None where they are not published."""

    score: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """One system in a table.

    Attributes:
        ours: scored by this program, not published by somebody.
        source: score file, or publication with its month.
        caveat: what must be said beside the number.
        unscored: items the score leaves out.
    """

    system: str
    value: Value
    parts: dict[str, Value]
    ours: bool
    source: str
    caveat: str = ""
    unscored: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """Systems whose scores may be compared, best first.

    Attributes:
        note: what decides the scale, in a sentence.
        scale: lowest and highest score.
        parts: columns, in their order.
    """

    benchmark: str
    title: str
    note: str
    scale: tuple[float, float]
    parts: tuple[str, ...]
    rows: tuple[Standing, ...]

    @property
    def digits(self) -> int:
        """Decimals that papers print."""
        return 3 if self.scale == (0, 1) else 2


@dataclass(frozen=True, slots=True)
class Duel:
    """Two systems scored in the same way, compared on the prompts both have.

    Attributes:
        scale: lowest and highest score.
        difference: `system` minus `other`; n is the number of prompts. None where it is missing.
        p_value: two-sided, of the hypothesis that chance alone made it.
        parts: tag → (difference, p-value), not corrected for how many they are.
        left_out: prompts that one of the two lacks.
        missing: why there is no comparison; empty where there is one.
    """

    benchmark: str
    system: str
    other: str
    scale: tuple[float, float]
    difference: Value | None = None
    p_value: float | None = None
    parts: dict[str, tuple[Value, float]] = field(default_factory=dict)
    left_out: int = 0
    missing: str = ""

    @property
    def digits(self) -> int:
        return 3 if self.scale == (0, 1) else 2


@dataclass(frozen=True, slots=True)
class Box:
    """A detection in pixels of the picture; `kept` is whether it passed the threshold."""

    label: str
    left: float
    top: float
    right: float
    bottom: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """A question about a picture: (answer, points 0 or 1 it counts) of each tile."""

    question: str
    tiles: tuple[tuple[str, float], ...]

    @property
    def lost(self) -> bool:
        return any(points < 1 for _, points in self.tiles)


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One scored item of one system, with all that decided its score.

    Attributes:
        share: points won of those there were, 0–1; None where it was not scored.
        verdict: the score in the benchmark's own words.
        reason: why points were lost or it was not scored; empty where nothing was lost.
        sources, pictures: what was edited, and what was made; empty where no folder was given.
    """

    id: str
    tag: str
    prompt: str
    share: float | None
    verdict: str
    reason: str
    sources: tuple[Path, ...] = ()
    pictures: tuple[Path, ...] = ()
    boxes: tuple[Box, ...] = ()
    answers: tuple[Answered, ...] = ()
    reply: str = ""

    @property
    def state(self) -> str:
        """ "unscored", "lost" (something) or "full"."""
        if self.share is None:
            return "unscored"
        return "full" if self.share >= 1 else "lost"


@dataclass(frozen=True, slots=True)
class Showing:
    """One score file with its items.

    Attributes:
        problems: all the score file lists, as text; (place, what, whether it cost the score).
        missing: why there are no items; empty where there are.
    """

    system: str
    benchmark: str
    facts: dict[str, str]
    problems: tuple[tuple[str, str, bool], ...]
    exhibits: tuple[Exhibit, ...] = field(default=(), repr=False)
    missing: str = ""
