"""One call of a teacher behind an API, through whichever official package its recipe names."""

from __future__ import annotations

import asyncio
import json

from janus4o.cli.teachers import painter_of, writer_of
from janus4o.exchange import PaintReply, PaintRequest, Picture, Refusal, WriteReply, WriteRequest
from janus4o.recipe import Recipe
from janus4o.sketch.teacher import SketchPainter

ATTRIBUTES = {
    "objects": [{"category": "circle", "count": 1, "colour": "red"}], "background": None,
    "style": None, "lighting": None, "camera": None, "composition": None,
}  # fmt: skip
PROMPT = f"Write.\nAttributes: {json.dumps(ATTRIBUTES)}"
SQUARE = PaintRequest("a red circle", (), (64, 64), 9)


def say(recipe: Recipe, request: WriteRequest) -> WriteReply | Refusal:
    async def once() -> WriteReply | Refusal:
        writer = writer_of(recipe.teachers.writer)  # type: ignore[arg-type]
        try:
            return await writer.write(request)
        finally:
            await writer.close()

    return asyncio.run(once())


def paint(recipe: Recipe, request: PaintRequest) -> PaintReply | Refusal:
    async def once() -> PaintReply | Refusal:
        painter = painter_of(recipe.teachers.painter)  # type: ignore[arg-type]
        try:
            return await painter.paint(request)
        finally:
            await painter.close()

    return asyncio.run(once())


def scene() -> Picture:
    """A red circle that no server painted."""
    reply = asyncio.run(SketchPainter().paint(PaintRequest("a red circle", (), (64, 64), 1)))
    assert isinstance(reply, PaintReply)
    return reply.picture
