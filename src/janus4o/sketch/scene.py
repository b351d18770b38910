"""What a sketch picture shows: a handful of named values, nothing hidden.

A scene is complete: `render.draw` needs nothing else, and `detect.scene` gives it back from pixels
alone. Positions are slots of the canvas, so that "left of" and "in the top right corner" have one
meaning. The learnable scenes, which the tiny model is trained and scored on, use only
`LEARNABLE_SHAPES`, `LEARNABLE_COLOURS`, `LEARNABLE_BACKGROUNDS` and neutral values elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Shape(StrEnum):
    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    HEART = "heart"
    DIAMOND = "diamond"
    CROSS = "cross"
    RING = "ring"
    MOON = "moon"
    HOUSE = "house"
    ARROW = "arrow"
    DROP = "drop"
    FLOWER = "flower"
    TREE = "tree"
    FISH = "fish"
    CUP = "cup"


class Colour(StrEnum):
    RED = "red"
    ORANGE = "orange"
    YELLOW = "yellow"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"
    BLACK = "black"
    WHITE = "white"
    BROWN = "brown"
    CYAN = "cyan"


class Background(StrEnum):
    GRAY = "gray"
    PINK = "pink"
    TEAL = "teal"
    SUNSET = "sunset"
    STRIPES = "stripes"
    CHECKS = "checks"
    SKYLINE = "skyline"
    ROOM = "room"


class Style(StrEnum):
    FLAT = "flat"
    OUTLINE = "outline"
    STICKER = "sticker"
    HATCHED = "hatched"


class Lighting(StrEnum):
    NEUTRAL = "neutral"
    WARM = "warm"
    COOL = "cool"
    DIM = "dim"


class Shot(StrEnum):
    """Shot distance: how much of its slot an object fills."""

    MEDIUM = "medium"
    LONG = "long"


class Slot(StrEnum):
    CENTRE = "centre"
    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"
    TOP_LEFT = "top left"
    TOP_RIGHT = "top right"
    BOTTOM_LEFT = "bottom left"
    BOTTOM_RIGHT = "bottom right"


SLOT_CENTRES: dict[Slot, tuple[float, float]] = {
    Slot.CENTRE: (0.5, 0.5),
    Slot.LEFT: (0.25, 0.5),
    Slot.RIGHT: (0.75, 0.5),
    Slot.TOP: (0.5, 0.25),
    Slot.BOTTOM: (0.5, 0.75),
    Slot.TOP_LEFT: (0.25, 0.25),
    Slot.TOP_RIGHT: (0.75, 0.25),
    Slot.BOTTOM_LEFT: (0.25, 0.75),
    Slot.BOTTOM_RIGHT: (0.75, 0.75),
}
"""Centre (x, y) of each slot as fractions of the canvas; every slot is half the canvas wide."""

LAYOUTS: dict[int, tuple[tuple[Slot, ...], ...]] = {
    1: ((Slot.CENTRE,),),
    2: ((Slot.LEFT, Slot.RIGHT), (Slot.TOP, Slot.BOTTOM)),
    3: (
        (Slot.TOP_LEFT, Slot.TOP_RIGHT, Slot.BOTTOM_LEFT),
        (Slot.TOP_LEFT, Slot.TOP_RIGHT, Slot.BOTTOM_RIGHT),
        (Slot.TOP_LEFT, Slot.BOTTOM_LEFT, Slot.BOTTOM_RIGHT),
        (Slot.TOP_RIGHT, Slot.BOTTOM_LEFT, Slot.BOTTOM_RIGHT),
    ),
    4: ((Slot.TOP_LEFT, Slot.TOP_RIGHT, Slot.BOTTOM_LEFT, Slot.BOTTOM_RIGHT),),
}
"""Where objects stand, by how many there are (reading order within a layout)."""

LEARNABLE_SHAPES = tuple(Shape)[:10]
LEARNABLE_COLOURS = tuple(Colour)[:8]
LEARNABLE_BACKGROUNDS = tuple(Background)[:3]


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One object: a shape of one colour in one slot."""

    shape: Shape
    colour: Colour
    slot: Slot


@dataclass(frozen=True, slots=True)
class Scene:
    """A complete picture.

    Attributes:
        items: objects in reading order of their slots; no two slots overlap.
    """

    items: tuple[Item, ...]
    background: Background = Background.GRAY
    style: Style = Style.FLAT
    lighting: Lighting = Lighting.NEUTRAL
    shot: Shot = Shot.MEDIUM

    @property
    def learnable(self) -> bool:
        """Whether the tiny model is expected to draw this."""
        return (
            self.background in LEARNABLE_BACKGROUNDS
            and self.style is Style.FLAT
            and self.lighting is Lighting.NEUTRAL
            and self.shot is Shot.MEDIUM
            and all(
                i.shape in LEARNABLE_SHAPES and i.colour in LEARNABLE_COLOURS for i in self.items
            )
        )


def overlap(a: Slot, b: Slot) -> bool:
    """Whether two slots share canvas (each is half the canvas wide and high)."""
    (ax, ay), (bx, by) = SLOT_CENTRES[a], SLOT_CENTRES[b]
    return abs(ax - bx) < 0.5 and abs(ay - by) < 0.5


def in_reading_order(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """The items sorted from the top down, then from left to right."""
    return tuple(sorted(items, key=lambda i: (SLOT_CENTRES[i.slot][1], SLOT_CENTRES[i.slot][0])))
