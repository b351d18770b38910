"""What is asked in the exam has never been seen in training."""

import asyncio

import numpy as np
import pytest

from janus4o.exchange import PaintReply, PaintRequest, Picture, WriteReply, WriteRequest
from janus4o.images import save_png
from janus4o.scored import HeldOut
from janus4o.sketch import detect, exam, judge
from janus4o.sketch.edit import LEARNABLE_KINDS, EditTask, apply
from janus4o.sketch.edit_sampling import sample_source
from janus4o.sketch.exam import HELD_OUT_TAGS, HELD_PAIRS, Split, held_out
from janus4o.sketch.judge import pixels_of
from janus4o.sketch.render import picture
from janus4o.sketch.sampling import Tag, sample_wanted
from janus4o.sketch.scene import LEARNABLE_SHAPES
from janus4o.sketch.teacher import SketchPainter, SketchWriter
from janus4o.sketch.wanted import imagine


def test_a_fifth_of_the_pairs_is_held_out_and_every_shape_is_in_one() -> None:
    assert len(HELD_PAIRS) == 9
    assert {shape for pair in HELD_PAIRS for shape in pair} == set(LEARNABLE_SHAPES)
    assert all(len(pair) == 2 for pair in HELD_PAIRS)


def test_what_is_held_out_stays_so_in_every_scene_that_shows_it() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        wanted = sample_wanted(rng)
        if held_out(wanted):
            assert held_out(imagine(wanted, rng))


@pytest.mark.parametrize("split", list(Split))
@pytest.mark.parametrize("tag", list(Tag))
def test_captions_are_held_out_where_they_say(tag: Tag, split: Split) -> None:
    questions = exam.text_to_image(tag, 40, 3, split)
    assert questions == exam.text_to_image(tag, 60, 3, split)[:40]
    for question in questions:
        assert question.wanted is not None
        assert (question.held_out is HeldOut.BY_SCENE) == (tag in HELD_OUT_TAGS)
        if tag in HELD_OUT_TAGS:
            assert held_out(question.wanted)
    other = exam.text_to_image(tag, 40, 3, next(s for s in Split if s is not split))
    assert [q.seed for q in other] != [q.seed for q in questions]


@pytest.mark.parametrize("kind", LEARNABLE_KINDS)
def test_edits_are_held_out_and_can_be_done(kind: str) -> None:
    questions = exam.editing(kind, 60, 3, "test")
    assert questions == exam.editing(kind, 60, 3, "test")
    # A held-out combination takes two objects: in the source, or, for "add", in the result.
    assert {len(q.source.items) for q in questions if q.source} == {1 if kind == "add" else 2}
    for question in questions:
        assert question.source is not None
        assert question.operation is not None
        target = apply(question.operation, question.source)
        assert held_out(question.source) or held_out(target)
        assert question.held_out is HeldOut.BY_SCENE
        pixels = np.asarray(picture(target, 64))
        assert judge.check_edit(question.source, question.operation, pixels).passed


def test_teachers_told_to_hold_out_never_show_the_exam() -> None:
    """Pictures, edit sources and edit results, asked for in words as synthesis does."""
    rng = np.random.default_rng(1)
    writer, painter = SketchWriter(hold_out=True), SketchPainter(hold_out=True)

    async def check() -> int:
        shown = 0
        for n in range(150):
            wanted = sample_wanted(rng)
            if held_out(wanted):
                continue
            from janus4o.sketch.captions import caption

            drawn = await painter.paint(PaintRequest(caption(wanted, rng), seed=n))
            assert isinstance(drawn, PaintReply)
            assert not _seen(drawn.picture)
            source = sample_source("recolour", rng)
            if held_out(source):
                continue
            encoded = Picture(save_png(picture(source, 128)))
            task = list(EditTask)[n % 4]
            written = await writer.write(WriteRequest(f"Task: {task.value}", (encoded,), seed=n))
            if isinstance(written, WriteReply):
                result = await painter.paint(PaintRequest(written.text, (encoded,)))
                assert isinstance(result, PaintReply)
                assert not _seen(result.picture)
                shown += 1
        return shown

    assert asyncio.run(check()) > 30


def _seen(shown: Picture) -> bool:
    scene = detect.scene(pixels_of(shown)).scene
    assert scene is not None
    return held_out(scene)
