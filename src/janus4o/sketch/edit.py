"""Edits of scenes: the paper's 14 tasks, and the exact operations that serve them here.

An operation knows its task, how its source and its result are shown (`View`), and turns one scene
into another. What has no exact operation is refused by name, never imitated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

from janus4o.errors import PromptError
from janus4o.sketch.scene import (
    SLOT_CENTRES,
    Background,
    Colour,
    Item,
    Lighting,
    Scene,
    Shape,
    Slot,
    Style,
    in_reading_order,
    overlap,
)
from janus4o.sketch.view import View
from janus4o.sketch.wanted import Wanted


class EditGroup(StrEnum):
    """The paper's five groups of editing tasks."""

    MANIPULATION = "image editing and manipulation"
    STYLE = "style transfer and artistic transformation"
    EXTENSION = "content augmentation and extension"
    CONTROL = "structured generation and conditional control"
    IDEATION = "creative ideation and iteration"


class EditTask(StrEnum):
    """The paper's 14 editing tasks."""

    INPAINTING_REPLACEMENT = "inpainting_replacement"
    ELEMENT_MANIPULATION = "element_manipulation"
    BACKGROUND_MODIFICATION = "background_modification"
    ATTRIBUTE_MANIPULATION = "attribute_manipulation"
    STYLE_ARTIST = "style_artist"
    STYLE_MEDIUM = "style_medium"
    STYLE_GENRE = "style_genre"
    DETAIL_ENHANCEMENT = "detail_enhancement"
    IMAGE_EXTENSION = "image_extension"
    FROM_LINE_ART = "from_line_art"
    FROM_CONDITION_MAP = "from_condition_map"
    STORYBOARD = "storyboard"
    CONCEPT_VARIATION = "concept_variation"
    HYBRID = "hybrid"

    @property
    def group(self) -> EditGroup:
        return _GROUPS[self]

    @property
    def refused(self) -> str:
        """Why there is no exact operation; empty where there is one."""
        return REFUSED.get(self, "")


_GROUPS: dict[EditTask, EditGroup] = {
    EditTask.INPAINTING_REPLACEMENT: EditGroup.MANIPULATION,
    EditTask.ELEMENT_MANIPULATION: EditGroup.MANIPULATION,
    EditTask.BACKGROUND_MODIFICATION: EditGroup.MANIPULATION,
    EditTask.ATTRIBUTE_MANIPULATION: EditGroup.MANIPULATION,
    EditTask.STYLE_ARTIST: EditGroup.STYLE,
    EditTask.STYLE_MEDIUM: EditGroup.STYLE,
    EditTask.STYLE_GENRE: EditGroup.STYLE,
    EditTask.DETAIL_ENHANCEMENT: EditGroup.EXTENSION,
    EditTask.IMAGE_EXTENSION: EditGroup.EXTENSION,
    EditTask.FROM_LINE_ART: EditGroup.CONTROL,
    EditTask.FROM_CONDITION_MAP: EditGroup.CONTROL,
    EditTask.STORYBOARD: EditGroup.IDEATION,
    EditTask.CONCEPT_VARIATION: EditGroup.IDEATION,
    EditTask.HYBRID: EditGroup.IDEATION,
}

REFUSED: dict[EditTask, str] = {
    EditTask.STYLE_ARTIST: "the sketch world has no exact rendering of an artist's style",
}

LEARNABLE_KINDS: tuple[str, ...] = ("add", "remove", "replace", "recolour", "background")
"""Kinds of operation the tiny model is trained and scored on."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Which object is meant: 'the circle', 'the red circle', 'the red circle on the left'."""

    shape: Shape
    colour: Colour | None = None
    slot: Slot | None = None

    def find(self, scene: Scene) -> Item:
        """The one object meant; PromptError when there is none, or more than one."""
        found = [
            item
            for item in scene.items
            if item.shape is self.shape
            and self.colour in (None, item.colour)
            and self.slot in (None, item.slot)
        ]
        if len(found) != 1:
            colour = f"{self.colour.value} " if self.colour else ""
            count = len(found) or "no"
            raise PromptError(
                f"the picture has {count} object that is a {colour}{self.shape.value}"
                if not found
                else f"the picture has {count} objects that are a {colour}{self.shape.value}",
                "name exactly one object of the picture",
            )
        return found[0]


