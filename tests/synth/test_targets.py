"""The law a recipe asks for is the law its attributes are drawn from."""

from collections import Counter

import numpy as np
import pytest

from janus4o.recipe import parse
from janus4o.sketch.teacher import SketchPainter
from janus4o.synth import attributes
from janus4o.synth.checks import Anything
from janus4o.synth.setting import setting_of
from janus4o.synth.targets import LEFT_OPEN, targets

DRAWS = 6000


def setting(world="learnable", **text_to_image):
    recipe = parse(
        {
            "name": "t",
            "teachers": {"max_categories": 3},
            "synthesis": {"world": world, "text_to_image": text_to_image},
        }
    )
    return setting_of(recipe, SketchPainter(recipe.synthesis.world), Anything())


@pytest.mark.parametrize("world", ["learnable", "rich"])
def test_every_law_adds_up_to_one(world):
    laws = targets(setting(world, category_decay=0.3, colour=0.6))
    assert {"kind", "categories", "objects", "category", "colour", "task"} <= set(laws)
    for name, law in laws.items():
        assert sum(law.values()) == pytest.approx(1), name
    assert ("style" in laws) == (world == "rich")


def test_draws_follow_the_law():
    made = setting(category_decay=0.4, colour=0.6, composition=0.7, repeated=0.3, background=0.2)
    rng = np.random.default_rng(0)
    drawn = [
        attributes.draw(rng, made.taxonomy, made.text_to_image, made.max_categories)
        for _ in range(DRAWS)
    ]
    things = [thing for one in drawn for thing in one.objects]
    seen = {
        "kind": Counter(one.kind for one in drawn),
        "categories": Counter(str(len(one.objects)) for one in drawn),
        "objects": Counter(str(sum(t.count for t in one.objects)) for one in drawn),
        "category": Counter(t.category for t in things),
        "colour": Counter(t.colour or LEFT_OPEN for t in things),
        "background": Counter(one.background or LEFT_OPEN for one in drawn),
        "composition": Counter(one.composition or LEFT_OPEN for one in drawn),
    }
    laws = targets(made)
    for name, counts in seen.items():
        total = counts.total()
        assert set(counts) <= set(laws[name]), name
        for value, p in laws[name].items():
            # Five standard deviations of a share of this many draws.
            assert abs(counts[value] / total - p) < 5 * (p * (1 - p) / total) ** 0.5, (name, value)


def test_a_task_without_a_share_is_not_asked_for():
    recipe = parse({"name": "t", "synthesis": {"editing": {"tasks": {"element_manipulation": 2}}}})
    made = setting_of(recipe, SketchPainter(recipe.synthesis.world), Anything())
    assert targets(made)["task"] == {"element_manipulation": 1}
