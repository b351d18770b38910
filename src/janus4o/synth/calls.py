"""One sample's conversation with its teachers. What was answered before is not asked again."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from janus4o.errors import BudgetStop, ImageError, Janus4oError
from janus4o.exchange import (
    Painter,
    PaintReply,
    PaintRequest,
    Picture,
    Refusal,
    Usage,
    Writer,
    WriteReply,
    WriteRequest,
)
from janus4o.images import MEDIA_TYPES, kind_of
from janus4o.ledger.budget import Budget
from janus4o.ledger.journal import Attempt, Status
from janus4o.ledger.prices import FREE, price_of
from janus4o.prompt import find_fault
from janus4o.synth.sample import CallFailed, Sample, Standing, State, TeacherRefused
from janus4o.synth.store import Store

TRIES = 3
"""Calls without an answer before a sample is given up."""
FIRST_PAUSE = 0.5
"""Seconds before the second try; doubles with each."""


@dataclass(frozen=True, slots=True)
class Written:
    """A writer's answer: one line of text and the model that wrote it."""

    text: str
    model: str


@dataclass(frozen=True, slots=True)
class Painted:
    """A painter's answer, stored: its name, its bytes and the model that painted it."""

    name: str
    picture: Picture
    model: str


@dataclass(slots=True)
class Teachers:
    """Who is asked, what may be spent, and where answers are kept.

    Attributes:
        answered: answers of earlier runs by (sample id, stage).
        calls: made by this run.
    """

    writer: Writer
    painter: Painter
    size: tuple[int, int]
    store: Store
    budget: Budget
    answered: Mapping[tuple[str, str], Attempt]
    calls: int = 0


class Calls:
    """Asks the teachers on behalf of one sample and records what they say."""

    def __init__(self, sample: Sample, teachers: Teachers) -> None:
        self.sample = sample
        self._teachers = teachers

    def reach(self, state: State) -> None:
        """The sample got this far."""
        self._teachers.store.update(Standing(self.sample, state))

    async def write(self, stage: str, prompt: str, pictures: tuple[Picture, ...] = ()) -> Written:
        """Asks the writer.

        Raises:
            TeacherRefused, CallFailed: it said no, or nothing.
        """
        writer = self._teachers.writer
        seed = self.sample.stage_seed(stage)
        attempt, _ = await self._ask(
            stage,
            writer.name,
            _hash(prompt, pictures, seed),
            lambda: writer.write(WriteRequest(prompt, pictures, seed)),
        )
        return Written(" ".join((attempt.text or "").split()), attempt.model)

    async def paint(self, stage: str, prompt: str, sources: tuple[Picture, ...] = ()) -> Painted:
        """Asks the painter; its picture is stored.

        Raises:
            TeacherRefused, CallFailed: it said no, or nothing.
        """
        painter, size = self._teachers.painter, self._teachers.size
        seed = self.sample.stage_seed(stage)
        attempt, picture = await self._ask(
            stage,
            painter.name,
            _hash(prompt, sources, seed, size),
            lambda: painter.paint(PaintRequest(prompt, sources, size, seed)),
        )
        if attempt.blob is None:
            raise TeacherRefused("no_picture: the answer holds none")
        if picture is None:
            data = self._teachers.store.blobs.read(attempt.blob)
            picture = Picture(data, MEDIA_TYPES[kind_of(data)])
        return Painted(attempt.blob, picture, attempt.model)

    async def _ask(
        self,
        stage: str,
        teacher: str,
        request: str,
        call: Callable[[], Awaitable[WriteReply | PaintReply | Refusal]],
    ) -> tuple[Attempt, Picture | None]:
        known = self._teachers.answered.get((self.sample.id, stage))
        if known is not None and known.request == request:
            return _heard(known), None
        for tried in range(TRIES):
            if tried:
                await asyncio.sleep(FIRST_PAUSE * 2 ** (tried - 1))
            started, clock = time.time(), time.monotonic()
            answer = await self._call_once(teacher, call)
            attempt = self._keep(stage, request, answer, started, time.monotonic() - clock)
            if answer.status == "error":
                continue
            if self._teachers.budget.limit_usd is not None and answer.usage.cost_usd is None:
                raise BudgetStop(
                    f"{teacher} answered without a price, so the budget cannot be kept",
                    "remove the budget or use a teacher whose price is known",
                )
            return _heard(attempt), answer.picture
        raise CallFailed(f"{teacher}: {answer.text}")

    async def _call_once(
        self, teacher: str, call: Callable[[], Awaitable[WriteReply | PaintReply | Refusal]]
    ) -> _Answer:
        budget, price = self._teachers.budget, price_of(teacher)
        reserved = budget.reserve(teacher, price)
        self._teachers.calls += 1
        try:
            answer = _answer_of(await call())
        except (Janus4oError, asyncio.CancelledError):
            budget.settle(reserved, None)
            raise
        except Exception as error:  # a teacher's own failures are data: counted and tried again
            # Whether it was billed is unknown: its price is too, and all of the reservation counts.
            usage = Usage(cost_usd=0.0 if price == FREE else None)
            answer = _Answer("error", "", f"{type(error).__name__}: {error}", None, usage)
        budget.settle(reserved, answer.usage.cost_usd)
        return answer

    def _keep(
        self, stage: str, request: str, answer: _Answer, started: float, seconds: float
    ) -> Attempt:
        """Puts an answer on disk: its picture first, then its line in the journal."""
        store, status, text, blob = self._teachers.store, answer.status, answer.text, None
        if answer.picture is not None:
            try:
                blob = store.blobs.put(answer.picture.data, durable=answer.usage.cost_usd != 0.0)
            except ImageError as error:
                status, text = "refused", f"no_picture: {error.message}"
        if text is not None:  # a server may say anything, and the journal must be able to keep it
            text = text.encode("utf-8", "backslashreplace").decode()
        attempt = Attempt(
            sample=self.sample.id,
            stage=stage,
            request=request,
            status=status,
            model=answer.model,
            text=text,
            blob=blob,
            usage=answer.usage,
            started=started,
            seconds=seconds,
        )
        store.record(attempt)
        return attempt


@dataclass(frozen=True, slots=True)
class _Answer:
    status: Status
    model: str
    text: str | None
    picture: Picture | None
    usage: Usage


def _answer_of(reply: WriteReply | PaintReply | Refusal) -> _Answer:
    match reply:
        case WriteReply():
            if fault := find_fault(" ".join(reply.text.split())):
                words = f"{fault.name}: what was written {fault.words}"
                return _Answer("refused", reply.model, words, None, reply.usage)
            return _Answer("ok", reply.model, reply.text, None, reply.usage)
        case PaintReply():
            return _Answer("ok", reply.model, None, reply.picture, reply.usage)
        case Refusal():
            words = f"{reply.category}: {reply.message}"
            return _Answer("refused", reply.model, words, None, reply.usage)


def _heard(attempt: Attempt) -> Attempt:
    if attempt.status == "refused":
        raise TeacherRefused(attempt.text or "refused")
    return attempt


def _hash(
    prompt: str, pictures: tuple[Picture, ...], seed: int, size: tuple[int, int] | None = None
) -> str:
    """sha256 of a request: the text, each picture, seed and size."""
    digest = hashlib.sha256(f"{seed} {size} {len(pictures)}\n".encode())
    for picture in pictures:
        digest.update(hashlib.sha256(picture.data).digest())
    digest.update(prompt.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