@dataclass(frozen=True, slots=True)
class Operation(ABC):
    """Base of all edits."""

    kind: ClassVar[str]
    task: ClassVar[EditTask]
    source_view: ClassVar[View] = View.PLAIN
    target_view: ClassVar[View] = View.PLAIN

    @abstractmethod
    def apply(self, scene: Scene) -> Scene:
        """The edited scene; PromptError where the operation does not fit the scene."""


@dataclass(frozen=True, slots=True)
class Replace(Operation):
    """Puts another object in place of one; without a colour it keeps the old one's."""

    kind = "replace"
    task = EditTask.INPAINTING_REPLACEMENT
    target: Reference
    shape: Shape
    colour: Colour | None = None

    def apply(self, scene: Scene) -> Scene:
        old = self.target.find(scene)
        return _exchange(scene, old, Item(self.shape, self.colour or old.colour, old.slot))


@dataclass(frozen=True, slots=True)
class Add(Operation):
    """Puts one more object in a free slot."""

    kind = "add"
    task = EditTask.ELEMENT_MANIPULATION
    shape: Shape
    colour: Colour
    slot: Slot

    def apply(self, scene: Scene) -> Scene:
        if any(overlap(self.slot, item.slot) for item in scene.items):
            raise PromptError(f"the {self.slot.value} is taken", "name a free place")
        items = (*scene.items, Item(self.shape, self.colour, self.slot))
        return replace(scene, items=in_reading_order(items))


@dataclass(frozen=True, slots=True)
class Remove(Operation):
    kind = "remove"
    task = EditTask.ELEMENT_MANIPULATION
    target: Reference

    def apply(self, scene: Scene) -> Scene:
        gone = self.target.find(scene)
        return replace(scene, items=tuple(item for item in scene.items if item != gone))


@dataclass(frozen=True, slots=True)
class Move(Operation):
    """Moves an object to a slot that is free once it has left its own."""

    kind = "move"
    task = EditTask.ELEMENT_MANIPULATION
    target: Reference
    slot: Slot

    def apply(self, scene: Scene) -> Scene:
        old = self.target.find(scene)
        if any(overlap(self.slot, item.slot) for item in scene.items if item != old):
            raise PromptError(f"the {self.slot.value} is taken", "name a free place")
        return _exchange(scene, old, replace(old, slot=self.slot))


@dataclass(frozen=True, slots=True)
class Swap(Operation):
    """Two objects change places."""

    kind = "swap"
    task = EditTask.ELEMENT_MANIPULATION
    first: Reference
    second: Reference

    def apply(self, scene: Scene) -> Scene:
        first, second = self.first.find(scene), self.second.find(scene)
        if first == second:
            raise PromptError("an object cannot change places with itself", "name two objects")
        moved = {
            first: replace(first, slot=second.slot),
            second: replace(second, slot=first.slot),
        }
        items = tuple(moved.get(item, item) for item in scene.items)
        return replace(scene, items=in_reading_order(items))


@dataclass(frozen=True, slots=True)
class Recolour(Operation):
    kind = "recolour"
    task = EditTask.ATTRIBUTE_MANIPULATION
    target: Reference
    colour: Colour

    def apply(self, scene: Scene) -> Scene:
        old = self.target.find(scene)
        return _exchange(scene, old, replace(old, colour=self.colour))


@dataclass(frozen=True, slots=True)
class Light(Operation):
    """Changes the lighting (an effect)."""

    kind = "light"
    task = EditTask.ATTRIBUTE_MANIPULATION
    lighting: Lighting

    def apply(self, scene: Scene) -> Scene:
        return replace(scene, lighting=self.lighting)


@dataclass(frozen=True, slots=True)
class SetBackground(Operation):
    kind = "background"
    task = EditTask.BACKGROUND_MODIFICATION
    background: Background

    def apply(self, scene: Scene) -> Scene:
        return replace(scene, background=self.background)


@dataclass(frozen=True, slots=True)
class SetStyle(Operation):
    """Draws everything in another medium: outline, sticker, hatched or flat."""

    kind = "style"
    task = EditTask.STYLE_MEDIUM
    style: Style

    def apply(self, scene: Scene) -> Scene:
        return replace(scene, style=self.style)


