"""Answers about documents: what is good enough, and what is sent back with which words."""

import json
from typing import Any

import pytest

from janus4o.errors import RecipeError
from janus4o.synth import documents, forms
from janus4o.synth.documents import Content, Template

LOOK = (
    "A clean slide with a two-column layout, a palette of blues, a smooth texture and placeholders "
    "for a title and a logo."
)


def template(
    theme: str = "tides", kinds: tuple[str, ...] = ("slide", "poster"), **other: str
) -> Any:
    answer = {
        "visual_template_prompt": LOOK,
        "theme": theme,
        "document_type": "Slide - Title Slide for a Talk",
        **other,
    }
    return forms.read(json.dumps(answer), documents.template_form(theme, kinds))


def test_a_good_template_is_taken_apart() -> None:
    made = template()
    assert (made.type, made.specific) == ("slide", "Title Slide for a Talk")
    assert made.document_type == "Slide - Title Slide for a Talk"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"visual_template_prompt": LOOK + " It is nice."}, "more than one sentence"),
        ({"visual_template_prompt": LOOK.replace("layout", "form")}, "does not speak of layout"),
        ({"visual_template_prompt": LOOK.replace("palette", "mix")}, "does not speak of palette"),
        ({"visual_template_prompt": LOOK.replace("texture", "feel")}, "does not speak of texture"),
        ({"visual_template_prompt": LOOK.replace("placeholders", "room")}, "of placeholders"),
        ({"visual_template_prompt": LOOK.replace("a logo", 'the word "Tides"')}, "text to be read"),
        ({"visual_template_prompt": LOOK.replace("a logo", "‘High Tide’")}, "text to be read"),
        (
            {"visual_template_prompt": LOOK.replace("a logo", "a box titled Tides")},
            "text to be read",
        ),
        (
            {"visual_template_prompt": LOOK.replace("smooth", "parchment")},
            "parchment does not suit",
        ),
        (
            {"visual_template_prompt": LOOK.replace("smooth", "old paper")},
            "old paper does not suit",
        ),
        ({"visual_template_prompt": " "}, "is empty"),
        ({"theme": ""}, "the theme is empty"),
        ({"theme": "moons", "document_type": "Slide - X"}, None),
        ({"document_type": "Slide"}, "Category - Specific type"),
        ({"document_type": "Paper - Abstract"}, "with one of Slide, Poster"),
        ({"document_type": "Slide - "}, "Category - Specific type"),
        ({"mood": "calm"}, "is not an object with the keys"),
    ],
)
def test_a_template_that_breaks_a_rule_is_sent_back(
    changed: dict[str, str], fault: str | None
) -> None:
    if fault is None:  # another theme than the one given
        answer = {"visual_template_prompt": LOOK, **changed}
        with pytest.raises(forms.Malformed, match="not the one given, 'tides'"):
            forms.read(json.dumps(answer), documents.template_form("tides", ("slide",)))
        return
    answer = {"visual_template_prompt": LOOK, "theme": "tides", "document_type": "Slide - A"}
    form = documents.template_form("tides", ("slide", "poster"))
    with pytest.raises(forms.Malformed, match=fault):
        forms.read(json.dumps({**answer, **changed}), form)


def test_parchment_suits_what_is_old() -> None:
    old = LOOK.replace("smooth", "parchment")
    assert template("a medieval market", visual_template_prompt=old).prompt == old
    specific = "Poster - Historical Proclamation"
    assert template(visual_template_prompt=old, document_type=specific).type == "poster"


GOOD = {"title": "Tides", "paragraphs": ["The sea rises."], "data": []}


@pytest.mark.parametrize(
    ("kind", "changed", "fault"),
    [
        ("slide", {"title": ""}, "the title is empty"),
        ("slide", {"title": "x" * 201}, "longer than 200"),
        ("slide", {"title": 5}, "not a string"),
        ("slide", {"paragraphs": []}, "one to eight paragraphs"),
        ("slide", {"paragraphs": "The sea."}, "one to eight paragraphs"),
        ("slide", {"paragraphs": ["Lorem ipsum dolor."]}, "filler"),
        ("slide", {"paragraphs": ["Dear [name here],"]}, "filler"),
        ("slide", {"data": [{"label": "a"}]}, 'keys "label" and "value"'),
        ("slide", {"data": [{"label": "a", "value": 4}]}, "the value is not a string"),
        ("infographic", {}, "at least two data"),
        ("infographic", {"data": [{"label": "a", "value": "much"}] * 2}, "of 'a' is no number"),
    ],
)
def test_content_that_breaks_a_rule_is_sent_back(
    kind: str, changed: dict[str, Any], fault: str
) -> None:
    with pytest.raises(forms.Malformed, match=fault):
        forms.read(json.dumps({**GOOD, **changed}), documents.content_form(kind))
    assert forms.read(json.dumps(GOOD), documents.content_form("slide")).title == "Tides"


def test_merging_keeps_every_text_apart() -> None:
    content = Content('The "big" tide', ("It “rises” twice.", "Come!"), (("high", "4.2 m"),))
    made = documents.merge(Template(LOOK, "tides", "slide", "x"), content, "book serif")
    assert made == (
        f"{LOOK[:-1]}. All text is set in book serif and is exactly: title “The 'big' tide”; "
        "paragraph “It ‘rises’ twice.”; paragraph “Come!”; entry “high: 4.2 m”."
    )


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("A dog runs", True),
        ("A dog runs.", True),
        ("Dr. Smith of St. Ives, at 3.5 p.m. in the U.S. of today, smiles.", True),
        ("A dog runs. It is brown.", False),
        ("What a dog! It runs", False),
        ("She says “stop!” and runs.", True),
        ("A dog runs.) Then it sleeps.", False),
    ],
)
def test_sentences_are_told_from_several(text: str, one: bool) -> None:
    if one:
        assert forms.sentence(text, "text") == text
        return
    with pytest.raises(forms.Malformed, match="more than one sentence"):
        forms.sentence(text, "text")


def test_a_wrong_vocabulary_is_refused(tmp_path: Any) -> None:
    for text, says in (
        ("themes: [", "cannot be read"),
        ("themes: {}", "keys wanted"),
        ("{themes: [a], fonts: [b]}", "no list of words"),
        ("{themes: {a: [1]}, fonts: [b]}", "no list of words"),
        ("{themes: {a: [x]}, fonts: []}", "no list of words"),
    ):
        path = tmp_path / "words.yaml"
        path.write_text(text)
        documents.read.cache_clear()
        with pytest.raises(RecipeError, match=says):
            documents.read(str(path))
