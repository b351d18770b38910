"""Random captions' meanings and random edits, for data, tests and exams."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import numpy as np

from janus4o.sketch.scene import Colour, Lighting, Shape, Shot, Style
from janus4o.sketch.wanted import MAX_OBJECTS, Group, Relation, Wanted, World


class Tag(StrEnum):
    """GenEval's six kinds of prompt, under their official names."""

    SINGLE_OBJECT = "single_object"
    TWO_OBJECT = "two_object"
    COUNTING = "counting"
    COLORS = "colors"
    POSITION = "position"
    COLOR_ATTR = "color_attr"


def sample_wanted(
    rng: np.random.Generator, world: World = World.LEARNABLE, tag: Tag | None = None
) -> Wanted:
    """What a random caption asks for.

    Args:
        tag: one of GenEval's kinds; None draws from everything the grammar can say.
    """
    if tag is not None:
        return _sample_tagged(rng, world, tag)
    shapes = _shapes(rng, world, int(rng.integers(1, MAX_OBJECTS + 1)))
    groups = [Group(shape, _colour(rng, world, 0.7)) for shape in shapes]
    if len(groups) < MAX_OBJECTS and rng.random() < 0.4:
        extra = int(rng.integers(1, MAX_OBJECTS - len(groups) + 1))
        groups[0] = Group(groups[0].shape, groups[0].colour, 1 + extra)
    pair = [group.count for group in groups] == [1, 1]
    relation = tuple(Relation)[rng.integers(4)] if pair and rng.random() < 0.5 else None
    background = world.backgrounds[rng.integers(len(world.backgrounds))]
    wanted = Wanted(tuple(groups), relation, background if rng.random() < 0.4 else None)
    return wanted if world is World.LEARNABLE else _enrich(wanted, rng)


def _enrich(wanted: Wanted, rng: np.random.Generator) -> Wanted:
    """Asks for a style, a light or a shot as well, each half of the time."""

    if rng.random() < 0.5:
        wanted = replace(wanted, style=tuple(Style)[rng.integers(len(Style))])
    if rng.random() < 0.5:
        wanted = replace(wanted, lighting=tuple(Lighting)[rng.integers(len(Lighting))])
    if rng.random() < 0.5:
        wanted = replace(wanted, shot=tuple(Shot)[rng.integers(len(Shot))])
    return wanted


def _sample_tagged(rng: np.random.Generator, world: World, tag: Tag) -> Wanted:
    first, second = _shapes(rng, world, 2)
    match tag:
        case Tag.SINGLE_OBJECT:
            return Wanted((Group(first),))
        case Tag.TWO_OBJECT:
            return Wanted((Group(first), Group(second)))
        case Tag.COUNTING:
            return Wanted((Group(first, None, int(rng.integers(2, MAX_OBJECTS + 1))),))
        case Tag.COLORS:
            return Wanted((Group(first, _colour(rng, world)),))
        case Tag.POSITION:
            relation = tuple(Relation)[rng.integers(len(Relation))]
            return Wanted((Group(first), Group(second)), relation)
        case Tag.COLOR_ATTR:
            colours = rng.choice(len(world.colours), 2, replace=False)
            return Wanted(
                (
                    Group(first, world.colours[colours[0]]),
                    Group(second, world.colours[colours[1]]),
                )
            )


def _shapes(rng: np.random.Generator, world: World, n: int) -> list[Shape]:
    return [world.shapes[i] for i in rng.choice(len(world.shapes), n, replace=False)]


def _colour(rng: np.random.Generator, world: World, probability: float = 1.0) -> Colour | None:
    colour = world.colours[rng.integers(len(world.colours))]
    return colour if rng.random() < probability else None
