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
from itertools import combinations

from janus4o.sketch.scene import Scene, Shape
from janus4o.sketch.wanted import Wanted

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
