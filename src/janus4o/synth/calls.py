"""One sample's conversation with its teachers. What was answered before is not asked again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus4o.errors import BudgetStop, ImageError, Interrupted, Janus4oError, Refused
from janus4o.exchange import (
    Painter,
    PaintReply,
    PaintRequest,
    Picture,
    Refusal,
    Unanswered,
    Usage,
    Writer,
    WriteReply,
    WriteRequest,
)
from janus4o.images import MEDIA_TYPES, kind_of, open_image
from janus4o.ledger.budget import Budget
from janus4o.ledger.journal import Attempt, Sent, Status, request_hash
from janus4o.ledger.limits import LEAVING, Call, Pace
from janus4o.ledger.patience import Patience
from janus4o.ledger.prices import FREE, Priced, price_of
from janus4o.prompt import find_fault
from janus4o.synth.batches import Desk
from janus4o.synth.sample import CallFailed, Sample, Standing, State, TeacherRefused
from janus4o.synth.store import Store

FIRST_PAUSE = 0.5
"""Seconds before the second try; doubles with each."""
SERVED = "served"
"""Fact of the store: role → the model name its server answers with."""

Turn = AbstractAsyncContextManager[Call | None]
Pixels = NDArray[np.uint8]


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
        paces: role ("writer", "painter") → how often its server may be asked.
        desks: role → where its batches are, if it is asked by the batch.
        calls: made by this run.
        gone: a teacher cannot be asked any more; calls in flight are not worth waiting for.
        stopping: set when the run is to end: nobody waits for a turn or a pause any longer.
    """

    writer: Writer
    painter: Painter
    size: tuple[int, int]
    store: Store
    budget: Budget
    answered: Mapping[tuple[str, str], Attempt]
    paces: Mapping[str, Pace] = field(default_factory=dict)
    desks: Mapping[str, Desk] = field(default_factory=dict)
    calls: int = 0
    gone: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    served: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.served = self.store.fact(SERVED) or {}

    async def wait(self, seconds: float) -> None:
        """Sleeps; raises Interrupted as soon as the run is to end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)
        if self.stopping.is_set():
            raise Interrupted("stopped while waiting for a teacher", "run it again to go on")


@dataclass(frozen=True, slots=True)
class Role:
    """One of the two teachers as calls see it: "writer" or "painter"."""

    name: str
    teacher: Writer | Painter
    teachers: Teachers

    @property
    def pace(self) -> Pace | None:
        return self.teachers.paces.get(self.name)

    def desk_for(self, request: str, asked: WriteRequest | PaintRequest) -> Desk | None:
        desk = self.teachers.desks.get(self.name)
        return desk if desk is not None and desk.takes(request, asked) else None

    def pace_after(self, call: Call, answer: _Answer) -> None:
        """What an answer says about how often its server may be asked."""
        pace, failure = self.teachers.paces[self.name], answer.failure
        used = answer.usage.input_tokens + answer.usage.output_tokens
        if failure is None or used:
            pace.correct(call, used or call.tokens)
        elif failure.limited or failure.retry_after:
            pace.pause(call, failure.retry_after)

    def check(self, answer: _Answer) -> _Answer:
        """Answers must keep coming from one model, this run and the next.

        Only of teachers behind a server: what is here cannot change under the same name.
        """
        teacher, served = self.teacher, self.teachers.served
        if answer.status != "ok" or not answer.model or not isinstance(teacher, Priced):
            return answer
        known = served.get(self.name)
        if known is None and teacher.serves(answer.model):
            served[self.name] = answer.model
            self.teachers.store.state_fact(SERVED, served)
        elif known != answer.model:
            stop = Refused(
                f"the {self.name} asked for as {teacher.name!r} answers as {answer.model!r}"
                + (f", not as {known!r} as before" if known else ""),
                "two models must not be mixed: ask for one that is still served, in a new run "
                f"folder; or name it as teachers.{self.name}.served if it is the same model",
            )
            return _failed(Unanswered(f"drift: {stop.message}", answer.usage, stop=stop))
        return answer


class Calls:
    """Asks the teachers on behalf of one sample and records what they say."""

    def __init__(self, sample: Sample, teachers: Teachers) -> None:
        self.sample = sample
        self._teachers = teachers

    def keep(self, data: bytes) -> str:
        """Stores a picture nobody was asked for and returns its name; on disk before its row is.

        Raises:
            ImageError: not a PNG, JPEG or WebP.
        """
        return self._teachers.store.blobs.put(data, durable=False)

    def picture(self, name: str) -> tuple[Picture, Pixels]:
        """A stored picture, and decoded: uint8 RGB [H, W, 3]; raises DataError where it is gone."""
        data = self._teachers.store.blobs.read(name)
        picture = Picture(data, MEDIA_TYPES[kind_of(data)])
        return picture, np.asarray(open_image(data), np.uint8)

    def reach(self, state: State) -> None:
        """The sample got this far."""
        self._teachers.store.update(Standing(self.sample, state))

    async def write(
        self,
        stage: str,
        prompt: str,
        pictures: tuple[Picture, ...] = (),
        schema: Mapping[str, Any] | None = None,
    ) -> Written:
        """Asks the writer; with a schema, for a JSON object.

        Raises:
            TeacherRefused, CallFailed: it said no, or nothing.
        """
        writer = self._teachers.writer
        seed = self.sample.stage_seed(stage)
        asked = WriteRequest(prompt, pictures, seed, schema)
        attempt, _ = await self._ask(
            stage,
            Role("writer", writer, self._teachers),
            request_hash(prompt, pictures, seed),
            asked,
            lambda: writer.write(asked),
        )
        return Written(" ".join((attempt.text or "").split()), attempt.model)

    async def paint(self, stage: str, prompt: str, sources: tuple[Picture, ...] = ()) -> Painted:
        """Asks the painter; its picture is stored.

        Raises:
            TeacherRefused, CallFailed: it said no, or nothing.
        """
        painter, size = self._teachers.painter, self._teachers.size
        seed = self.sample.stage_seed(stage)
        asked = PaintRequest(prompt, sources, size, seed)
        attempt, picture = await self._ask(
            stage,
            Role("painter", painter, self._teachers),
            request_hash(prompt, sources, seed, size),
            asked,
            lambda: painter.paint(asked),
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
        role: Role,
        request: str,
        asked: WriteRequest | PaintRequest,
        call: Callable[[], Awaitable[WriteReply | PaintReply | Refusal]],
    ) -> tuple[Attempt, Picture | None]:
        known = self._teachers.answered.get((self.sample.id, stage))
        if known is not None and known.request == request:
            return _heard(known), None
        patience = Patience(FIRST_PAUSE)
        while True:
            answer, sent, seconds = await self._call_once(stage, role, request, asked, call)
            attempt = self._keep(stage, request, answer, sent, seconds)
            failure = answer.failure
            if failure is None:
                break
            if failure.stop is not None:
                self._teachers.gone = True
                raise failure.stop
            pause = None if failure.final else patience.after(failure)
            if pause is None:
                raise CallFailed(f"{role.teacher.name}: {answer.text}")
            await self._teachers.wait(pause)
        if self._teachers.budget.limit_usd is not None and answer.usage.cost_usd is None:
            raise BudgetStop(
                f"{role.teacher.name} answered without a price, so the budget cannot be kept",
                "remove the budget or use a teacher whose price is known",
            )
        return _heard(attempt), answer.picture

    async def _call_once(
        self,
        stage: str,
        role: Role,
        request: str,
        asked: WriteRequest | PaintRequest,
        call: Callable[[], Awaitable[WriteReply | PaintReply | Refusal]],
    ) -> tuple[_Answer, float, float]:
        """One call, its unix time and its latency in seconds."""
        teachers, name = self._teachers, role.teacher.name
        priced = role.teacher if isinstance(role.teacher, Priced) else None
        price = priced.price(asked) if priced else price_of(name)
        desk = role.desk_for(request, asked)
        earlier = desk.out(request) if desk is not None else None
        if earlier is not None and teachers.budget.limit_usd is not None:
            reserved = teachers.budget.resume(earlier.reserved_usd)
        else:
            reserved = await teachers.budget.reserve_when_free(name, price)
        cost: float | None = 0.0
        turn: Turn = contextlib.nullcontext()
        if role.pace is not None and desk is None:
            turn = role.pace.turn(
                images=isinstance(asked, PaintRequest), tokens=priced.tokens(asked) if priced else 0
            )
        try:
            async with turn as counted:
                sent, clock = time.time() if earlier is None else earlier.started, time.monotonic()
                out = Sent(self.sample.id, stage, name, request, reserved, sent)
                if price != FREE and desk is None:
                    teachers.store.send(out)
                LEAVING.set(None)
                if role.pace is not None and counted is not None:
                    role.pace.leaves(counted)
                    LEAVING.set(partial(role.pace.leaves, counted))
                cost = None
                teachers.calls += 1
                try:
                    reply = await (call() if desk is None else desk.ask(out, asked))
                    answer = role.check(_answer_of(reply))
                except Unanswered as failure:
                    answer = _failed(failure)
                except (Janus4oError, asyncio.CancelledError):
                    raise
                except (
                    Exception
                ) as error:  # a teacher's own failures are data: counted, tried again
                    # Whether it was billed is unknown, unless the teacher is free.
                    usage = Usage(cost_usd=0.0 if price == FREE else None)
                    answer = _failed(Unanswered(f"{type(error).__name__}: {error}", usage))
                cost = answer.usage.cost_usd
                if role.pace is not None and counted is not None:
                    role.pace_after(counted, answer)
        finally:
            teachers.budget.settle(reserved, cost)
        return answer, sent, time.monotonic() - clock

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
    failure: Unanswered | None = None


def _failed(failure: Unanswered) -> _Answer:
    return _Answer("error", "", str(failure), None, failure.usage, failure)


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
