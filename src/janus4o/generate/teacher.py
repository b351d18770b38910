"""Our own models as teachers: a captioner that looks at pictures, a painter that draws and edits.

They speak `exchange` as a paid API would, so synthesis can distil a Janus-4o, or describe pictures
with a Janus-Pro, with nothing else changed. A model computes one request at a time; what it cannot be
asked is refused, not raised.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from janus4o.errors import ImageError, PromptError
from janus4o.exchange import (
    Declined,
    PaintReply,
    PaintRequest,
    Picture,
    Refusal,
    Usage,
    WriteReply,
    WriteRequest,
    refusal_of,
)
from janus4o.generate.api import Janus
from janus4o.images import open_image, save_png

Answer = TypeVar("Answer")

MOST_CATEGORIES = 100
"""A prompt of any kind can be put to it; how well it does is for the checks to say."""


class _Teacher:
    """What both share.

    Args:
        janus: the model.
    """

    def __init__(self, janus: Janus) -> None:
        self.janus = janus
        self._turn = threading.Lock()

    @property
    def name(self) -> str:
        return self.janus.name

    async def _ask(self, work: Callable[[], Answer]) -> Answer | Refusal:
        """Runs `work` in a thread of its own when the model is free; the event loop goes on."""

        def alone() -> Answer | Refusal:
            with self._turn:
                try:
                    return work()
                except (Declined, PromptError, ImageError) as no:
                    return refusal_of(no, self.name)

        return await asyncio.to_thread(alone)


class JanusCaptioner(_Teacher):
    """Answers questions about one picture, greedily: captions, checks, instructions.

    Args:
        longest: most tokens of an answer.
    """

    def __init__(self, janus: Janus, longest: int = 256) -> None:
        super().__init__(janus)
        self.longest = longest

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        return await self._ask(lambda: self._write(request))

    def _write(self, request: WriteRequest) -> WriteReply:
        if len(request.pictures) != 1:
            raise Declined(
                "unsuitable_source", f"{len(request.pictures)} pictures instead of one to look at"
            )
        text = self.janus.describe(request.pictures[0].data, request.prompt, self.longest)
        if not text:
            raise Declined("empty", "the model said nothing")
        return WriteReply(text, self.name)


class JanusPainter(_Teacher):
    """Draws prompts and carries out instructions, with the checkpoint's own guidance.

    Pictures have the model's size; a request for another one gets them scaled.
    """

    max_categories = MOST_CATEGORIES

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal:
        return await self._ask(lambda: self._paint(request))

    def _paint(self, request: PaintRequest) -> PaintReply:
        seed = request.seed % 2**63
        if request.sources:
            sources = [open_image(source.data) for source in request.sources]
            made = self.janus.edit(sources, request.prompt, seed=seed)
        else:
            made = self.janus.generate(request.prompt, seed=seed)
        image = made[0].image
        if request.size is not None and request.size != image.size:
            image = image.resize(request.size)
        return PaintReply(Picture(save_png(image)), self.name, Usage(images=1))
