"""What was asked for: how the prompts of a data set are distributed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from janus4o.records import Row

MOST_BARS = 16
"""Bars of one list; the rest is summed up in a last one."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often each value of one attribute was asked for."""

    title: str
    counts: dict[str, int]


def distributions(rows: Sequence[Row]) -> tuple[Distribution, ...]:
    """Distributions of what the rows' provenance says was asked for; none for imported rows."""
    drawn = [row for row in rows if not row.is_edit and row.provenance is not None]
    edits = [row for row in rows if row.is_edit and row.provenance is not None]
    objects = [_objects(row) for row in drawn]
    found = (
        Distribution(
            "Object categories in a prompt",
            _sorted_by_number(
                str(len({o.get("category") for o in some})) for some in objects if some
            ),
        ),
        Distribution(
            "Objects in a prompt",
            _sorted_by_number(str(sum(_count(o) for o in some)) for some in objects if some),
        ),
        Distribution("Editing task", _often_first(_task(row) for row in edits)),
        Distribution(
            "Category", _often_first(str(o.get("category")) for some in objects for o in some)
        ),
        Distribution(
            "Colour",
            _often_first(str(o.get("colour") or "left open") for some in objects for o in some),
        ),
        *(
            Distribution(title, _often_first(_attribute(row, key) for row in drawn))
            for key, title in (
                ("composition", "Composition"),
                ("background", "Background"),
                ("style", "Style"),
                ("lighting", "Lighting"),
                ("camera", "Camera"),
            )
        ),
    )
    # A value that never varies tells nothing.
    return tuple(d for d in found if len(d.counts) > 1 or (d.title == "Editing task" and d.counts))


def _objects(row: Row) -> list[dict[str, Any]]:
    value = row.provenance.attributes.get("objects") if row.provenance else None
    return [o for o in value if isinstance(o, dict)] if isinstance(value, list) else []


def _count(thing: dict[str, Any]) -> int:
    count = thing.get("count")
    return count if isinstance(count, int) else 1


def _task(row: Row) -> str:
    return row.provenance.task.replace("_", " ") if row.provenance else ""


def _attribute(row: Row, key: str) -> str:
    value = row.provenance.attributes.get(key) if row.provenance else None
    return str(value) if value else "left open"


def _often_first(values: Iterable[str]) -> dict[str, int]:
    ranked = Counter(values).most_common()
    if len(ranked) <= MOST_BARS:
        return dict(ranked)
    shown = dict(ranked[: MOST_BARS - 1])
    rest = ranked[MOST_BARS - 1 :]
    return {**shown, f"{len(rest)} others": sum(count for _, count in rest)}


def _sorted_by_number(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda pair: int(pair[0])))
