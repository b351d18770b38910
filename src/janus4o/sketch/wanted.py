"""What a caption asks of a picture: constraints, the rest is left open.

The same value is what the caption grammar writes and reads, what the painter fulfils and what the
judge checks, so the three cannot disagree about what a caption means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from janus4o.errors import PromptError
from janus4o.sketch.scene import (
    LAYOUTS,
    LEARNABLE_BACKGROUNDS,
    LEARNABLE_COLOURS,
    LEARNABLE_SHAPES,
    SLOT_CENTRES,
    Background,
    Colour,
    Item,
    Lighting,
    Scene,
    Shape,
    Shot,
    Slot,
    Style,
    in_reading_order,
)

MAX_OBJECTS = max(LAYOUTS)
"""Objects a picture has room for."""


class World(StrEnum):
    """From which values the painter and the samplers draw."""

    LEARNABLE = "learnable"
    RICH = "rich"

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return LEARNABLE_SHAPES if self is World.LEARNABLE else tuple(Shape)

    @property
    def colours(self) -> tuple[Colour, ...]:
        return LEARNABLE_COLOURS if self is World.LEARNABLE else tuple(Colour)

    @property
    def backgrounds(self) -> tuple[Background, ...]:
        return LEARNABLE_BACKGROUNDS if self is World.LEARNABLE else tuple(Background)


class Relation(StrEnum):
    """Where the first of two objects stands, seen from the second."""

    LEFT_OF = "left of"
    RIGHT_OF = "right of"
    ABOVE = "above"
    BELOW = "below"

    @property
    def slots(self) -> tuple[Slot, Slot]:
        """Slots of the first and the second object."""
        return _RELATION_SLOTS[self]

    def holds(self, first: Slot, second: Slot) -> bool:
        """Whether an object at `first` stands in this relation to one at `second`."""
        (ax, ay), (bx, by) = SLOT_CENTRES[first], SLOT_CENTRES[second]
        dx, dy = ax - bx, ay - by
        match self:
            case Relation.LEFT_OF:
                return dx < 0 and -dx > abs(dy)
            case Relation.RIGHT_OF:
                return dx > 0 and dx > abs(dy)
            case Relation.ABOVE:
                return dy < 0 and -dy > abs(dx)
            case Relation.BELOW:
                return dy > 0 and dy > abs(dx)


_RELATION_SLOTS: dict[Relation, tuple[Slot, Slot]] = {
    Relation.LEFT_OF: (Slot.LEFT, Slot.RIGHT),
    Relation.RIGHT_OF: (Slot.RIGHT, Slot.LEFT),
    Relation.ABOVE: (Slot.TOP, Slot.BOTTOM),
    Relation.BELOW: (Slot.BOTTOM, Slot.TOP),
}


@dataclass(frozen=True, slots=True)
class Group:
    """`count` objects of one shape; a colour of None is left open (but shared by the group)."""

    shape: Shape
    colour: Colour | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. None means left open.

    Attributes:
        groups: every object there must be; no others may be there.
        relation: of the first group to the second; only with two single objects.
        slot: where the object stands; only with one object.
    """

    groups: tuple[Group, ...]
    relation: Relation | None = None
    background: Background | None = None
    style: Style | None = None
    lighting: Lighting | None = None
    shot: Shot | None = None
    slot: Slot | None = None

    def __post_init__(self) -> None:
        if not self.groups or any(group.count < 1 for group in self.groups):
            raise PromptError("a picture needs at least one object", "name one, e.g. 'a circle'")
        if self.total > MAX_OBJECTS:
            raise PromptError(
                f"{self.total} objects do not fit a sketch picture",
                f"ask for at most {MAX_OBJECTS}",
            )
        if self.relation and [group.count for group in self.groups] != [1, 1]:
            raise PromptError(
                f"{self.relation.value!r} needs exactly two objects", "name one object on each side"
            )
        if self.slot and self.total != 1:
            raise PromptError("only a single object can be placed", "leave the place out")

    @property
    def total(self) -> int:
        """How many objects."""
        return sum(group.count for group in self.groups)


