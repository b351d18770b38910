"""Our own models as teachers: a captioner that looks at pictures, a painter that draws and edits.

They speak `exchange` as a paid API would, so synthesis can distil a Janus-4o, or describe pictures
with a Janus-Pro, with nothing else changed. A model computes one request at a time; what it cannot be
asked is refused, not raised.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

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
from janus4o.generate.api import Janus, load
from janus4o.images import open_image, save_png
from janus4o.ledger.prices import FREE, Price

Answer = TypeVar("Answer")

MOST_CATEGORIES = 100
"""A prompt of any kind can be put to it; how well it does is for the checks to say."""


class Loaded:
    """A model that is loaded when it is first needed, and asked by one at a time.

    Args:
        where: as `load` takes it; the name of the teachers that use it.
        device: as `load` takes it.
    """

    def __init__(self, where: str, device: str = "auto") -> None:
        self.where = where
        self.turn = threading.Lock()
        self._device = device
        self._janus: Janus | None = None

    def open(self) -> Janus:
        """Raises as `load` does."""
        if self._janus is None:
            self._janus = load(self.where, self._device)
        return self._janus


class _Teacher:
    """What both share: a model of this machine costs nothing and is always the same.

    Args:
        model: may be shared with other teachers.
    """

    def __init__(self, model: Loaded) -> None:
        self._model = model
        self.name = model.where

    def price(self, request: WriteRequest | PaintRequest) -> Price | None:
        return FREE

    def tokens(self, request: WriteRequest | PaintRequest) -> int:
        return 0

    def serves(self, model: str) -> bool:
        return model == self.name

    async def close(self) -> None:
        pass

    async def _ask(self, work: Callable[[Janus], Answer]) -> Answer | Refusal:
        """Runs `work` in a thread of its own when the model is free; the event loop goes on."""

        def alone() -> Answer | Refusal:
            with self._model.turn:
                try:
                    return work(self._model.open())
                except (Declined, PromptError, ImageError) as no:
                    return refusal_of(no, self.name)

        return await asyncio.to_thread(alone)


class JanusCaptioner(_Teacher):
    """Answers questions about one picture, greedily: captions, checks, instructions.

    Where an object is wanted, one of a single text is made of its answer; it can fill in no other.

    Args:
        longest: most tokens of an answer.
    """

    def __init__(self, model: Loaded, longest: int = 256) -> None:
        super().__init__(model)
        self.longest = longest

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        return await self._ask(lambda janus: self._write(janus, request))

    def _write(self, janus: Janus, request: WriteRequest) -> WriteReply:
        wanted = None if request.schema is None else _only_text(request.schema)
        if len(request.pictures) != 1:
            raise Declined(
                "unsuitable_source", f"{len(request.pictures)} pictures instead of one to look at"
            )
        text = janus.describe(request.pictures[0].data, request.prompt, self.longest)
        if not text:
            raise Declined("empty", "the model said nothing")
        if wanted is not None:
            text = json.dumps({wanted: text}, ensure_ascii=False)
        return WriteReply(text, self.name)


class JanusPainter(_Teacher):
    """Draws prompts and carries out instructions, with the checkpoint's own guidance.

    Pictures have the model's size; a request for another one gets them scaled.
    """

    max_categories = MOST_CATEGORIES

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal:
        return await self._ask(lambda janus: self._paint(janus, request))

    def _paint(self, janus: Janus, request: PaintRequest) -> PaintReply:
        seed = request.seed % 2**63
        if request.sources:
            sources = [open_image(source.data) for source in request.sources]
            made = janus.edit(sources, request.prompt, seed=seed)
        else:
            made = janus.generate(request.prompt, seed=seed)
        image = made[0].image
        if request.size is not None and request.size != image.size:
            image = image.resize(request.size)
        return PaintReply(Picture(save_png(image)), self.name, Usage(images=1))


def _only_text(schema: Mapping[str, Any]) -> str:
    """The one key of an object of a single text; raises Declined for other objects."""
    match dict(schema.get("properties", {})):
        case {**properties} if len(properties) == 1:
            ((name, about),) = properties.items()
            if about.get("type") == "string":
                return str(name)
    raise Declined("unsuitable_form", "it fills in one text, not an object of several")
