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
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from janus4o.cluster import RayPool
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
Asked = tuple[str, str, Callable[[Janus], Any] | None]
"""Which model, on what device, is to do what; None opens it."""

MOST_CATEGORIES = 100
"""A prompt of any kind can be put to it; how well it does is for the checks to say."""


class Model(Protocol):
    """A Janus that teachers ask; `where` names it as `load` takes it."""

    @property
    def where(self) -> str: ...

    def open(self) -> object:
        """Makes sure that it can be asked; raises as `load` does."""

    async def ask(self, work: Callable[[Janus], Answer]) -> Answer | Refusal:
        """What `work` makes of the model; a refusal where it is declined or given what it cannot use."""

    async def close(self) -> None:
        """It will not be asked again."""


class Loaded:
    """A model of this process, loaded when it is first needed and asked by one at a time.

    Args:
        where: as `load` takes it; the name of the teachers that use it.
        device: as `load` takes it.
    """

    def __init__(self, where: str, device: str = "auto") -> None:
        self.where = where
        self._turn = threading.Lock()
        self._device = device
        self._janus: Janus | None = None

    def open(self) -> Janus:
        if self._janus is None:
            self._janus = load(self.where, self._device)
        return self._janus

    async def ask(self, work: Callable[[Janus], Answer]) -> Answer | Refusal:
        return await asyncio.to_thread(self.answer, work)  # the event loop goes on

    def answer(self, work: Callable[[Janus], Answer]) -> Answer | Refusal:
        """`ask`, for who may wait."""
        with self._turn:
            try:
                return work(self.open())
            except (Declined, PromptError, ImageError) as no:
                return refusal_of(no, self.where)

    async def close(self) -> None:
        pass


class OnCluster:
    """A model on a Ray cluster, one of it a GPU or machine, each asked by one at a time.

    Args:
        where: a folder is looked for at the same absolute path there.
        pool: of `answerer`; other models may share it, and its memory.
    """

    def __init__(self, where: str, device: str, pool: RayPool[Asked, Any]) -> None:
        self.where = where
        self._there = str(Path(where).resolve()) if Path(where).is_dir() else where
        self._device = device
        self._pool = pool

    def open(self) -> None:
        self._pool.submit((self._there, self._device, None)).result()

    async def ask(self, work: Callable[[Janus], Answer]) -> Answer | Refusal:
        asked = self._pool.submit((self._there, self._device, work))
        answer: Answer | Refusal = await asyncio.wrap_future(asked)
        return answer

    async def close(self) -> None:
        self._pool.close()


def answerer() -> Callable[[Asked], Any]:
    """What a process of a cluster does with work: it keeps the models it was asked for."""
    models: dict[tuple[str, str], Loaded] = {}

    def answer(asked: Asked) -> Any:
        where, device, work = asked
        model = models.setdefault((where, device), Loaded(where, device))
        if work is None:
            model.open()
            return None
        return model.answer(work)

    return answer


class _Teacher:
    """What both share: a model of our own costs nothing and is always the same.

    Args:
        model: may be shared with other teachers.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name = model.where

    def price(self, request: WriteRequest | PaintRequest) -> Price | None:
        return FREE

    def tokens(self, request: WriteRequest | PaintRequest) -> int:
        return 0

    def serves(self, model: str) -> bool:
        return model == self.name

    async def close(self) -> None:
        await self._model.close()


class JanusCaptioner(_Teacher):
    """Answers questions about one picture, greedily: captions, checks, instructions.

    Where an object is wanted, one of a single text is made of its answer; it can fill in no other.

    Args:
        longest: most tokens of an answer.
    """

    def __init__(self, model: Model, longest: int = 256) -> None:
        super().__init__(model)
        self.longest = longest

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        return await self._model.ask(partial(_write, request, self.longest, self.name))


class JanusPainter(_Teacher):
    """Draws prompts and carries out instructions, with the checkpoint's own guidance.

    Pictures have the model's size; a request for another one gets them scaled.
    """

    max_categories = MOST_CATEGORIES

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal:
        return await self._model.ask(partial(_paint, request, self.name))


def _write(request: WriteRequest, longest: int, name: str, janus: Janus) -> WriteReply:
    wanted = None if request.schema is None else _only_text(request.schema)
    if len(request.pictures) != 1:
        raise Declined(
            "unsuitable_source", f"{len(request.pictures)} pictures instead of one to look at"
        )
    text = janus.describe(request.pictures[0].data, request.prompt, longest)
    if not text:
        raise Declined("empty", "the model said nothing")
    if wanted is not None:
        text = json.dumps({wanted: text}, ensure_ascii=False)
    return WriteReply(text, name)


def _paint(request: PaintRequest, name: str, janus: Janus) -> PaintReply:
    seed = request.seed % 2**63
    if request.sources:
        sources = [open_image(source.data) for source in request.sources]
        made = janus.edit(sources, request.prompt, seed=seed)
    else:
        made = janus.generate(request.prompt, seed=seed)
    image = made[0].image
    if request.size is not None and request.size != image.size:
        image = image.resize(request.size)
    return PaintReply(Picture(save_png(image)), name, Usage(images=1))


def _only_text(schema: Mapping[str, Any]) -> str:
    """The one key of an object of a single text; raises Declined for other objects."""
    match dict(schema.get("properties", {})):
        case {**properties} if len(properties) == 1:
            ((name, about),) = properties.items()
            if about.get("type") == "string":
                return str(name)
    raise Declined("unsuitable_form", "it fills in one text, not an object of several")