@dataclass(frozen=True, slots=True)
class Age(Operation):
    """Shifts the era: the same picture as an old (sepia) photograph."""

    kind = "age"
    task = EditTask.STYLE_GENRE
    target_view = View.SEPIA

    def apply(self, scene: Scene) -> Scene:
        return scene


@dataclass(frozen=True, slots=True)
class Film(Operation):
    """Shifts the era: the same picture as a frame of a silent (black and white) film."""

    kind = "film"
    task = EditTask.STYLE_GENRE
    target_view = View.MONO

    def apply(self, scene: Scene) -> Scene:
        return scene


@dataclass(frozen=True, slots=True)
class Sharpen(Operation):
    """Gives a pixelated picture its detail back."""

    kind = "sharpen"
    task = EditTask.DETAIL_ENHANCEMENT
    source_view = View.PIXELATED

    def apply(self, scene: Scene) -> Scene:
        return scene


@dataclass(frozen=True, slots=True)
class Extend(Operation):
    """Continues a picture whose right half is blank: the background goes on, and an object is put
    on the right."""

    kind = "extend"
    task = EditTask.IMAGE_EXTENSION
    source_view = View.LEFT_HALF
    shape: Shape
    colour: Colour

    def apply(self, scene: Scene) -> Scene:
        if any(SLOT_CENTRES[item.slot][0] > 0.25 for item in scene.items):
            raise PromptError("only a picture whose right half is blank can be extended")
        items = (*scene.items, Item(self.shape, self.colour, Slot.RIGHT))
        return replace(scene, items=in_reading_order(items))


@dataclass(frozen=True, slots=True)
class _FromDrawing(Operation):
    """Fills in a drawing that shows shapes and places only, as a caption says."""

    wanted: Wanted

    def apply(self, scene: Scene) -> Scene:
        colours: dict[Shape, list[Colour]] = {}
        for group in self.wanted.groups:
            if group.colour is None:
                raise PromptError("every object needs a colour", "say e.g. 'a red circle'")
            colours.setdefault(group.shape, []).extend([group.colour] * group.count)
        items = []
        for item in scene.items:
            if not colours.get(item.shape):
                raise PromptError(f"the drawing's {item.shape.value} is not in the caption")
            items.append(replace(item, colour=colours[item.shape].pop(0)))
        if any(colours.values()):
            raise PromptError("the caption names objects that the drawing does not show")
        return Scene(tuple(items), self.wanted.background or Background.GRAY)


@dataclass(frozen=True, slots=True)
class ColourIn(_FromDrawing):
    """Line art → picture. Objects of one shape take the caption's colours in reading order."""

    kind = "colour_in"
    task = EditTask.FROM_LINE_ART
    source_view = View.LINE_ART


@dataclass(frozen=True, slots=True)
class FillMap(_FromDrawing):
    """Segmentation map → picture; colours as in `ColourIn`."""

    kind = "fill_map"
    task = EditTask.FROM_CONDITION_MAP
    source_view = View.MAP


@dataclass(frozen=True, slots=True)
class Tell(Operation):
    """A storyboard of a day: the same picture four times, in the lights of a day."""

    kind = "tell"
    task = EditTask.STORYBOARD
    target_view = View.DAY

    def apply(self, scene: Scene) -> Scene:
        return replace(scene, lighting=Lighting.NEUTRAL)


@dataclass(frozen=True, slots=True)
class Vary(Operation):
    """The same picture imagined with another shape everywhere."""

    kind = "vary"
    task = EditTask.CONCEPT_VARIATION
    shape: Shape

    def apply(self, scene: Scene) -> Scene:
        return replace(scene, items=tuple(replace(item, shape=self.shape) for item in scene.items))


@dataclass(frozen=True, slots=True)
class Cross(Operation):
    """One object of the first one's shape and the second one's colour, alone in the middle."""

    kind = "cross"
    task = EditTask.HYBRID
    first: Reference
    second: Reference

    def apply(self, scene: Scene) -> Scene:
        shape, colour = self.first.find(scene).shape, self.second.find(scene).colour
        return replace(scene, items=(Item(shape, colour, Slot.CENTRE),))


def apply(operation: Operation, scene: Scene) -> Scene:
    """The edited scene; PromptError where the operation does not fit the scene."""
    return operation.apply(scene)


def _exchange(scene: Scene, old: Item, new: Item) -> Scene:
    items = tuple(new if item == old else item for item in scene.items)
    return replace(scene, items=in_reading_order(items))
