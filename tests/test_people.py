"""Who prompts are about: told by words, counted with intervals, held against targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus4o.errors import DataError
from janus4o.intervals import wilson
from janus4o.people import (
    ASKED_FOR,
    DIMENSIONS,
    UNIFORM,
    asked_for,
    read_targets,
    read_words,
    tally,
)
from janus4o.synth import vocabulary
from janus4o.synth.taxonomy import values

WOMEN, MEN = "women and girls", "men and boys"
WORDS = read_words()


@pytest.mark.parametrize(
    ("text", "gender", "origin", "age", "occupation"),
    [
        ("A young Korean man with dyed silver hair.", MEN, "East Asian", "young adults", ""),
        ("a Black surgeon, seen from below", "", "African or Black", "", "health"),
        ("a farmer on her tractor", WOMEN, "", "", "farming and fishing"),
        ("two old Turkish shoemakers", "", "Middle Eastern or North African", "old people",
         "crafts and building"),
        ("a boy of eight", MEN, "", "children", ""),
        ("a 42-year-old woman", WOMEN, "", "middle-aged people", ""),
        ("a 30 year old man", MEN, "", "young adults", ""),
        ("a twenty-five-year-old woman", WOMEN, "", "young adults", ""),
        ("a weathered fisherman of seventy", MEN, "", "old people", "farming and fishing"),
        ("a Vietnamese street vendor", "", "Southeast Asian", "", "food, trade and service"),
        ("a tall, Dutch woman", WOMEN, "European or white", "", ""),
        # What is said of things is not said of people.
        ("a woman with black hair beside an old Japanese temple", WOMEN, "", "", ""),
        ("a man in a white coat holding an Indian vase", MEN, "", "", ""),
        ("a young girl", WOMEN, "", "children", ""),
        ("a skateboarder", "", "", "", ""),
    ],
)  # fmt: skip
def test_what_a_prompt_says_of_a_person(
    text: str, gender: str, origin: str, age: str, occupation: str
) -> None:
    told = WORDS.told(text)
    assert told is not None
    wanted = dict(zip(DIMENSIONS, (gender, origin, age, occupation), strict=True))
    assert told == {name: frozenset({group}) for name, group in wanted.items() if group}


@pytest.mark.parametrize(
    "text", ["", "an old Chinese vase on her shelf", "a tin soldier beside a grandfather clock",
             "the black cat of the White House", "replace the sky by stars"],
)  # fmt: skip
def test_prompts_about_nobody(text: str) -> None:
    assert WORDS.told(text) is None


def test_all_people_of_the_shipped_vocabulary_are_told_from_all_its_things() -> None:
    taxonomy = vocabulary.read(None)
    for name in values(taxonomy.objects):
        told = WORDS.told(name)
        assert (told is not None) == (name in taxonomy.people), name


def test_shares_are_of_what_is_named_with_wilsons_interval() -> None:
    prompts = ["a woman", "a man", "a man", "a man and a woman", "a nurse", "a tree"]
    found = tally(map(WORDS.told, prompts), WORDS)
    gender, origin, _, occupation = found.dimensions
    assert (found.looked_at, found.about_people) == (6, 5)
    assert (gender.mentions, gender.left_open, gender.against) == (5, 1, UNIFORM)
    by_name = {share.group: share for share in gender.shares}
    part = wilson(2, 5)
    women = by_name[WOMEN]
    assert (women.count, women.share, women.low, women.high) == (2, 0.4, part.low, part.high)
    assert women.target == 0.5
    assert by_name["non-binary people"].target is None
    assert {share.verdict for share in gender.shares} == {""}
    assert (origin.mentions, origin.left_open) == (0, 5)
    assert sum(share.target or 0.0 for share in origin.shares) == pytest.approx(1)
    assert occupation.mentions == 1


def test_a_share_off_its_target_is_said() -> None:
    found = tally(map(WORDS.told, ["a man"] * 60 + ["a woman"] * 20), WORDS)
    verdicts = {share.group: share.verdict for share in found.dimensions[0].shares}
    assert verdicts == {WOMEN: "fewer", MEN: "more", "non-binary people": ""}


def test_what_a_recipe_asks_for_is_told_by_its_vocabulary() -> None:
    law = {"a young woman": 0.1, "an old man": 0.1, "a girl": 0.2, "a cup": 0.6}
    targets = asked_for(law, WORDS)
    assert targets["gender"] == {WOMEN: pytest.approx(0.75), MEN: pytest.approx(0.25)}
    assert targets["age"] == {
        "young adults": pytest.approx(0.25),
        "old people": pytest.approx(0.25),
        "children": pytest.approx(0.5),
    }
    found = tally(map(WORDS.told, ["a man"]), WORDS, targets, ASKED_FOR)
    gender, origin, *_ = found.dimensions
    assert (gender.against, origin.against) == (ASKED_FOR, UNIFORM)
    assert gender.shares[2].target == 0.0  # not asked for at all


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gender: {men: 1}", "gender has no group 'men'"),
        ("height: {tall: 1}", "no dimension 'height'"),
        ("gender: {men and boys: -1}", "gender.men and boys = -1"),
        ("gender: {men and boys: 0}", "all shares are zero"),
        ("- gender", "not a mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_targets_that_cannot_be_held_against_are_named(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_targets(path, WORDS)


def test_targets_add_up(tmp_path: Path) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text("gender: {women and girls: 3, men and boys: 1}")
    assert read_targets(path, WORDS) == {"gender": {WOMEN: 0.75, MEN: 0.25}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("people: [person,", "persons: [person,"), "has not the keys wanted"),
        (
            ("    before: [female, pregnant, lesbian]", "    before: female"),
            "is not a list of words",
        ),
        (("    before: [female, pregnant, lesbian]", "    after: [x]"), "is not understood"),
    ],
)
def test_a_vocabulary_that_is_none_is_named(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    from janus4o.people import WORDS as SHIPPED

    path = tmp_path / "words.yaml"
    path.write_text(SHIPPED.read_text("utf-8").replace(*change))
    with pytest.raises(DataError, match=said):
        read_words(str(path))