def wanted_of(scene: Scene) -> Wanted:
    """Everything a caption can say about a scene of at least one object."""
    groups: dict[tuple[Shape, Colour], int] = {}
    for item in scene.items:
        groups[item.shape, item.colour] = groups.get((item.shape, item.colour), 0) + 1
    relation = None
    if len(scene.items) == 2 and len(groups) == 2:
        first, second = (item.slot for item in scene.items)
        relation = next((r for r in Relation if r.holds(first, second)), None)
    return Wanted(
        tuple(Group(shape, colour, count) for (shape, colour), count in groups.items()),
        relation,
        scene.background,
        scene.style,
        scene.lighting,
        scene.shot,
        scene.items[0].slot if len(scene.items) == 1 else None,
    )


def unmet(wanted: Wanted, scene: Scene) -> str:
    """Why a scene does not show what was wanted, in one line; empty when it does."""
    if len(scene.items) != wanted.total:
        return f"{len(scene.items)} objects instead of {wanted.total}"
    for name in ("background", "style", "lighting", "shot"):
        asked, got = getattr(wanted, name), getattr(scene, name)
        if asked is not None and asked != got:
            return f"{name} is {got.value} instead of {asked.value}"
    if wanted.slot is not None and scene.items[0].slot is not wanted.slot:
        return f"object is at the {scene.items[0].slot.value} instead of {wanted.slot.value}"
    if not _assignments(wanted, scene, None):
        got = ", ".join(f"{i.colour.value} {i.shape.value}" for i in scene.items)
        return f"the objects are {got}"
    if wanted.relation is not None and not _assignments(wanted, scene, wanted.relation):
        return f"the first object is not {wanted.relation.value} the second"
    return ""


def _assignments(wanted: Wanted, scene: Scene, relation: Relation | None) -> bool:
    """Whether the objects can be dealt out to the groups so that every group is served."""
    places = [group for group in wanted.groups for _ in range(group.count)]

    def deal(done: tuple[Item, ...]) -> bool:
        if len(done) == len(places):
            return relation is None or relation.holds(done[0].slot, done[1].slot)
        group = places[len(done)]
        return any(
            deal((*done, item))
            for item in scene.items
            if item not in done
            and item.shape is group.shape
            and group.colour in (None, item.colour)
        )

    return deal(())


def imagine(
    wanted: Wanted,
    rng: np.random.Generator,
    world: World = World.LEARNABLE,
    avoid: Callable[[Scene], bool] | None = None,
) -> Scene:
    """A scene that shows what is wanted; what is open is drawn from `world`.

    Where objects stand follows from how many there are (`LAYOUTS`) and from the relation; without
    one they stand in the order they are named, as a reader would expect and a tiny model can learn.
    Style, lighting and shot are plain unless asked for.

    Args:
        avoid: scenes to draw again, e.g. those kept for an exam.

    Raises:
        PromptError: 1,000 draws in a row were to be avoided.
    """
    for _ in range(1000):
        scene = _imagine_once(wanted, rng, world)
        if avoid is None or not avoid(scene):
            return scene
    raise PromptError("what is wanted is kept for the exam", "ask for another combination")


def _imagine_once(wanted: Wanted, rng: np.random.Generator, world: World) -> Scene:
    objects: list[tuple[Shape, Colour]] = []
    for group in wanted.groups:
        colour = group.colour or world.colours[rng.integers(len(world.colours))]
        objects += [(group.shape, colour)] * group.count
    slots: tuple[Slot, ...]
    if wanted.relation is not None:
        slots = wanted.relation.slots
    elif wanted.slot is not None:
        slots = (wanted.slot,)
    else:
        layouts = LAYOUTS[wanted.total]
        slots = layouts[rng.integers(len(layouts))]
    background = wanted.background or world.backgrounds[rng.integers(len(world.backgrounds))]
    return Scene(
        in_reading_order(
            tuple(
                Item(shape, colour, slot)
                for (shape, colour), slot in zip(objects, slots, strict=True)
            )
        ),
        background,
        wanted.style or Style.FLAT,
        wanted.lighting or Lighting.NEUTRAL,
        wanted.shot or Shot.MEDIUM,
    )
