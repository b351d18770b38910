"""Marks of edits: each rule on a picture made to break it."""

from dataclasses import replace

import numpy as np
import pytest

from janus4o.errors import PromptError
from janus4o.sketch import detect
from janus4o.sketch.edit import Age, Recolour, Reference, Remove, Replace, SetBackground, apply
from janus4o.sketch.marks import Marks, mark_edit
from janus4o.sketch.render import draw
from janus4o.sketch.scene import Background, Colour, Item, Scene, Shape, Slot

LEFT, RIGHT = Item(Shape.CIRCLE, Colour.RED, Slot.LEFT), Item(Shape.STAR, Colour.BLUE, Slot.RIGHT)
SOURCE = Scene((LEFT, RIGHT), Background.GRAY)
RECOLOUR = Recolour(Reference(Shape.CIRCLE), Colour.GREEN)


def mark(operation, scene):
    marks = mark_edit(SOURCE, operation, detect.scene(draw(scene)))
    return marks.instruction, marks.quality, marks.preservation


@pytest.mark.parametrize(
    "operation",
    [
        RECOLOUR,
        Remove(Reference(Shape.STAR)),
        Replace(Reference(Shape.CIRCLE), Shape.HEART),
        SetBackground(Background.TEAL),
    ],
)
def test_done_and_not_done(operation):
    assert mark(operation, apply(operation, SOURCE)) == (5, 5, 5)
    # The benchmark's own parser lowers the other two to the first.
    assert mark(operation, SOURCE) == (1, 5, 5)


def test_half_right_is_an_object_of_the_right_shape_or_colour():
    put = lambda item: replace(SOURCE, items=(item, RIGHT))  # noqa: E731
    assert mark(RECOLOUR, put(replace(LEFT, colour=Colour.YELLOW)))[0] == 3
    assert mark(RECOLOUR, put(replace(LEFT, shape=Shape.MOON, colour=Colour.GREEN)))[0] == 3
    assert mark(RECOLOUR, put(replace(LEFT, shape=Shape.MOON, colour=Colour.BLACK)))[0] == 1
    assert mark(RECOLOUR, replace(SOURCE, items=(RIGHT,)))[0] == 1
    assert mark(Remove(Reference(Shape.CIRCLE)), put(replace(LEFT, colour=Colour.GREEN)))[0] == 1


def test_each_thing_that_should_have_stayed_costs_one():
    done = apply(RECOLOUR, SOURCE)
    assert mark(RECOLOUR, replace(done, background=Background.PINK)) == (5, 5, 4)
    moved = (done.items[0], replace(RIGHT, slot=Slot.TOP_RIGHT))
    assert mark(RECOLOUR, replace(done, items=moved)) == (5, 5, 3)  # gone here, new there
    assert mark(RECOLOUR, replace(done, items=done.items[:1])) == (5, 5, 4)
    said = mark_edit(SOURCE, RECOLOUR, detect.scene(draw(replace(done, items=moved)))).reason
    assert "right: nothing instead of blue star" in said
    assert "top right: blue star instead of nothing" in said


def test_quality_is_how_exactly_it_is_drawn():
    exact = draw(apply(RECOLOUR, SOURCE)).astype(np.int16)
    marks = []
    for error in (0, 15, 25):  # of 255, on the whole ground of one tile
        pixels = exact.copy()
        pixels[4:12, 4:12] += error
        found = detect.scene(pixels.clip(0, 255).astype(np.uint8))
        assert found.scene is not None, found.reason
        marks.append(mark_edit(SOURCE, RECOLOUR, found).quality)
    assert marks == [5, 4, 3]


def test_no_scene_gets_the_lowest_marks():
    found = detect.scene(np.full((64, 64, 3), 7, np.uint8))
    assert mark_edit(SOURCE, RECOLOUR, found) == Marks(1, 1, 1, f"no scene: {found.reason}")


def test_results_shown_otherwise_have_no_marks():
    with pytest.raises(PromptError):
        mark_edit(SOURCE, Age(), detect.scene(draw(SOURCE)))
