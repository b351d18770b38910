"""Our own models as teachers: they answer as the Python API does, and refuse instead of raising."""

from __future__ import annotations

import asyncio

from PIL import Image

from janus4o.exchange import PaintReply, PaintRequest, Picture, Refusal, WriteReply, WriteRequest
from janus4o.generate.api import Janus
from janus4o.generate.teacher import JanusCaptioner, JanusPainter
from janus4o.images import open_image, save_png


def test_a_captioner_says_what_the_model_says(janus: Janus, pictures: list[Image.Image]) -> None:
    captioner = JanusCaptioner(janus, longest=6)
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
    painter = JanusPainter(janus)

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
    captioner, painter = JanusCaptioner(janus), JanusPainter(janus)
    good, bad = Picture(save_png(pictures[0])), Picture(b"no picture")
    cases = {
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
