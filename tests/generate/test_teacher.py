"""Our own models as teachers: they answer as the Python API does, and refuse instead of raising."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from PIL import Image

from janus4o.cli.teachers import hire
from janus4o.errors import CheckpointError, RecipeError
from janus4o.exchange import PaintReply, PaintRequest, Picture, Refusal, WriteReply, WriteRequest
from janus4o.generate.api import Janus
from janus4o.generate.teacher import JanusCaptioner, JanusPainter, Loaded
from janus4o.images import open_image, save_png
from janus4o.ledger.prices import FREE, Priced
from janus4o.recipe import load
from janus4o.rows import open_rows
from janus4o.synth.forms import SENTENCE, read
from janus4o.synth.runner import run


class Here(Loaded):
    """A model that is there already."""

    def __init__(self, janus: Janus) -> None:
        super().__init__(janus.name)
        self._janus = janus


def test_a_captioner_says_what_the_model_says(janus: Janus, pictures: list[Image.Image]) -> None:
    captioner = JanusCaptioner(Here(janus), longest=6)
    requests = [WriteRequest("what is this", (Picture(save_png(picture)),)) for picture in pictures]

    async def ask() -> list[WriteReply | Refusal]:
        return await asyncio.gather(*(captioner.write(request) for request in requests))

    for picture, reply in zip(pictures, asyncio.run(ask()), strict=True):
        expected = janus.describe(picture, "what is this", longest=6)
        if isinstance(reply, WriteReply):
            assert (reply.text, reply.model) == (expected, janus.name)
        else:
            assert (reply.category, expected) == ("empty", "")


def test_a_painter_paints_what_the_model_paints(janus: Janus, pictures: list[Image.Image]) -> None:
    painter = JanusPainter(Here(janus))

    def paint(request: PaintRequest) -> Image.Image:
        reply = asyncio.run(painter.paint(request))
        assert isinstance(reply, PaintReply)
        assert reply.usage.images == 1
        return open_image(reply.picture.data)

    drawn = paint(PaintRequest("a red circle", seed=3))
    assert drawn.tobytes() == janus.generate("a red circle", seed=3)[0].image.tobytes()
    source = Picture(save_png(pictures[0]))
    edited = paint(PaintRequest("make it blue", (source,), seed=4))
    assert edited.tobytes() == janus.edit(pictures[0], "make it blue", seed=4)[0].image.tobytes()
    assert paint(PaintRequest("a red circle", size=(96, 48))).size == (96, 48)


def test_what_cannot_be_asked_is_refused(janus: Janus, pictures: list[Image.Image]) -> None:
    captioner, painter = JanusCaptioner(Here(janus)), JanusPainter(Here(janus))
    good, bad = Picture(save_png(pictures[0])), Picture(b"no picture")
    two = {"properties": {"title": {"type": "string"}, "entry": {"type": "string"}}}
    cases = {
        "unsuitable_form": [
            WriteRequest("what is this", (good,), schema=two),
            WriteRequest("what", (good,), schema={"properties": {"number": {"type": "integer"}}}),
        ],
        "unsuitable_source": [WriteRequest("what is this"), WriteRequest("what", (good, good))],
        "unreadable_source": [WriteRequest("what", (bad,)), PaintRequest("make it red", (bad,))],
        "unreadable_prompt": [WriteRequest(" ", (good,)), PaintRequest("red " * 2000)],
    }
    for category, requests in cases.items():
        for request in requests:
            if isinstance(request, WriteRequest):
                reply: object = asyncio.run(captioner.write(request))
            else:
                reply = asyncio.run(painter.paint(request))
            assert isinstance(reply, Refusal)
            assert (reply.category, reply.model) == (category, janus.name)
            assert reply.message


def test_a_captioner_fills_in_a_form_of_one_text(
    janus: Janus, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = 'A "red" circle.'
    monkeypatch.setattr(Janus, "describe", lambda *_: said)
    request = WriteRequest(
        "what is this", (Picture(save_png(pictures[0])),), schema=SENTENCE.schema
    )
    reply = asyncio.run(JanusCaptioner(Here(janus)).write(request))
    assert isinstance(reply, WriteReply)
    assert read(reply.text, SENTENCE) == said


def test_teachers_of_this_machine_cost_nothing_and_are_loaded_when_they_are_asked() -> None:
    model = Loaded("no-such-folder")
    for teacher in (JanusCaptioner(model), JanusPainter(model)):
        assert isinstance(teacher, Priced)
        assert teacher.price(WriteRequest("what")) == FREE
        assert (teacher.name, teacher.serves("no-such-folder")) == ("no-such-folder", True)
    with pytest.raises(CheckpointError, match="no-such-folder"):
        model.open()


JANUS = "{api: janus, model: sketch-base}"


def test_a_recipe_can_name_a_janus_and_only_pictures_that_show_their_prompt_are_kept(
    root: Path, tmp_path: Path
) -> None:
    recipe = load(
        root / "recipes" / "sketch.yaml",
        [
            f"teachers.painter={JANUS}",
            "synthesis.text_to_image.count=3",
            "synthesis.editing.count=0",
        ],
    )
    staff = hire(recipe)
    outcome = run(recipe, tmp_path, staff.writer, staff.painter, inspector=staff.inspector)
    assert (outcome.tally.done, outcome.spend.cost_usd) == (3, 0.0)
    assert outcome.tally.ends["rejected: shows_prompt"] > 0  # the base cannot draw two objects
    assert [row.provenance.painter for row in open_rows(tmp_path)] == ["sketch-base"] * 3


def test_a_janus_is_not_asked_to_write_about_no_picture(root: Path) -> None:
    recipe = load(root / "recipes" / "sketch.yaml", [f"teachers.writer={JANUS}"])
    with pytest.raises(RecipeError, match="a Janus describes pictures, and synthesis"):
        hire(recipe, asking=False)
    edits = ["synthesis.text_to_image.count=0", f"teachers.painter={JANUS}"]
    staff = hire(
        load(root / "recipes" / "sketch.yaml", [f"teachers.writer={JANUS}", *edits]), False
    )
    assert (staff.writer.name, staff.painter.name) == ("sketch-base", "sketch-base")
