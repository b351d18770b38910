"""Pictures of learnable scenes never change: the shipped tokenizer was trained on these pixels."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from janus4o.sketch.render import draw
from janus4o.sketch.scene import (
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
    overlap,
)

GOLDEN = json.loads((Path(__file__).parent / "golden_scenes.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("number", range(len(GOLDEN)))
def test_learnable_scenes_keep_their_pixels(number: int) -> None:
    case = GOLDEN[number]
    items = tuple(Item(Shape(s), Colour(c), Slot(p)) for s, c, p in case["items"])
    scene = Scene(items, Background(case["background"]))
    assert scene.learnable
    for size, digest in case["sha256"].items():
        assert hashlib.sha256(draw(scene, int(size)).tobytes()).hexdigest() == digest


@pytest.mark.parametrize("slot", list(Slot))
def test_an_object_stays_inside_its_slot(slot: Slot) -> None:
    """Only pixels of its own quarter of the canvas change, two from the edge at the least."""
    for shape in Shape:
        for style in Style:
            scene = Scene((Item(shape, Colour.BLACK, slot),), style=style)
            changed = (draw(scene, 64) != draw(Scene((), style=style), 64)).any(2)
            x, y = (round(c * 64) for c in SLOT_CENTRES[slot])
            outside = changed.copy()
            outside[y - 14 : y + 14, x - 14 : x + 14] = False
            assert changed.any()
            assert not outside.any()


def test_every_value_of_every_dimension_changes_the_picture() -> None:
    items = (Item(Shape.STAR, Colour.RED, Slot.LEFT), Item(Shape.CUP, Colour.WHITE, Slot.RIGHT))
    pictures = {
        draw(Scene(items, background, style, lighting, shot), 64).tobytes()
        for background in Background
        for style in Style
        for lighting in Lighting
        for shot in Shot
    }
    assert len(pictures) == len(Background) * len(Style) * len(Lighting) * len(Shot)


def test_slots_that_do_not_overlap_share_no_pixel() -> None:
    for a in Slot:
        for b in Slot:
            ca, cb = (np.zeros((64, 64), bool) for _ in range(2))
            for canvas, slot in ((ca, a), (cb, b)):
                x, y = (round(c * 64) for c in SLOT_CENTRES[slot])
                canvas[y - 16 : y + 16, x - 16 : x + 16] = True
            assert overlap(a, b) == bool((ca & cb).any())
