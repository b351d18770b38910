"""Random scenes and damaged pictures for the tests of the sketch world."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from PIL import Image

from janus4o.sketch.render import Pixels
from janus4o.sketch.scene import (
    Item,
    Lighting,
    Scene,
    Shot,
    Slot,
    Style,
    in_reading_order,
    overlap,
)
from janus4o.sketch.wanted import World

E = TypeVar("E")


def one(rng: np.random.Generator, options: Sequence[E]) -> E:
    return options[int(rng.integers(len(options)))]


def random_scene(rng: np.random.Generator, world: World, least: int = 0) -> Scene:
    """Up to four objects in any slots that do not overlap."""
    wanted = int(rng.integers(least, 5))
    slots: list[Slot] = []
    for n in rng.permutation(len(Slot)):
        slot = tuple(Slot)[n]
        if len(slots) < wanted and not any(overlap(slot, other) for other in slots):
            slots.append(slot)
    items = tuple(Item(one(rng, world.shapes), one(rng, world.colours), slot) for slot in slots)
    scene = Scene(in_reading_order(items), one(rng, world.backgrounds))
    if world is World.LEARNABLE:
        return scene
    scene = replace(scene, lighting=one(rng, tuple(Lighting)))
    if not items:
        return scene  # nothing shows the style of no object
    return replace(scene, style=one(rng, tuple(Style)), shot=one(rng, tuple(Shot)))


def near_miss(scene: Scene, rng: np.random.Generator, world: World) -> Scene:
    """The same scene with one attribute of one object, or the background, changed."""
    item = one(rng, scene.items)
    match int(rng.integers(3)):
        case 0:
            other = replace(item, shape=one(rng, [s for s in world.shapes if s != item.shape]))
        case 1:
            other = replace(item, colour=one(rng, [c for c in world.colours if c != item.colour]))
        case _:
            grounds = [b for b in world.backgrounds if b != scene.background]
            return replace(scene, background=one(rng, grounds))
    return replace(scene, items=tuple(other if i == item else i for i in scene.items))


def as_jpeg(pixels: Pixels, quality: int = 90) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def noisy(pixels: Pixels, rng: np.random.Generator, sigma: float = 4.0) -> Pixels:
    off = rng.normal(0, sigma, pixels.shape)
    return np.asarray(np.rint(pixels + off).clip(0, 255), np.uint8)
