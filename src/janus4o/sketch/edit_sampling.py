"""Draws edits that fit a scene, and scenes that fit an edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from janus4o.sketch import edit
from janus4o.sketch.edit import EditTask, Operation, Reference
from janus4o.sketch.scene import (
    LAYOUTS,
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
from janus4o.sketch.wanted import Group, Wanted, World, wanted_of

E = TypeVar("E")

KINDS: dict[EditTask, tuple[str, ...]] = {
    EditTask.INPAINTING_REPLACEMENT: ("replace",),
    EditTask.ELEMENT_MANIPULATION: ("add", "remove", "move", "swap"),
    EditTask.BACKGROUND_MODIFICATION: ("background",),
    EditTask.ATTRIBUTE_MANIPULATION: ("recolour", "light"),
    EditTask.STYLE_ARTIST: (),
    EditTask.STYLE_MEDIUM: ("style",),
    EditTask.STYLE_GENRE: ("age", "film"),
    EditTask.DETAIL_ENHANCEMENT: ("sharpen",),
    EditTask.IMAGE_EXTENSION: ("extend",),
    EditTask.FROM_LINE_ART: ("colour_in",),
    EditTask.FROM_CONDITION_MAP: ("fill_map",),
    EditTask.STORYBOARD: ("tell",),
    EditTask.CONCEPT_VARIATION: ("vary",),
    EditTask.HYBRID: ("cross",),
}
"""Kinds of operation that serve each task; none where the task is refused."""


def sample(
    task: EditTask,
    scene: Scene,
    rng: np.random.Generator,
    world: World = World.LEARNABLE,
    avoid: Callable[[Scene], bool] | None = None,
) -> Operation | None:
    """An operation of the task that fits the scene; None where there is none.

    Where there is room for another object one is mostly added: few scenes have any.

    Args:
        world: the learnable one keeps to `edit.LEARNABLE_KINDS`.
        avoid: results to draw again, e.g. those kept for an exam.
    """
    kinds = [k for k in KINDS[task] if world is World.RICH or k in edit.LEARNABLE_KINDS]
    order = [kinds[i] for i in rng.permutation(len(kinds))]
    if rng.random() < 0.75:
        order.sort(key=lambda kind: kind != "add")
    for kind in order:
        for _ in range(20):
            operation = sample_kind(kind, scene, rng, world)
            if operation is None:
                break
            if avoid is None or not avoid(operation.apply(scene)):
                return operation
    return None


def sample_kind(
    kind: str, scene: Scene, rng: np.random.Generator, world: World = World.LEARNABLE
) -> Operation | None:
    """An operation of this kind that changes the scene; None where there is none."""
    return _SAMPLERS[kind](scene, rng, world)


def sample_source(kind: str, rng: np.random.Generator, world: World = World.LEARNABLE) -> Scene:
    """A scene that an operation of this kind can be drawn for: different shapes, 1–4 of them in the
    rich world, one or two in the learnable one.
    """
    if kind == "add":
        slots: tuple[Slot, ...] = (_one(rng, (Slot.LEFT, Slot.RIGHT, Slot.TOP, Slot.BOTTOM)),)
        if world is World.RICH and rng.random() < 0.45:
            slots = _one(rng, LAYOUTS[3])
    elif kind == "extend":
        slots = (Slot.LEFT,)
    else:
        least = 2 if kind in ("remove", "swap", "cross") else 1
        most = 3 if kind == "move" else 4  # four fill the canvas
        if world is World.LEARNABLE:
            most = 2
        counts = np.array([0.3, 0.4, 0.2, 0.1][least - 1 : most])
        count = int(rng.choice(np.arange(least, most + 1), p=counts / counts.sum()))
        slots = _one(rng, LAYOUTS[count])
    shapes = rng.choice(len(world.shapes), len(slots), replace=False)
    items = tuple(
        Item(world.shapes[shape], _one(rng, world.colours), slot)
        for shape, slot in zip(shapes, slots, strict=True)
    )
    scene = Scene(in_reading_order(items), _one(rng, world.backgrounds))
    if world is World.RICH and kind not in ("sharpen", "colour_in", "fill_map"):
        return replace(scene, style=_one(rng, tuple(Style)), lighting=_one(rng, tuple(Lighting)))
    return scene


def reference(
    item: Item, scene: Scene, rng: np.random.Generator, world: World = World.RICH
) -> Reference:
    """Names one object of a scene so that it cannot be mistaken.

    'the circle' or 'the red circle' where there is one circle, 'the red circle' where there is one
    red one, else 'the circle on the left'. The learnable world always says the place where there
    are two objects: to find 'the circle' by its looks is more than its small model learns.
    """
    same = [other for other in scene.items if other.shape is item.shape]
    coloured = item.colour if rng.random() < 0.5 else None
    if world is World.LEARNABLE and len(scene.items) > 1:
        return Reference(item.shape, coloured, item.slot)
    if len(same) == 1:
        return Reference(item.shape, coloured)
    if sum(other.colour is item.colour for other in same) == 1:
        return Reference(item.shape, item.colour)
    return Reference(item.shape, None, item.slot)


def _one(rng: np.random.Generator, options: Sequence[E]) -> E:
    return options[int(rng.integers(len(options)))]


def _other(rng: np.random.Generator, options: Sequence[E], than: E) -> E:
    return _one(rng, [option for option in options if option != than])


def _replace(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    if not scene.items:
        return None
    item = _one(rng, scene.items)
    shape = _other(rng, world.shapes, item.shape)
    return edit.Replace(reference(item, scene, rng, world), shape, _one(rng, world.colours))


def _add(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    taken = {item.slot for item in scene.items}
    free = [slot for slot in Slot if not any(overlap(slot, other) for other in taken)]
    if world is World.LEARNABLE:
        layouts = [set(slots) for options in LAYOUTS.values() for slots in options]
        free = [slot for slot in free if taken | {slot} in layouts]
    if not free:
        return None
    return edit.Add(_one(rng, world.shapes), _one(rng, world.colours), _one(rng, free))


def _remove(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    if not scene.items:
        return None
    return edit.Remove(reference(_one(rng, scene.items), scene, rng, world))


def _move(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    if not scene.items:
        return None
    item = _one(rng, scene.items)
    others = [other.slot for other in scene.items if other != item]
    free = [s for s in Slot if s is not item.slot and not any(overlap(s, o) for o in others)]
    if not free:
        return None
    return edit.Move(reference(item, scene, rng), _one(rng, free))


def _two(scene: Scene, rng: np.random.Generator) -> tuple[Item, Item] | None:
    """Two objects that do not look alike."""
    pairs = [
        (a, b)
        for a in scene.items
        for b in scene.items
        if (a.shape, a.colour) != (b.shape, b.colour)
    ]
    return _one(rng, pairs) if pairs else None


def _swap(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    pair = _two(scene, rng)
    if pair is None:
        return None
    return edit.Swap(reference(pair[0], scene, rng), reference(pair[1], scene, rng))


def _cross(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    pair = _two(scene, rng)
    if pair is None:
        return None
    return edit.Cross(reference(pair[0], scene, rng), reference(pair[1], scene, rng))


def _recolour(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    if not scene.items:
        return None
    item = _one(rng, scene.items)
    return edit.Recolour(
        reference(item, scene, rng, world), _other(rng, world.colours, item.colour)
    )


def _light(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    return edit.Light(_other(rng, tuple(Lighting), scene.lighting))


def _background(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    backgrounds: tuple[Background, ...] = world.backgrounds
    return edit.SetBackground(_other(rng, backgrounds, scene.background))


def _style(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    return edit.SetStyle(_other(rng, tuple(Style), scene.style)) if scene.items else None


def _age(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    return edit.Age()


def _film(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    return edit.Film()


def _sharpen(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    return edit.Sharpen()


def _extend(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    if any(SLOT_CENTRES[item.slot][0] > 0.25 for item in scene.items):
        return None
    shape: Shape = _one(rng, world.shapes)
    colour: Colour = _one(rng, world.colours)
    return edit.Extend(shape, colour)


def _drawing(scene: Scene, rng: np.random.Generator, world: World) -> Wanted | None:
    """A caption of the drawing with colours of its own."""
    if not scene.items:
        return None
    shown = wanted_of(scene)
    shapes: dict[Shape, int] = {}
    for group in shown.groups:
        shapes[group.shape] = shapes.get(group.shape, 0) + group.count
    groups = tuple(Group(shape, _one(rng, world.colours), n) for shape, n in shapes.items())
    return Wanted(groups, background=_one(rng, world.backgrounds))


def _colour_in(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    wanted = _drawing(scene, rng, world)
    return edit.ColourIn(wanted) if wanted else None


def _fill_map(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    wanted = _drawing(scene, rng, world)
    return edit.FillMap(wanted) if wanted else None


def _tell(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    return edit.Tell() if scene.items else None


def _vary(scene: Scene, rng: np.random.Generator, world: World) -> Operation | None:
    present = {item.shape for item in scene.items}
    return edit.Vary(_one(rng, [s for s in world.shapes if s not in present])) if present else None


_SAMPLERS: dict[str, Callable[[Scene, np.random.Generator, World], Operation | None]] = {
    "replace": _replace,
    "add": _add,
    "remove": _remove,
    "move": _move,
    "swap": _swap,
    "background": _background,
    "recolour": _recolour,
    "light": _light,
    "style": _style,
    "age": _age,
    "film": _film,
    "sharpen": _sharpen,
    "extend": _extend,
    "colour_in": _colour_in,
    "fill_map": _fill_map,
    "tell": _tell,
    "vary": _vary,
    "cross": _cross,
}
