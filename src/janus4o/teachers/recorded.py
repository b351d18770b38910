"""A teacher that answers out of the journal of an earlier run: offline, free, word for word."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from janus4o.errors import DataError
from janus4o.exchange import (
    PaintReply,
    PaintRequest,
    Picture,
    Refusal,
    Unanswered,
    Usage,
    WriteReply,
    WriteRequest,
)
from janus4o.images import MEDIA_TYPES, kind_of
from janus4o.ledger.blobs import Blobs
from janus4o.ledger.journal import Attempt, request_hash
from janus4o.ledger.prices import FREE, Price


class RecordedTeacher:
    """Writer and painter at once.

    Args:
        folder: of the run whose replies are given again.
        said: its calls, the oldest first.
        max_categories: of the painter that was asked then.
    """

    name = "replay"

    def __init__(self, folder: Path, said: Iterable[Attempt], max_categories: int) -> None:
        self.max_categories = max_categories
        self._where = folder
        self._blobs = Blobs(folder / "blobs")
        self._said: dict[str, Attempt] = {}
        for attempt in said:
            # An answer counts more than an error, a later one more than an earlier.
            if attempt.status != "error" or attempt.request not in self._said:
                self._said[attempt.request] = attempt

    def price(self, request: WriteRequest | PaintRequest) -> Price | None:
        return FREE

    def tokens(self, request: WriteRequest | PaintRequest) -> int:
        return 0

    def serves(self, model: str) -> bool:
        return True

    async def close(self) -> None:
        pass

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        said = self._find(
            request_hash(request.prompt, request.pictures, request.seed), request.prompt
        )
        if isinstance(said, Refusal):
            return said
        return WriteReply(said.text or "", said.model, _free(said))

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal:
        hashed = request_hash(request.prompt, request.sources, request.seed, request.size)
        said = self._find(hashed, request.prompt)
        if isinstance(said, Refusal):
            return said
        try:
            data = self._blobs.read(said.blob or "")
        except DataError as error:
            raise Unanswered(error.message, Usage(), stop=error) from None
        return PaintReply(Picture(data, MEDIA_TYPES[kind_of(data)]), said.model, _free(said))

    def _find(self, request: str, prompt: str) -> Attempt | Refusal:
        said = self._said.get(request)
        if said is None:
            start = " ".join(prompt.split())
            start = start if len(start) <= 60 else f"{start[:57]}..."
            stop = DataError(
                f"{str(self._where)!r} has no reply to request {request[:12]} ({start!r})",
                "the recipe, its vocabulary or the code that asks has changed since it was recorded",
            )
            raise Unanswered(stop.message, Usage(), stop=stop)
        if said.status == "error":
            raise Unanswered(said.text or "no answer", Usage(), final=True)
        if said.status == "refused":
            category, _, message = (said.text or "refused").partition(": ")
            return Refusal(category, message, said.model, _free(said))
        return said


def _free(said: Attempt) -> Usage:
    """What the reply used when it was given; now it costs nothing."""
    used = said.usage
    return Usage(used.input_tokens, used.output_tokens, used.images, 0.0)
