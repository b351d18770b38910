"""Why answers failed, counted by kind: a judge's words without the particular objects."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from janus4o.sketch.scene import Background, Colour, Shape, Slot

MOST_KINDS = 4
_NAMES = sorted(
    {str(value) for kind in (Background, Colour, Shape, Slot) for value in kind}, key=len
)[::-1]
_PARTICULAR = re.compile(rf"\b(?:{'|'.join(map(re.escape, _NAMES))})\b")


def kind_of_failure(reason: str) -> str:
    """ "no red star at the top" → "no … at the …"; reasons of other judges stay as they are."""
    general = re.sub(r"\b\d+\b", "…", _PARTICULAR.sub("…", reason))
    return re.sub(r"…(?:[ ,]+…)+", "…", general)


def kinds_of_failure(reasons: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """The most frequent kinds with their counts, the rest summed up in a last one."""
    ranked = Counter(kind_of_failure(reason) or "no reason given" for reason in reasons)
    if len(ranked) <= MOST_KINDS:
        return tuple(ranked.most_common())
    shown = ranked.most_common(MOST_KINDS - 1)
    rest = ranked.total() - sum(count for _, count in shown)
    return (*shown, ("other reasons", rest))
