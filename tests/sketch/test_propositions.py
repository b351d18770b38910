"""Captions taken apart: what a picture of the caption answers, and what a wrong one does."""

from dataclasses import replace

import numpy as np
import pytest

from janus4o.sketch.captions import parse_caption
from janus4o.sketch.propositions import propositions
from janus4o.sketch.sampling import sample_wanted
from janus4o.sketch.scene import Background, Colour, Item, Scene, Shape, Slot
from janus4o.sketch.wanted import World, imagine

SCENE = Scene(
    (Item(Shape.CIRCLE, Colour.RED, Slot.LEFT), Item(Shape.STAR, Colour.BLUE, Slot.RIGHT)),
    Background.PINK,
)


def said(caption, scene):
    return {one.question: one.holds(scene) for one in propositions(parse_caption(caption))}


@pytest.mark.parametrize("world", World)
def test_a_picture_of_the_caption_answers_yes_to_everything(world):
    rng = np.random.default_rng(0)
    for _ in range(300):
        wanted = sample_wanted(rng, world)
        asked = propositions(wanted)
        scene = imagine(wanted, rng, world)
        assert [one.question for one in asked if not one.holds(scene)] == []
        assert [one.id for one in asked] == list(range(1, len(asked) + 1))
        assert all(parent < one.id for one in asked for parent in one.parents)
        assert len({one.question for one in asked}) == len(asked)


def test_what_is_wrong_is_answered_no_and_nothing_else():
    caption = "a red circle left of a blue star on a pink background"
    assert set(said(caption, SCENE).values()) == {True}
    assert said("a green circle above a star on a teal background", SCENE) == {
        "is there a circle?": True,
        "is there a star?": True,
        "is the circle green?": False,
        "is the circle above the star?": False,
        "is the background teal?": False,
    }
    alone = replace(SCENE, items=SCENE.items[1:])
    assert said(caption, alone)["is there a circle?"] is False
    assert said(caption, alone)["is the star blue?"] is True


def test_counts_are_exact_and_other_objects_are_not_asked_about():
    two = replace(SCENE, items=(SCENE.items[0], replace(SCENE.items[0], slot=Slot.RIGHT)))
    assert said("two red circles", two) == {
        "is there a circle?": True,
        "are there exactly two circles?": True,
        "are the circles red?": True,
    }
    assert said("two circles", SCENE)["are there exactly two circles?"] is False
    assert set(said("a circle", SCENE).values()) == {True}  # the star does not matter


def test_what_hangs_on_an_object_names_it_as_parent():
    asked = propositions(parse_caption("two red circles and a star on a gray background"))
    assert [(one.what.partition(" (")[0], one.parents) for one in asked] == [
        ("entity - whole", ()),
        ("other - count", (1,)),
        ("entity - whole", ()),
        ("attribute - color", (1,)),
        ("global", ()),
    ]
