"""Image-first, documents and edits of pictures that are there: offline, and in the open world."""

from __future__ import annotations

import io
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from janus4o.asked import distributions
from janus4o.errors import BudgetStop, RecipeChanged, RecipeError, Refused
from janus4o.exchange import PaintReply, PaintRequest, Picture, WriteReply, WriteRequest
from janus4o.images import open_image, save_png
from janus4o.recipe import Recipe, parse
from janus4o.rows import Rows, open_rows
from janus4o.sketch import detect
from janus4o.sketch.captions import parse_caption
from janus4o.sketch.document import draw_document
from janus4o.sketch.pages import read_merged
from janus4o.sketch.render import draw
from janus4o.sketch.teacher import SketchPainter, SketchWriter
from janus4o.sketch.wanted import World, imagine, unmet
from janus4o.synth import conditions, documents, pictures
from janus4o.synth.checks import Anything
from janus4o.synth.documents import CATEGORIES
from janus4o.synth.export import export
from janus4o.synth.fsck import fsck
from janus4o.synth.importer import import_dataset
from janus4o.synth.inspection import SketchInspector
from janus4o.synth.plan import plan
from janus4o.synth.runner import Outcome, run
from janus4o.synth.setting import setting_of
from janus4o.synth.status import status
from janus4o.synth.targets import targets


def recipe(size: int = 64, **synthesis: Any) -> Recipe:
    given = {"text_to_image": {"count": 0}, "editing": {"count": 0}, **synthesis}
    return parse({"name": "t", "teachers": {"size": [size, size]}, "synthesis": given})


def make(made_from: Recipe, folder: Path, **options: Any) -> tuple[Outcome, Rows]:
    """Runs it with the offline teachers."""
    pictures.open_pictures.cache_clear()
    world = made_from.synthesis.world
    hold_out = made_from.synthesis.hold_out
    outcome = run(
        made_from,
        folder,
        SketchWriter(world, hold_out),
        SketchPainter(world, hold_out),
        inspector=SketchInspector(hold_out),
        **options,
    )
    return outcome, open_rows(folder)


def scenes(folder: Path, count: int) -> Path:
    """Sketch pictures, as somebody may have them; no two are equal."""
    folder.mkdir()
    looks = [f"a {c} {s}" for c in ("red", "blue", "green") for s in ("circle", "square", "star")]
    rng = np.random.default_rng(0)
    for number in range(count):
        places = ("on the left", "on the right")
        caption = f"{looks[number % len(looks)]} {places[number // len(looks)]}"
        scene = imagine(parse_caption(caption), rng, World.LEARNABLE)
        (folder / f"{number}.png").write_bytes(save_png(Image.fromarray(draw(scene, 64))))
    return folder


def photographs(folder: Path, count: int, kind: str = "PNG") -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 96, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        (folder / f"photo-{number}.{kind.lower()}").write_bytes(buffer.getvalue())
    return folder


def image_first(folder: Path, count: int, keep: str = "regenerated") -> dict[str, Any]:
    return {"image_first": {"count": count, "keep": keep, "pictures": {"path": str(folder)}}}


# image first, offline


def test_sketch_scenes_are_described_and_painted_anew(tmp_path: Path) -> None:
    folder = scenes(tmp_path / "scenes", 8)
    _, rows = make(recipe(**image_first(folder, 4), hold_out=False), tmp_path / "run")
    assert len(rows) == 4
    for row in rows:
        assert row.provenance is not None
        assert row.provenance.attributes["shows"] == "regenerated"
        original = (folder / row.provenance.attributes["picture"]).read_bytes()
        first = detect.scene(np.asarray(open_image(original))).scene
        again = detect.scene(np.asarray(open_image(rows.read(row.output_image)))).scene
        assert first is not None
        assert again is not None
        wanted = parse_caption(row.input_prompt)
        assert not unmet(wanted, first), "the sentence is true of the picture it describes"
        assert not unmet(wanted, again)
        assert row.provenance.templates["image_first"].startswith("1/")


