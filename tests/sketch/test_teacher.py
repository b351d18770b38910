"""Writer, painter and judge speak `exchange`, do exactly what is asked, and refuse the rest by name."""

import asyncio
import json

import numpy as np
import pytest
from PIL import Image

from janus4o.exchange import (
    Judge,
    JudgeReply,
    JudgeRequest,
    Painter,
    PaintReply,
    PaintRequest,
    Picture,
    Refusal,
    Writer,
    WriteReply,
    WriteRequest,
)
from janus4o.images import open_image, save_png
from janus4o.sketch import detect, grammar
from janus4o.sketch.document import DocumentType, draw_document, parse_document
from janus4o.sketch.edit import EditTask
from janus4o.sketch.edit_sampling import KINDS, sample_source
from janus4o.sketch.judge import SketchJudge, pixels_of
from janus4o.sketch.scene import Colour
from janus4o.sketch.teacher import SketchPainter, SketchWriter, source_view
from janus4o.sketch.view import show
from janus4o.sketch.wanted import World, unmet

WRITER: Writer = SketchWriter()
PAINTER: Painter = SketchPainter()
JUDGE: Judge = SketchJudge()


def write(prompt: str, *pictures: Picture, seed: int = 0) -> WriteReply | Refusal:
    return asyncio.run(WRITER.write(WriteRequest(prompt, pictures, seed)))


def paint(
    prompt: str, *sources: Picture, size: tuple[int, int] | None = None, seed: int = 0
) -> PaintReply | Refusal:
    return asyncio.run(PAINTER.paint(PaintRequest(prompt, sources, size, seed)))


def test_attributes_become_a_caption_and_the_caption_a_picture() -> None:
    attributes = {
        "objects": [
            {"category": "star", "count": 1, "colour": None},
            {"category": "ring", "count": 1, "colour": "blue"},
        ],
        "background": "pink",
        "style": "hatched",
        "lighting": None,
        "camera": "long",
        "composition": "above",
    }
    asked = f"Write a prompt.\nAttributes: {json.dumps(attributes)}"
    written = write(asked)
    assert isinstance(written, WriteReply)
    painted = paint(written.text, size=(256, 256), seed=4)
    assert isinstance(painted, PaintReply)
    assert open_image(painted.picture.data).size == (256, 256)
    scene = detect.scene(pixels_of(painted.picture)).scene
    assert scene is not None
    wanted = grammar.parse_caption("a star above a blue ring on a pink background, long shot")
    assert unmet(wanted, scene) == ""
    again = paint(written.text, size=(256, 256), seed=4)
    assert again == painted
    assert paint(written.text, size=(256, 256), seed=5) != painted


@pytest.mark.parametrize("task", list(EditTask))
def test_each_task_is_done_exactly_or_refused_by_name(task: EditTask) -> None:
    rng = np.random.default_rng(0)
    kind = (KINDS[task] or ("recolour",))[0]
    scene = sample_source(kind, rng, World.LEARNABLE)
    source = Picture(save_png(Image.fromarray(show(scene, source_view(task), 128))))
    written = write(f"Do it.\nTask: {task.value}\nMeaning: ...", source)
    if task.refused:
        assert isinstance(written, Refusal)
        assert written.category == "unsupported_task"
        assert task.value in written.message
        return
    assert isinstance(written, WriteReply)
    painted = paint(written.text, source)
    assert isinstance(painted, PaintReply)
    judged = asyncio.run(JUDGE.judge(JudgeRequest(written.text, painted.picture, (source,))))
    assert isinstance(judged, JudgeReply)
    assert judged.passed
    undone = asyncio.run(JUDGE.judge(JudgeRequest(written.text, source, (source,))))
    assert isinstance(undone, JudgeReply)
    assert not undone.passed
    assert undone.reason


@pytest.mark.parametrize(
    ("prompt", "size", "category"),
    [
        ("a red zebra", None, "unknown_word"),
        ("", None, "unreadable_prompt"),
        ("three stars and two rings", None, "unreadable_prompt"),
        ("a red circle", (128, 96), "unsupported_size"),
        ("a red circle", (100, 100), "unsupported_size"),
        ("document: novel\ntitle: x", None, "unreadable_prompt"),
    ],
)
def test_the_painter_refuses_by_name(
    prompt: str, size: tuple[int, int] | None, category: str
) -> None:
    reply = paint(prompt, size=size)
    assert isinstance(reply, Refusal)
    assert reply.category == category
    assert reply.message


def test_unusable_sources_are_refused() -> None:
    static = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    noise = Picture(save_png(Image.fromarray(static)))
    for reply in (
        write("Task: element_manipulation", noise),
        paint("remove the circle", noise),
        paint("remove the circle", Picture(b"not a picture")),
    ):
        assert isinstance(reply, Refusal)
        assert reply.category == "unreadable_source"
    assert isinstance(write("Task: element_manipulation"), Refusal)
    assert isinstance(write("Task: dance", noise), Refusal)
    assert isinstance(write("Attributes: {}"), Refusal)
    assert isinstance(write("hello"), Refusal)


DOCUMENT = "document: {}\ntitle: Tides\nline: The moon pulls the sea\nvalue: high 4.2\nvalue: low 1"


@pytest.mark.parametrize("kind", list(DocumentType))
@pytest.mark.parametrize("size", [(256, 256), (384, 256), (256, 384)])
def test_documents_are_laid_out_with_all_their_text(
    kind: DocumentType, size: tuple[int, int]
) -> None:
    prompt = DOCUMENT.format(kind.value)
    painted = paint(prompt, size=size)
    assert isinstance(painted, PaintReply)
    assert painted == paint(prompt, size=size)
    page = np.asarray(open_image(painted.picture.data), np.int16)
    assert (page.shape[1], page.shape[0]) == size
    document = parse_document(prompt)
    # Each part of the text leaves ink: without it the page differs.
    for less in ("line: The moon pulls the sea\n", "value: high 4.2\n"):
        other = draw_document(parse_document(prompt.replace(less, "")), size)
        assert (np.asarray(other) != page).any()
    assert document.type is kind


def test_a_document_that_does_not_fit_is_refused() -> None:
    reply = paint(f"document: slide\ntitle: Tides\nline: {'sea ' * 400}", size=(128, 128))
    assert isinstance(reply, Refusal)
    assert "fit" in reply.message


@pytest.mark.parametrize("colour", list(Colour))
@pytest.mark.parametrize("kind", list(DocumentType))
def test_text_can_be_read_in_every_colour(kind: DocumentType, colour: Colour) -> None:
    prompt = f"document: {kind.value}\ntitle: Tides\ncolour: {colour.value}"
    page = np.asarray(draw_document(parse_document(prompt), (256, 256)).convert("L"), np.int16)
    title = page[24:128, 24:-24]  # inside the poster's frame, above the slide's rule or with it
    assert int(title.max()) - int(title.min()) > 50
