"""The checks there are: what each one measures, and when a row passes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from janus4o.errors import UsageError


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        measures: what the figure is, in a few words.
        limit: the figure a row must not fall below (`least`) or rise above.
        least: whether the limit is a lower one.
    """

    name: str
    measures: str
    limit: float
    least: bool = False

    def passes(self, figure: float) -> bool:
        return figure >= self.limit if self.least else figure <= self.limit


CHECKS = {
    check.name: check
    for check in (
        Check("decodes", "pictures of the row that cannot be decoded whole", 0),
        Check("resolution", "pictures of another size than the row says", 0),
        Check("not_flat", "range of the picture's colours, of 255", 16, least=True),
        Check("changed", "largest change of a 16th's mean colour, of 255", 10, least=True),
        Check("new_picture", "bits of 384 unlike the nearest earlier picture's", 16, least=True),
        Check("new_prompt", "word pairs shared with the nearest earlier prompt, of 1", 0.9),
        Check("not_in_benchmark", "word pairs shared with a benchmark's prompt, of 1", 0.8),
        Check("shows_prompt", "1 where the detector finds what was asked, else 0", 1, least=True),
        Check("text", "words asked for in quotation marks that are read, of 1", 0.9, least=True),
        Check("objects", "categories that are not there as often as asked", 0),
        Check("following", "what was asked for is there, by a judge, 1 to 5", 4, least=True),
        Check("preservation", "what an edit leaves alone is as it was, 1 to 5", 4, least=True),
        Check("realism", "the picture holds together, by a judge, 1 to 5", 3, least=True),
        Check("technique", "it is clean work, by a judge, 1 to 5", 3, least=True),
    )
}
SCORES = ("following", "preservation", "realism", "technique")
"""Checks whose figure is a judge's."""


def chosen(limits: Mapping[str, float], skip: Iterable[str] = ()) -> dict[str, Check]:
    """The checks to be made, with other limits; raises UsageError for one that does not exist."""
    for name in (*limits, *skip):
        if name not in CHECKS:
            raise UsageError(f"there is no check {name!r}", f"there are {', '.join(CHECKS)}")
    left = {name: check for name, check in CHECKS.items() if name not in set(skip)}
    return {
        name: replace(check, limit=limits.get(name, check.limit)) for name, check in left.items()
    }


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says of one row it applies to; `why` is empty where it passes."""

    figure: float
    passed: bool
    why: str = ""