def test_a_photograph_is_refused_by_name_and_takes_nobodys_place(tmp_path: Path) -> None:
    folder = photographs(scenes(tmp_path / "mixed", 5), 5)
    outcome, rows = make(recipe(**image_first(folder, 3), hold_out=False), tmp_path / "run")
    assert len(rows) == 3
    assert set(outcome.tally.ends) == {"refused: not_a_sketch"}
    with pytest.raises(Refused, match="all 5 pictures to be described are used"):
        make(recipe(**image_first(photographs(tmp_path / "b", 5), 3)), tmp_path / "other")
    assert status(tmp_path / "other").reasons == {"refused: not_a_sketch": 5}


@pytest.mark.parametrize("keep", ["original", "both"])
def test_the_original_can_be_kept_and_every_row_says_so(tmp_path: Path, keep: str) -> None:
    folder = scenes(tmp_path / "scenes", 5)
    made_from = recipe(**image_first(folder, 4, keep), hold_out=False)
    outcome, rows = make(made_from, tmp_path / "run")
    shown = Counter(row.provenance.attributes["shows"] for row in rows if row.provenance)
    # A picture painted anew can come out as the original did: then it is there once.
    assert set(shown) == ({"original"} if keep == "original" else {"original", "regenerated"})
    assert sum(shown.values()) == 4
    assert outcome.spend.images == (0 if keep == "original" else shown["regenerated"])
    for row in rows:
        assert row.provenance is not None
        original = (folder / row.provenance.attributes["picture"]).read_bytes()
        if row.provenance.attributes["shows"] == "original":
            assert rows.read(row.output_image) == original
        assert bool(row.provenance.painter) != (row.provenance.attributes["shows"] == "original")
    if keep == "both":
        names = {row.provenance.attributes["picture"] for row in rows if row.provenance}
        assert len(names) < 4
    assert fsck(tmp_path / "run").findings == ()


