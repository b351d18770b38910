"""Templates: versioned, with checked placeholders, the shipped ones or one's own."""

from pathlib import Path

import pytest

from janus4o.errors import RecipeError
from janus4o.recipe import parse
from janus4o.sketch import pages, teacher
from janus4o.synth import documents, prompts
from janus4o.synth.sample import Pipeline, name_samples

SHIPPED = prompts.read()


def test_every_shipped_template_is_there_and_no_other() -> None:
    names = {path.stem for path in prompts.FOLDER.glob("*")}
    assert names == set(prompts.PLACEHOLDERS) == set(SHIPPED.templates)
    for template in SHIPPED.templates.values():
        assert template.version.isdigit()
        assert "\\\n" not in template.text


def test_the_shipped_words_are_the_ones_ids_were_made_from() -> None:
    # Another hash here means other samples for every recipe there is.
    assert SHIPPED.digest("prompt_first", "editing") == "d606a1ccd77625d9"
    assert SHIPPED.templates["editing_descriptive"].digest == "73c5400fefebd353"


def test_what_is_filled_in_is_not_searched_for_placeholders() -> None:
    filled = SHIPPED.fill("repair", asked="{answer}", answer="{fault}", fault="f", keys="k")
    assert filled.startswith("{answer}\n\nYour last answer was: {fault}\nIt cannot be used: f.")


def test_the_offline_writer_finds_its_marks_in_the_shipped_templates() -> None:
    assert SHIPPED.fill("image_first").startswith(teacher.DESCRIBE_MARK)
    assert list(pages.CATEGORIES) == list(documents.CATEGORIES.values())
    assert [kind.value for kind in pages.CATEGORIES.values()] == list(documents.CATEGORIES)
    template = documents.Template("A look.", "x", "slide", "y")
    merged = documents.merge(template, documents.Content("t", ("p",), ()), "serif")
    assert pages.MERGED_MARK in merged


def own(folder: Path, name: str, text: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("editing", "version: 2\n\nDo {task}.\n", "lacks {meaning}"),
        ("image_first", "version: 2\n\nSay {what}.\n", "has no use for {what}"),
        ("editing", "Do {task}: {meaning}\n", "does not begin with a version"),
        ("editing", "version:\n\nDo {task}: {meaning}\n", "does not begin with a version"),
        ("editing", "version: 2\n\n", "does not begin with a version"),
        ("editting", "version: 2\n\nx\n", "did you mean 'editing.txt'"),
    ],
)
def test_a_wrong_template_is_refused_by_name(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        prompts.read(own(tmp_path / "own", name, text))
    assert says in str(refused.value)


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no folder"):
        prompts.read(str(tmp_path / "none"))
    with pytest.raises(RecipeError, match=r"holds no \.txt"):
        prompts.read(str(tmp_path))


def test_own_templates_take_the_place_of_shipped_ones_and_make_other_samples(
    tmp_path: Path,
) -> None:
    text = prompts.FOLDER.joinpath("editing.txt").read_text("utf-8")
    same = own(tmp_path / "same", "editing", text)
    other = own(tmp_path / "other", "editing", text.replace("version: 1", "version: 7") + "Now.\n")
    read = prompts.read(other)
    assert read.templates["editing"].stamp.startswith("7/")
    assert read.templates["prompt_first"] == SHIPPED.templates["prompt_first"]
    assert read.own

    def name(folder: str | None) -> str:
        return name_samples(parse({"name": "a", "synthesis": {"prompts": folder}})).content

    assert name(None) == name(same)
    assert name(None) != name(other)


def test_a_pipeline_added_later_renames_no_sample_of_another() -> None:
    plain = name_samples(parse({"name": "a"}))
    more = parse({"name": "a", "synthesis": {"document": {"count": 5}}})
    added = name_samples(more)
    assert added.sample(Pipeline.EDITING, 3) == plain.sample(Pipeline.EDITING, 3)
    fewer = more.model_dump(mode="json")
    fewer["synthesis"]["document"]["types"]["slide"] = 0.0
    renamed = name_samples(parse(fewer))
    assert renamed.sample(Pipeline.PROMPT_FIRST, 3) == plain.sample(Pipeline.PROMPT_FIRST, 3)
    assert renamed.sample(Pipeline.DOCUMENT, 3) != added.sample(Pipeline.DOCUMENT, 3)
