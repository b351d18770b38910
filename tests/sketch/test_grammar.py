"""Texts and meanings go both ways."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus4o.errors import PromptError
from janus4o.sketch import grammar
from janus4o.sketch.phrases import UnknownWord
from janus4o.sketch.scene import Slot
from janus4o.sketch.view import View
from janus4o.sketch.wanted import Group, Relation, Wanted, World, imagine, unmet, wanted_of

from .scenes import random_scene

SEEDS = st.integers(0, 2**32 - 1)
WORLDS = st.sampled_from(list(World))


@given(SEEDS, WORLDS)
def test_every_wording_means_what_was_wanted(seed: int, world: World) -> None:
    wanted = grammar.sample_wanted(np.random.default_rng(seed), world)
    wordings = grammar.captions(wanted)
    assert len(set(wordings)) == len(wordings) >= 3
    for text in wordings:
        assert grammar.parse_caption(text) == wanted
        assert grammar.parse_caption(f"{text.upper()}.") == wanted


@given(SEEDS, WORLDS)
def test_the_imagined_scene_meets_the_caption(seed: int, world: World) -> None:
    rng = np.random.default_rng(seed)
    wanted = grammar.sample_wanted(rng, world)
    scene = imagine(wanted, rng, world)
    assert unmet(wanted, scene) == ""
    assert unmet(wanted_of(scene), scene) == ""
    groups = {g.shape: g.count for g in wanted.groups if g.count > 1}
    for shape in groups:
        assert len({i.colour for i in scene.items if i.shape is shape}) == 1


@given(SEEDS)
def test_learnable_texts_use_the_vocabulary_and_are_short(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = set(grammar.VOCABULARY)
    wanted = grammar.sample_wanted(rng)
    scene = imagine(wanted, rng)
    texts = [*grammar.captions(wanted), *(f"{q} {a}" for q, a in grammar.questions(scene))]
    assert all(set(grammar.split(text)) <= words for text in texts)
    assert all(len(grammar.split(text)) <= 22 for text in grammar.captions(wanted))


def test_the_vocabulary_is_sorted_single_words() -> None:
    assert list(grammar.VOCABULARY) == sorted(set(grammar.VOCABULARY))
    assert all(grammar.split(word) == [word] for word in grammar.VOCABULARY)
    assert len(grammar.VOCABULARY) <= 100


def test_base_captions_speak_of_one_object_only() -> None:
    """The base has never seen a compositional caption: no second object, count or relation."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        wanted = grammar.sample_wanted(rng, tag=None)
        scene = imagine(wanted, rng)
        single = Wanted((Group(wanted.groups[0].shape),), slot=list(Slot)[rng.integers(9)])
        scene = imagine(single, rng)
        caption = grammar.base_caption(scene, rng)
        meant = grammar.parse_caption(caption)
        assert meant.total == 1
        assert meant.relation is None
        assert unmet(meant, scene) == ""
        # Where no place is said, the object is in the middle.
        assert meant.slot is not None or scene.items[0].slot is Slot.CENTRE
        answer = dict(grammar.questions(scene))["what is in the picture?"]
        assert unmet(grammar.parse_caption(answer), scene) == ""


def test_a_caption_that_is_not_met_says_why() -> None:
    rng = np.random.default_rng(1)
    scene = imagine(grammar.parse_caption("a red circle left of a blue star"), rng)
    for text in (
        "a red circle",
        "a red circle and a blue ring",
        "a blue circle and a red star",
        "a red circle right of a blue star",
        "a red circle above a blue star",
        "two circles",
        "a red circle, a blue star and a ring",
    ):
        assert unmet(grammar.parse_caption(text), scene)
    for text in (
        "a circle and a star",
        "a star and a circle",
        "a blue star to the right of a circle",
    ):
        assert not unmet(grammar.parse_caption(text), scene)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("a red zebra", "zebra"),
        ("a red", "a shape"),
        ("two star", "plural"),
        ("a stars", "singular"),
        ("a circle and", "'a' or a number"),
        ("a circle on a red background", "a background"),
        ("five stars", "five"),
        ("three stars and two circles", "5 objects"),
        ("two stars left of a ring", "two objects"),
        ("two stars on the left", "single object"),
        ("a circle a star", "the end"),
        ("<begin_of_image> a circle", "<"),
    ],
)
def test_what_cannot_be_read_is_quoted(text: str, quoted: str) -> None:
    with pytest.raises(PromptError) as caught:
        grammar.parse_caption(text)
    assert quoted in str(caught.value)


def test_unknown_words_have_their_own_error() -> None:
    with pytest.raises(UnknownWord):
        grammar.parse_instruction("remove the zebra")


def test_relations_put_objects_where_they_say() -> None:
    for relation in Relation:
        first, second = relation.slots
        assert [r for r in Relation if r.holds(first, second)] == [relation]


@given(SEEDS)
def test_a_caption_can_ask_for_a_view(seed: int) -> None:
    from janus4o.sketch.captions import VIEW_PREFIXES, parse_shown

    wanted = grammar.sample_wanted(np.random.default_rng(seed))
    text = grammar.captions(wanted)[0]
    assert parse_shown(text) == (wanted, View.PLAIN)
    for view, prefix in VIEW_PREFIXES.items():
        assert parse_shown(f"{prefix} {text}") == (wanted, view)


@given(SEEDS)
def test_questions_name_objects_that_occur_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, World.LEARNABLE, least=1)
    question, answer = grammar.question(scene, rng)
    assert question.endswith("?")
    assert answer
