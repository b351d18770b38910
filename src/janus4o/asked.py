"""What was asked for: how the prompts of a data set are distributed, beside what the recipe wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from janus4o.records import Row

MOST_BARS = 16
"""Bars of one list; the rest is summed up in a last one."""
LEFT_OPEN = "left open"

TITLES = {
    "pipeline": "Pipeline",
    "kind": "Kind of prompt",
    "categories": "Object categories in a prompt",
    "objects": "Objects in a prompt",
    "task": "Editing task",
    "turn": "Turn of an edit",
    "document": "Type of document",
    "category": "Category",
    "colour": "Colour",
    "composition": "Composition",
    "background": "Background",
    "style": "Style",
    "lighting": "Lighting",
    "camera": "Camera",
    "layout": "Layout",
}
"""Attribute, as synthesis.json names it → heading; in the order they are shown."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an attribute: how often it came, and the shares (0–1) that came and were wanted.

    `wanted` is None where the run does not say.
    """

    label: str
    count: int
    share: float
    wanted: float | None


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often each value of one attribute was asked for."""

    title: str
    values: tuple[Value, ...]

    @property
    def largest(self) -> float:
        """The largest share, came or wanted: where a bar is full."""
        return max(max(value.share, value.wanted or 0.0) for value in self.values)


@dataclass(frozen=True, slots=True)
class Figures:
    """The paper's three figures: shares per dimension, shares per task, the category-count curve.

    Attributes:
        categories: share of prompts by the number of object categories in them; None where that
            never varies.
    """

    dimensions: tuple[Distribution, ...]
    tasks: tuple[Distribution, ...]
    categories: Distribution | None


def figures(rows: Sequence[Row], targets: Mapping[str, Mapping[str, float]]) -> Figures:
    """What there is to draw of a data set; arguments as for `distributions`."""
    found = {one.title: one for one in distributions(rows, targets)}
    curve = found.pop(TITLES["categories"], None)
    tasks = (found.pop(TITLES[key], None) for key in ("task", "kind"))
    shown = tuple(one for one in tasks if one is not None)
    return Figures(tuple(found.values()), shown, curve)


def distributions(
    rows: Sequence[Row], targets: Mapping[str, Mapping[str, float]]
) -> tuple[Distribution, ...]:
    """Distributions of what the rows' provenance says was asked for; none for imported rows.

    Args:
        targets: attribute → value → share the recipe asks for; may be empty.
    """
    made: dict[str, list[Row]] = {}
    for row in rows:
        if row.provenance is not None:
            made.setdefault(row.provenance.pipeline, []).append(row)
    drawn, edits = made.get("prompt_first", []), made.get("editing", [])
    objects = [_objects(row) for row in drawn]
    counted: dict[str, Counter[str]] = {
        "pipeline": Counter({pipeline: len(rows) for pipeline, rows in made.items()}),
        "kind": Counter(_task(row) for row in drawn),
        "categories": Counter(str(len({o.get("category") for o in s})) for s in objects if s),
        "objects": Counter(str(sum(_count(o) for o in s)) for s in objects if s),
        "task": Counter(_task(row) for row in edits),
        "turn": Counter(str(_turn(row)) for row in edits),
        "document": Counter(_task(row) for row in made.get("document", [])),
        "category": Counter(str(o.get("category")) for s in objects for o in s),
        "colour": Counter(str(o.get("colour") or LEFT_OPEN) for s in objects for o in s),
        **{
            key: Counter(_attribute(row, key) for row in drawn)
            for key in ("composition", "background", "style", "lighting", "camera", "layout")
        },
    }
    found = []
    for key, title in TITLES.items():
        counts = counted[key]
        law = targets.get(key, {})
        # A value that never varies tells nothing.
        if counts and (len(counts) > 1 or len(law) > 1 or key == "task"):
            shown = _curve(counts, law) if key == "categories" else _bars(counts, law)
            found.append(Distribution(title, shown))
    return tuple(found)


def _values(counts: Counter[str], law: Mapping[str, float]) -> list[Value]:
    total = counts.total()
    names = _ordered(dict.fromkeys((*(name for name, _ in counts.most_common()), *law)))
    return [
        Value(
            name.replace("_", " "),
            counts[name],
            counts[name] / total,
            law.get(name, 0.0) if law else None,
        )
        for name in names
    ]


def _curve(counts: Counter[str], law: Mapping[str, float]) -> tuple[Value, ...]:
    """All of them, as far as anything came or a row of it was to be expected."""
    values, total = _values(counts, law), counts.total()
    while not values[-1].count and (values[-1].wanted or 0.0) * total < 1:
        values.pop()
    return tuple(values)


def _bars(counts: Counter[str], law: Mapping[str, float]) -> tuple[Value, ...]:
    values = _values(counts, law)
    if len(values) <= MOST_BARS:
        return tuple(values)
    rest = values[MOST_BARS - 1 :]
    others = Value(
        f"{len(rest)} others",
        sum(value.count for value in rest),
        sum(value.share for value in rest),
        sum(value.wanted or 0.0 for value in rest) if law else None,
    )
    return (*values[: MOST_BARS - 1], others)


def _ordered(names: Iterable[str]) -> list[str]:
    """Numbers by size; other names as they come, what was left open last."""
    names = list(names)
    if all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names, key=lambda name: name == LEFT_OPEN)


def _objects(row: Row) -> list[dict[str, Any]]:
    value = row.provenance.attributes.get("objects") if row.provenance else None
    return [o for o in value if isinstance(o, dict)] if isinstance(value, list) else []


def _count(thing: dict[str, Any]) -> int:
    count = thing.get("count")
    return count if isinstance(count, int) else 1


def _task(row: Row) -> str:
    return row.provenance.task if row.provenance else ""


def _turn(row: Row) -> int:
    turn = row.provenance.attributes.get("turn", 1) if row.provenance else 1
    return turn if isinstance(turn, int) else 1


def _attribute(row: Row, key: str) -> str:
    value = row.provenance.attributes.get(key) if row.provenance else None
    return str(value) if value else LEFT_OPEN