def test_damaged_pictures_are_left_out_by_name(tmp_path: Path) -> None:
    folder = scenes(tmp_path / "scenes", 3)
    whole = (folder / "0.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    flat = Image.new("RGB", (64, 64), (9, 9, 9))
    (folder / "flat.png").write_bytes(save_png(flat))
    with pytest.raises(Refused, match="all 6 pictures"):
        make(recipe(**image_first(folder, 6, "original"), hold_out=False), tmp_path / "run")
    assert status(tmp_path / "run").reasons == {"rejected: original": 2, "rejected: not_flat": 1}


def test_a_lost_original_is_kept_again(tmp_path: Path) -> None:
    made_from = recipe(**image_first(scenes(tmp_path / "s", 3), 3, "original"), hold_out=False)
    _, rows = make(made_from, tmp_path / "run")
    before = (tmp_path / "run" / "dataset" / "rows.jsonl").read_bytes()
    name = rows[1].output_image
    (tmp_path / "run" / "blobs" / name[:2] / name).unlink()
    assert [one.kind for one in fsck(tmp_path / "run", repair=True).findings] == ["missing"]
    outcome, _ = make(made_from, tmp_path / "run")
    assert outcome.tally.calls == 0, "what was written is not asked for again"
    assert (tmp_path / "run" / "dataset" / "rows.jsonl").read_bytes() == before
    assert fsck(tmp_path / "run").findings == ()


def test_pictures_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"image_first\.pictures is missing"):
        make(recipe(image_first={"count": 1}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# documents, offline


@pytest.mark.parametrize("kind", CATEGORIES)
def test_every_type_of_document_is_written_laid_out_and_checked(tmp_path: Path, kind: str) -> None:
    _, rows = make(recipe(256, document={"count": 4, "types": {kind: 1.0}}), tmp_path / "run")
    assert len(rows) == 4
    for row in rows:
        assert row.provenance is not None
        told = row.provenance.attributes
        assert row.provenance.task == kind
        assert told["template"]["document_type"].startswith(f"{CATEGORIES[kind]} - ")
        assert told["template"]["theme"] == told["theme"]
        assert told["content"]["title"] in row.input_prompt
        assert told["font"] in row.input_prompt
        assert row.input_prompt.startswith(told["template"]["visual_template_prompt"][:-1])
        assert f"Theme: {told['theme']}" in row.provenance.write_prompt
        assert f"Font: {told['font']}" in told["template_request"]
        assert set(row.provenance.templates) == {f"document_{kind}", "document_template"}
        page = draw_document(read_merged(row.input_prompt), (256, 256))
        assert np.array_equal(np.asarray(page), np.asarray(open_image(rows.read(row.output_image))))


def test_the_writer_may_choose_among_the_types_with_a_share(tmp_path: Path) -> None:
    types = {"poster": 1.0, "slide": 1.0, "paper": 0.0}
    document = {"count": 10, "category": "chosen", "types": types}
    _, rows = make(recipe(256, document=document), tmp_path / "run")
    assert {row.provenance.task for row in rows if row.provenance} == {"poster", "slide"}
    for row in rows:
        assert row.provenance is not None
        assert "Categories: Poster, Slide" in row.provenance.attributes["template_request"]


def test_documents_can_be_added_to_a_run(tmp_path: Path) -> None:
    first = recipe(256, text_to_image={"count": 3})
    make(first, tmp_path / "run")
    more = recipe(256, text_to_image={"count": 3}, document={"count": 2})
    outcome, _ = make(more, tmp_path / "run")
    assert outcome.tally.accepted == {"prompt_first": 3, "document": 2, "editing": 0}
    assert outcome.tally.made == 2
    other = recipe(256, text_to_image={"count": 3}, document={"count": 2, "types": {"paper": 1.0}})
    with pytest.raises(RecipeChanged, match=r"document\.types\.slide: 1\.0"):
        make(other, tmp_path / "run")
    make(first, tmp_path / "run")  # fewer again


def test_types_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    for types, says in (({"flyer": 1.0}, "unknown type 'flyer'"), ({"slide": 0.0}, "all shares")):
        with pytest.raises(RecipeError, match=says):
            make(recipe(document={"count": 1, "types": types}), tmp_path / "run")


def test_the_shipped_themes_and_fonts_are_many_and_distinct() -> None:
    words = documents.read()
    assert len(set(words.themes)) == len(words.themes) >= 150
    assert len(set(words.fonts)) == len(words.fonts) >= 10


# what is killed goes on


def test_every_pipeline_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = scenes(tmp_path / "scenes", 12)
    made_from = recipe(
        256,
        **image_first(folder, 4, "both"),
        text_to_image={"count": 3},
        document={"count": 3},
        editing={"count": 4, "sources": "rows"},
        hold_out=False,
    )
    _, whole = make(made_from, tmp_path / "whole")
    assert len(whole) == 14
    for _ in range(30):
        try:
            make(made_from, tmp_path / "part", limit=1)
            break
        except BudgetStop:
            pass
    rows = [tmp_path / name / "dataset" / "rows.jsonl" for name in ("whole", "part")]
    assert rows[0].read_bytes() == rows[1].read_bytes()
    assert fsck(tmp_path / "part").findings == ()


# the open world


class Scribe:
    """Answers every template as a language model should."""

    name, max_categories = "sketch-scribe", 5
    asked: list[WriteRequest]

    def __init__(self) -> None:
        self.asked = []

    async def write(self, request: WriteRequest) -> WriteReply:
        self.asked.append(request)
        mark = zlib.crc32(request.prompt.encode() + b"".join(p.data for p in request.pictures))
        return WriteReply(self.answer(request, mark), "scribe")

    def answer(self, request: WriteRequest, mark: int) -> str:
        lines = dict(line.partition(": ")[::2] for line in request.prompt.splitlines())
        if "Categories" in lines:
            return json.dumps(
                {
                    "visual_template_prompt": "A plain page with a wide layout, a palette of greys, "
                    "a smooth texture and placeholders for a heading and notes.",
                    "theme": lines["Theme"],
                    "document_type": f"{lines['Categories'].split(', ')[0]} - Sheet {mark}",
                }
            )
        if "Document" in lines:
            data = [{"label": "one", "value": "1 km"}, {"label": "two", "value": "2 km"}]
            return json.dumps({"title": f"T{mark}", "paragraphs": ['Some "words".'], "data": data})
        return json.dumps({"text": f"A thing with the number {mark}."})


class Dauber:
    """Paints noise, and keeps what it was asked."""

    name, max_categories = "sketch-dauber", 5

    def __init__(self) -> None:
        self.asked: list[PaintRequest] = []

    async def paint(self, request: PaintRequest) -> PaintReply:
        self.asked.append(request)
        seed = [request.seed, zlib.crc32(request.prompt.encode())]
        pixels = np.random.default_rng(seed).integers(0, 256, (96, 80, 3), np.uint8)
        return PaintReply(Picture(save_png(Image.fromarray(pixels))), "dauber")


def make_open(
    folder: Path, scribe: Scribe | None = None, **synthesis: Any
) -> tuple[Rows, Scribe, Dauber, Outcome]:
    pictures.open_pictures.cache_clear()
    scribe, dauber = scribe or Scribe(), Dauber()
    made_from = recipe(world="open", **synthesis)
    outcome = run(made_from, folder, scribe, dauber)
    return open_rows(folder), scribe, dauber, outcome


def test_a_photograph_becomes_a_sentence_and_only_that_is_painted(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 4, "JPEG")
    rows, scribe, dauber, _ = make_open(tmp_path / "run", **image_first(folder, 3))
    assert len(rows) == 3
    originals = {path.read_bytes() for path in folder.iterdir()}
    assert {asked.pictures[0].data for asked in scribe.asked} < originals
    assert scribe.asked[0].pictures[0].media_type == "image/jpeg"
    assert all(not asked.sources for asked in dauber.asked)


def test_a_second_sentence_is_sent_back(tmp_path: Path) -> None:
    class Talker(Scribe):
        def answer(self, request: WriteRequest, mark: int) -> str:
            if "cannot be used" in request.prompt:
                assert "more than one sentence" in request.prompt
                return json.dumps({"text": f"One thing at 3.5 p.m. for Mr. {mark}."})
            return json.dumps({"text": "A dog. It runs."})

    folder = photographs(tmp_path / "photos", 2)
    rows, *_ = make_open(tmp_path / "run", Talker(), **image_first(folder, 2))
    assert all(row.input_prompt.startswith("One thing") for row in rows)


def test_documents_are_merged_by_the_stated_rule(tmp_path: Path) -> None:
    document = {"count": 3, "types": {"infographic": 1.0}}
    rows, _, dauber, _ = make_open(tmp_path / "run", document=document)
    for row in rows:
        assert row.provenance is not None
        told = row.provenance.attributes
        title = told["content"]["title"]
        assert row.input_prompt == (
            "A plain page with a wide layout, a palette of greys, a smooth texture and placeholders "
            f"for a heading and notes. All text is set in {told['font']} and is exactly: title "
            f"“{title}”; paragraph “Some 'words'.”; entry “one: 1 km”; entry “two: 2 km”."
        )
    assert {asked.prompt for asked in dauber.asked} == {row.input_prompt for row in rows}


def test_a_document_that_stays_malformed_fails_visibly(tmp_path: Path) -> None:
    class Stubborn(Scribe):
        def answer(self, request: WriteRequest, mark: int) -> str:
            text = super().answer(request, mark)
            broken = "Categories" in request.prompt and request.seed % 2 == 0
            return text.replace("placeholders for", "room for") if broken else text

    rows, scribe, _, outcome = make_open(tmp_path / "run", Stubborn(), document={"count": 6})
    assert len(rows) == 6
    assert outcome.tally.ends.keys() == {"refused: malformed"}
    sent_back = [asked.prompt for asked in scribe.asked if "cannot be used" in asked.prompt]
    assert sent_back
    assert all("does not speak of placeholders" in prompt for prompt in sent_back)


def test_photographs_are_edited_one_after_the_other(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 3)
    editing = {"count": 6, "sources": "pictures", "pictures": {"path": str(folder)}}
    rows, scribe, dauber, _ = make_open(tmp_path / "run", editing=editing)
    used = Counter(row.provenance.attributes["source_picture"] for row in rows if row.provenance)
    assert set(used.values()) == {2}
    assert len(scribe.asked) == len(dauber.asked) == 6, "no source was drawn"
    for row in rows:
        assert row.input_image_resolution == (96, 80)
        assert rows.read(row.input_image[0]) in {path.read_bytes() for path in folder.iterdir()}
    assert fsck(tmp_path / "run").findings == ()


def test_edits_of_the_runs_own_pictures_draw_no_others(tmp_path: Path) -> None:
    rows, _, dauber, _ = make_open(
        tmp_path / "run", text_to_image={"count": 4}, editing={"count": 8, "sources": "rows"}
    )
    made = {row.output_image for row in rows if not row.is_edit}
    assert {row.input_image[0] for row in rows if row.is_edit} == made
    assert len(dauber.asked) == 12
    with pytest.raises(RecipeError, match="no text-to-image row is asked for"):
        make_open(tmp_path / "b", editing={"count": 1, "sources": "rows"})
    with pytest.raises(RecipeError, match=r"editing\.pictures is missing"):
        make_open(tmp_path / "c", editing={"count": 1, "sources": "pictures"})


def test_every_result_is_the_next_source_and_rows_know_their_turn_and_parent(
    tmp_path: Path,
) -> None:
    editing = {"count": 8, "turns": 3, "tasks": {"hybrid": 1.0, "storyboard": 1.0}}
    asked = recipe(world="open", editing=editing)
    planned = plan(asked, Scribe(), Dauber(), Anything())
    assert planned.rows == {
        "prompt_first": 0, "editing": 3, "editing_turn_2": 3, "editing_turn_3": 2,
    }  # fmt: skip
    rows, scribe, dauber, outcome = make_open(tmp_path / "run", editing=editing)
    assert (planned.write_calls, planned.paint_calls) == (len(scribe.asked), len(dauber.asked))
    assert outcome.tally.accepted == planned.rows
    made = {row.provenance.id: row for row in rows if row.provenance}
    turns = {id: row.provenance.attributes.get("turn", 1) for id, row in made.items()}
    assert sorted(turns.values()) == [1, 1, 1, 2, 2, 2, 3, 3]
    parents = []
    for id, row in made.items():
        assert row.provenance.pipeline == "editing"
        parent = row.provenance.attributes.get("parent")
        assert (parent is None) == (turns[id] == 1)
        if parent is not None:
            assert turns[parent] == turns[id] - 1
            assert row.input_image == (made[parent].output_image,)
            parents.append(parent)
    assert len(set(parents)) == len(parents) == 5
    assert fsck(tmp_path / "run").findings == ()
    # More of them, and more turns, keep what there is.
    few = make_open(tmp_path / "grown", editing={**editing, "count": 2, "turns": 1})[0]
    kept = [row.provenance.id for row in few]
    grown = make_open(tmp_path / "grown", editing=editing)[0]
    assert (tmp_path / "grown" / "dataset" / "rows.jsonl").read_bytes() == (
        tmp_path / "run" / "dataset" / "rows.jsonl"
    ).read_bytes()
    assert set(kept) <= {row.provenance.id for row in grown}
    with pytest.raises(RecipeError, match="from_line_art starts from a picture made for it"):
        make_open(tmp_path / "b", editing={**editing, "tasks": {"from_line_art": 1.0}})


def test_turns_are_exported_and_read_by_whoever_trains(tmp_path: Path) -> None:
    tasks = {"attribute_manipulation": 1.0, "background_modification": 1.0}
    editing = {"count": 6, "turns": 2, "tasks": tasks}
    outcome, rows = make(recipe(editing=editing), tmp_path / "run")
    assert outcome.tally.accepted["editing_turn_2"] == 3
    assert export(tmp_path / "run", tmp_path / "out").problems == ()
    import_dataset(tmp_path / "out", tmp_path / "back")
    back = open_rows(tmp_path / "back")
    there = [(r.input_prompt, back.read(r.input_image[0]), back.read(r.output_image)) for r in back]
    ours = [(r.input_prompt, rows.read(r.input_image[0]), rows.read(r.output_image)) for r in rows]
    assert there == ours
    shown = {item.title: item for item in distributions(list(rows), {"turn": {"1": 0.5, "2": 0.5}})}
    assert [(v.label, v.count, v.wanted) for v in shown["Turn of an edit"].values] == [
        ("1", 3, 0.5), ("2", 3, 0.5),
    ]  # fmt: skip


def test_the_report_shows_every_pipeline_and_type_beside_its_target(tmp_path: Path) -> None:
    folder = scenes(tmp_path / "scenes", 4)
    asked = recipe(
        256,
        **image_first(folder, 2),
        text_to_image={"count": 4},
        document={"count": 4, "types": {"slide": 3, "poster": 1}},
        editing={"count": 0},
        shares="planned",
        hold_out=False,
    )
    _, rows = make(asked, tmp_path / "run")
    laws = targets(setting_of(asked, SketchPainter("learnable"), Anything()))
    shown = {item.title: item for item in distributions(list(rows), laws)}
    for title, wanted in (
        ("Pipeline", {"prompt first": 4, "image first": 2, "document": 4}),
        ("Type of document", {"slide": 3, "poster": 1}),
    ):
        values = {value.label: value for value in shown[title].values if value.count}
        assert {label: value.count for label, value in values.items()} == wanted
        assert all(value.share == value.wanted for value in values.values())
    kinds = {value.label for value in shown["Kind of prompt"].values}
    assert not kinds & {"slide", "poster", "describe"}, "only prompts have a kind"


@pytest.mark.parametrize("sources", ["drawn", "rows"])
def test_two_sources_are_both_shown_and_both_kept(tmp_path: Path, sources: str) -> None:
    rows, scribe, dauber, _ = make_open(
        tmp_path / "run",
        text_to_image={"count": 3},
        editing={"count": 5, "sources": sources, "two_sources": 1.0},
    )
    for row in rows:
        if row.is_edit:
            assert len(set(row.input_image)) == 2
            assert row.provenance is not None
            assert "second" in row.provenance.attributes
            assert set(row.provenance.templates) == {"editing_two_sources"}
    assert sum(len(asked.pictures) == 2 for asked in scribe.asked) == 5
    assert sum(len(asked.sources) == 2 for asked in dauber.asked) == 5


@pytest.mark.parametrize("kind", ["edges", "line_art", "sketch", "canny", "segmentation"])
def test_a_conditioning_picture_is_made_by_its_tool_and_is_all_the_painter_sees(
    tmp_path: Path, kind: str
) -> None:
    if kind in ("canny", "segmentation"):
        pytest.importorskip("skimage", reason="needs the extra data")
    tasks = {"from_condition_map" if kind == "segmentation" else "from_line_art": 1.0}
    rows, scribe, dauber, _ = make_open(
        tmp_path / "run", editing={"count": 2, "tasks": tasks, "conditions": {kind: 1.0}}
    )
    tool = conditions.tool_of(kind)
    shown = [asked.pictures for asked in scribe.asked if asked.pictures]
    for original, made in shown:
        expected = save_png(tool.make(open_image(original.data)))
        assert made.data == expected
    for row in rows:
        assert row.provenance is not None
        assert row.provenance.attributes["condition"] == {"kind": kind, "tool": tool.name}
        assert rows.read(row.input_image[0]) in {made.data for _, made in shown}
        assert tool.words in row.provenance.write_prompt
    assert [len(asked.sources) for asked in dauber.asked].count(1) == 2
    assert fsck(tmp_path / "run").findings == ()


def test_edges_and_lines_are_where_the_picture_changes() -> None:
    picture = Image.new("RGB", (64, 64), (240, 240, 240))
    picture.paste((20, 20, 20), (32, 0, 64, 64))
    for kind in ("edges", "line_art"):
        made = np.asarray(conditions.tool_of(kind).make(picture), np.float64).mean(2)
        away = np.abs(made - made[32, 4]).mean(0)
        assert away[30:34].max() > 100, kind
        assert away[:28].max() < 10, kind
        assert away[36:].max() < 10, kind


def test_what_the_offline_teacher_cannot_edit_is_refused_before_a_run(tmp_path: Path) -> None:
    for editing, says in (
        ({"two_sources": 0.5}, "edits one picture at a time"),
        (
            {"sources": "rows", "tasks": {"from_line_art": 1.0}},
            "starts from a picture drawn for it",
        ),
    ):
        with pytest.raises(RecipeError, match=says):
            make(
                recipe(text_to_image={"count": 2}, editing={"count": 1, **editing}), tmp_path / "r"
            )
    assert not (tmp_path / "r").exists()


def test_a_plan_counts_the_calls_of_every_pipeline(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 9)
    given = {
        **image_first(folder, 6, "both"),
        "text_to_image": {"count": 3},
        "document": {"count": 2},
        "editing": {"count": 5, "sources": "rows"},
    }
    scribe, dauber = Scribe(), Dauber()
    planned = plan(recipe(world="open", **given), scribe, dauber, Anything())
    assert planned.rows == {"prompt_first": 3, "image_first": 6, "document": 2, "editing": 5}
    rows, scribe, dauber, outcome = make_open(tmp_path / "run", **given)
    assert len(rows) == 16
    assert not outcome.tally.ends
    assert (planned.write_calls, planned.paint_calls) == (len(scribe.asked), len(dauber.asked))
