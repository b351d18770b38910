"""Which combinations are kept out of training, and the questions asked about them.

A combination is held out when it holds

- two different shapes of a held-out pair (a fixed fifth of the 45 pairs; every shape is in one), or
- two coloured shapes of a held-out coloured pair (a tenth, by hash), or
- a held-out count of one shape (six of the 30 of two, three or four).

The rule looks at scenes, so it covers prompts that leave the colour open, and edits' sources and
targets alike.
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from itertools import combinations

import numpy as np

from janus4o.scored import HeldOut
from janus4o.sketch.captions import caption
from janus4o.sketch.edit import LEARNABLE_KINDS, Operation
from janus4o.sketch.edit_sampling import sample_kind, sample_source
from janus4o.sketch.instructions import instruction
from janus4o.sketch.sampling import Tag, sample_wanted
from janus4o.sketch.scene import Scene, Shape
from janus4o.sketch.wanted import Wanted, World

HELD_PAIRS: frozenset[frozenset[Shape]] = frozenset(
    frozenset(pair)
    for pair in (
        (Shape.CIRCLE, Shape.STAR),
        (Shape.SQUARE, Shape.HEART),
        (Shape.TRIANGLE, Shape.MOON),
        (Shape.DIAMOND, Shape.RING),
        (Shape.CROSS, Shape.HOUSE),
        (Shape.CIRCLE, Shape.HOUSE),
        (Shape.SQUARE, Shape.MOON),
        (Shape.TRIANGLE, Shape.DIAMOND),
        (Shape.STAR, Shape.CROSS),
    )
)
HELD_COUNTS: frozenset[tuple[Shape, int]] = frozenset(
    {
        (Shape.CIRCLE, 3),
        (Shape.SQUARE, 2),
        (Shape.HEART, 4),
        (Shape.STAR, 2),
        (Shape.MOON, 3),
        (Shape.HOUSE, 4),
    }
)


@lru_cache(maxsize=32768)
def _held_coloured(first: str, second: str) -> bool:
    key = "|".join(sorted((first, second)))
    return zlib.crc32(f"janus4o coloured pair {key}".encode()) % 10 == 0


def held_out(what: Scene | Wanted) -> bool:
    """Whether training must not see this. A colour left open in a `Wanted` holds nothing out."""
    if isinstance(what, Scene):
        objects = [(item.shape, item.colour.value) for item in what.items]
    else:
        objects = [
            (group.shape, group.colour.value if group.colour else "")
            for group in what.groups
            for _ in range(group.count)
        ]
    if len(objects) < 2:
        return False
    counts = Counter(shape for shape, _ in objects)
    if any((shape, count) in HELD_COUNTS for shape, count in counts.items()):
        return True
    for (shape, colour), (other, other_colour) in combinations(objects, 2):
        if shape is other:
            continue
        if frozenset({shape, other}) in HELD_PAIRS:
            return True
        mine, others = f"{colour} {shape.value}", f"{other_colour} {other.value}"
        if colour and other_colour and _held_coloured(mine, others):
            return True
    return False


class Split(StrEnum):
    """Guidance is chosen on the validation questions; scores are of the test questions."""

    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        task: a GenEval tag ("two_object") or an editing kind ("recolour").
        number: position among the questions of its task, from 0.
        prompt: the caption or the instruction.
        seed: seed of the one sample.
        wanted: what the picture must show; None for edits.
        source, operation: what is edited and how; None for text-to-image.
    """

    task: str
    number: int
    prompt: str
    seed: int
    held_out: HeldOut
    wanted: Wanted | None = None
    source: Scene | None = None
    operation: Operation | None = None


HELD_OUT_TAGS = frozenset({Tag.TWO_OBJECT, Tag.COUNTING, Tag.POSITION, Tag.COLOR_ATTR})
"""Tags whose combinations never occur in training; the others differ by wording and seed."""


def text_to_image(tag: Tag | str, n: int, seed: int, split: Split | str) -> list[Question]:
    """`n` captions of one of GenEval's kinds. The first questions stay when `n` grows.

    Three in ten also ask for a background.
    """
    tag, split = Tag(tag), Split(split)
    rng = _rng(tag.value, seed, split)
    questions = []
    for number in range(n):
        wanted = sample_wanted(rng, World.LEARNABLE, tag)
        while tag in HELD_OUT_TAGS and not held_out(wanted):
            wanted = sample_wanted(rng, World.LEARNABLE, tag)
        if rng.random() < 0.3:
            backgrounds = World.LEARNABLE.backgrounds
            wanted = replace(wanted, background=backgrounds[rng.integers(len(backgrounds))])
        label = HeldOut.BY_SCENE if tag in HELD_OUT_TAGS else HeldOut.BY_WORDING
        text = caption(wanted, rng)
        questions.append(Question(tag.value, number, text, _draw_seed(rng), label, wanted))
    return questions


def editing(kind: str, n: int, seed: int, split: Split | str) -> list[Question]:
    """`n` edits of one of `LEARNABLE_KINDS`; source or result is a held-out combination.

    Raises:
        ValueError: another kind.
    """
    if kind not in LEARNABLE_KINDS:
        raise ValueError(f"{kind!r} is not one of {', '.join(LEARNABLE_KINDS)}")
    rng = _rng(kind, seed, Split(split))
    questions = []
    for number in range(n):
        source, operation = _edit(kind, rng)
        text = instruction(operation, source, rng)
        questions.append(
            Question(
                kind,
                number,
                text,
                _draw_seed(rng),
                HeldOut.BY_SCENE,
                source=source,
                operation=operation,
            )
        )
    return questions


def _edit(kind: str, rng: np.random.Generator) -> tuple[Scene, Operation]:
    """A source and an operation, how many objects there are as everywhere else.

    One object alone cannot be a held-out combination, so with one (except for "add", whose result
    has two) there are two instead.
    """
    count = 0
    while True:
        source = sample_source(kind, rng)
        if len(source.items) == 1 and kind != "add":
            continue
        # The number of objects is settled first: more objects are more often held out.
        count = count or len(source.items)
        if len(source.items) != count:
            continue
        operation = sample_kind(kind, source, rng)
        if operation is None:
            continue
        if held_out(source) or held_out(operation.apply(source)):
            return source, operation


def _rng(task: str, seed: int, split: Split) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(f"{task} {split.value}".encode())])


def _draw_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
