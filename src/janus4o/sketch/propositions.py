"""A caption taken apart into yes-or-no questions that depend on one another, as DPG-Bench asks them.

"Is the circle red?" hangs on "is there a circle?": without a circle nothing red counts. The answers come
from the scene found in a picture, so they are exact; a picture that shows no scene is answered no.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import permutations

from janus4o.sketch.phrases import BACKGROUND_WORDS, NUMBERS, PLURALS, SLOT_PHRASES, article
from janus4o.sketch.scene import Colour, Scene, Shape, Slot
from janus4o.sketch.wanted import Relation, Wanted


@dataclass(frozen=True, slots=True)
class Proposition:
    """One thing a caption says.

    Attributes:
        id: from 1, in the order they are asked; parents come first.
        parents: propositions without which this one cannot hold.
        what: category and arguments, "attribute - color (circle, red)".
        holds: whether a scene shows it.
    """

    id: int
    parents: tuple[int, ...]
    what: str
    question: str
    holds: Callable[[Scene], bool] = field(repr=False, compare=False)


def propositions(wanted: Wanted) -> list[Proposition]:
    """Everything a caption asks for.

    Shapes first, then their numbers where there is more than one, then colours, the relation or place,
    and the background. That nothing else may be in the picture is not asked: DPG-Bench never asks it.
    """
    found: list[Proposition] = []

    def ask(what: str, question: str, holds: Callable[[Scene], bool], *parents: int) -> int:
        found.append(Proposition(len(found) + 1, parents, what, f"{question}?", holds))
        return len(found)

    counts: Counter[Shape] = Counter()
    for group in wanted.groups:
        counts[group.shape] += group.count
    ground: dict[Shape, int] = {}
    for shape, n in counts.items():
        one = shape.value
        ground[shape] = ask(
            f"entity - whole ({one})",
            f"is there {article(one)} {one}",
            partial(_has, shape, None, 1),
        )
        if n > 1:
            many = f"are there exactly {NUMBERS[n]} {PLURALS[shape]}"
            ask(f"other - count ({one}, =={n})", many, partial(_counts, shape, n), ground[shape])
    for group in wanted.groups:
        shape, colour, n = group.shape, group.colour, group.count
        if colour is None:
            continue
        name, verb = (shape.value, "is") if n == 1 else (PLURALS[shape], "are")
        ask(
            f"attribute - color ({name}, {colour.value})",
            f"{verb} the {name} {colour.value}",
            partial(_has, shape, colour, n),
            ground[shape],
        )
    if (relation := wanted.relation) is not None:
        first, second = (group.shape for group in wanted.groups)
        ask(
            f"relation - spatial ({first.value}, {second.value}, {relation.value})",
            f"is the {first.value} {relation.value} the {second.value}",
            partial(_stand, relation, first, second),
            *dict.fromkeys((ground[first], ground[second])),
        )
    if (slot := wanted.slot) is not None:
        shape = wanted.groups[0].shape
        ask(
            f"relation - spatial ({shape.value}, {slot.value})",
            f"is the {shape.value} {SLOT_PHRASES[slot]}",
            partial(_stands_at, slot, shape),
            ground[shape],
        )
    for aspect in ("background", "style", "lighting", "shot"):
        value = getattr(wanted, aspect)
        if value is not None:
            word = BACKGROUND_WORDS[value] if aspect == "background" else value.value
            ask(f"global ({word} {aspect})", f"is the {aspect} {word}", partial(_is, aspect, value))
    return found


def _has(shape: Shape, colour: Colour | None, n: int, scene: Scene) -> bool:
    return sum(i.shape is shape and colour in (None, i.colour) for i in scene.items) >= n


def _counts(shape: Shape, n: int, scene: Scene) -> bool:
    return sum(item.shape is shape for item in scene.items) == n


def _stand(relation: Relation, first: Shape, second: Shape, scene: Scene) -> bool:
    return any(
        one.shape is first and two.shape is second and relation.holds(one.slot, two.slot)
        for one, two in permutations(scene.items, 2)
    )


def _stands_at(slot: Slot, shape: Shape, scene: Scene) -> bool:
    return any(item.shape is shape and item.slot is slot for item in scene.items)


def _is(aspect: str, value: StrEnum, scene: Scene) -> bool:
    return bool(getattr(scene, aspect) == value)
