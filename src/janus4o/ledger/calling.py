"""Calls to a teacher: the one loop that sends, for synthesis and for evaluation.

A call sets its price aside, waits for its turn, is written down, sent, and written down again with what
came of it. Where nothing came it is made again as long as there is patience.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

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
from janus4o.ledger.budget import Budget
from janus4o.ledger.journal import Attempt, Sent, Status
from janus4o.ledger.limits import LEAVING, Call, Pace
from janus4o.ledger.patience import Patience
from janus4o.ledger.prices import FREE, Price, Priced, price_of

FIRST_PAUSE = 0.5
"""Seconds before the second try; doubles with each."""
GONE_SECONDS = 3.0
"""How long calls in flight are waited for once a teacher cannot be asked any more."""
MAX_FAILED = 10
"""Samples or questions in a row without an answer after which a run is stopped."""
AGAIN = "run the same command again to go on"

Asked = WriteRequest | PaintRequest
Reply = WriteReply | PaintReply | Refusal


class Book(Protocol):
    """Where calls are written down."""

    def send(self, call: Sent) -> None:
        """A call is about to be made that may cost money; on disk when this returns."""

    def record(self, attempt: Attempt) -> None:
        """A call has ended."""


class Counter(Protocol):
    """Asks by the batch what it takes."""

    def takes(self, request: str, asked: Asked) -> bool: ...

    def out(self, request: str) -> Sent | None: ...

    async def ask(self, call: Sent, asked: Asked) -> Reply: ...


class Stopping:
    """Whether a run is to end: nobody then waits for a turn or a pause any longer."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Sleeps; raises Interrupted as soon as the run is to end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        if self._event.is_set():
            raise Interrupted("stopped while waiting for a server", AGAIN)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        sample, stage, request: under which it is written down; see `Attempt`.
        keep: puts a picture that came on disk and says where; for painters only.
        unfit: why a text that came is no answer, None where it is one.
    """

    sample: str
    stage: str
    request: str
    asked: Asked
    keep: Callable[[PaintReply], str] | None = None
    unfit: Callable[[str], str | None] = lambda text: None


class Served:
    """The model a teacher's server answers as, which must stay the same, this run and the next.

    Args:
        who: is asked, in words.
        model: known from earlier runs.
        note: keeps the model when it becomes known, and returns the one that is kept: another
            process may have been faster.
        remedy: of another model's answer.
    """

    def __init__(
        self, who: str, remedy: str, model: str | None, note: Callable[[str], str]
    ) -> None:
        self._who, self._remedy, self._model, self._note = who, remedy, model, note

    def check(self, teacher: Priced, reply: Reply) -> None:
        """Raises Unanswered with a stop for an answer of another model."""
        if isinstance(reply, Refusal) or not reply.model or reply.model == self._model:
            return
        if self._model is None and teacher.serves(reply.model):
            self._model = self._note(reply.model)
            if self._model == reply.model:
                return
        stop = Refused(
            f"{self._who} asked for as {teacher.name!r} answers as {reply.model!r}"
            + (f", not as {self._model!r} as before" if self._model else ""),
            self._remedy,
        )
        raise Unanswered(f"drift: {stop.message}", reply.usage, stop=stop)


class Caller:
    """Asks one teacher.

    Args:
        pace: how often its server may be asked.
        counter: asks by the batch what it takes.

    Attributes:
        calls: made.
        gone: it cannot be asked any more; calls in flight are not worth waiting for.
    """

    def __init__(
        self,
        teacher: Writer | Painter,
        book: Book,
        budget: Budget,
        stopping: Stopping,
        served: Served,
        pace: Pace | None = None,
        counter: Counter | None = None,
    ) -> None:
        self._teacher, self._book, self._budget = teacher, book, budget
        # What is here cannot change its price or its model under the same name.
        self._priced = teacher if isinstance(teacher, Priced) else None
        self._stopping, self._served, self._pace = stopping, served, pace
        self._counter = counter
        self.calls = 0
        self.gone = False

    async def ask(self, question: Question) -> tuple[Attempt, Picture | None]:
        """The answer, which may be a refusal, and its picture.

        Raises:
            Unanswered: none came after all patience.
            BudgetStop, Refused, Interrupted: nobody can or shall be asked now.
        """
        patience = Patience(FIRST_PAUSE)
        while True:
            attempt, picture, failure = await self._call(question)
            if failure is None:
                break
            if failure.stop is not None:
                self.gone = True
                raise failure.stop
            pause = None if failure.final else patience.after(failure)
            if pause is None:
                raise failure
            await self._stopping.wait(pause)
        if self._budget.limit_usd is not None and attempt.usage.cost_usd is None:
            raise BudgetStop(
                f"{self._teacher.name} answered without a price, so the budget cannot be kept",
                "remove the budget or use a model whose price is known",
            )
        return attempt, picture

    async def _call(self, question: Question) -> tuple[Attempt, Picture | None, Unanswered | None]:
        """One call, written down before it is sent and when it has ended."""
        name, asked, priced = self._teacher.name, question.asked, self._priced
        price = priced.price(asked) if priced else price_of(name)
        counter = self._counter
        if counter is not None and not counter.takes(question.request, asked):
            counter = None
        earlier = counter.out(question.request) if counter is not None else None
        if earlier is not None and self._budget.limit_usd is not None:
            reserved = self._budget.resume(earlier.reserved_usd)
        else:
            reserved = await self._budget.reserve_when_free(name, price, self._stopping.wait)
        cost: float | None = 0.0
        turn: AbstractAsyncContextManager[Call | None] = contextlib.nullcontext()
        if self._pace is not None and counter is None:
            turn = self._pace.turn(
                images=isinstance(asked, PaintRequest), tokens=priced.tokens(asked) if priced else 0
            )
        reply: Reply | None = None
        failure: Unanswered | None = None
        try:
            async with turn as counted:
                sent, clock = time.time() if earlier is None else earlier.started, time.monotonic()
                out = Sent(question.sample, question.stage, name, question.request, reserved, sent)
                if price != FREE and counter is None:
                    self._book.send(out)
                LEAVING.set(None)
                if self._pace is not None and counted is not None:
                    self._pace.leaves(counted)
                    LEAVING.set(partial(self._pace.leaves, counted))
                cost = None
                self.calls += 1
                try:
                    reply = await self._send(out, asked, counter, price)
                    usage = reply.usage
                except Unanswered as error:
                    failure, usage = error, error.usage
                cost = usage.cost_usd
                if self._pace is not None and counted is not None:
                    _pace_after(self._pace, counted, usage, failure)
        finally:
            self._budget.settle(reserved, cost)
        attempt = _attempt(question, reply, failure, usage, sent, time.monotonic() - clock)
        self._book.record(attempt)
        picture = reply.picture if isinstance(reply, PaintReply) else None
        return attempt, picture, failure

    async def _send(
        self, out: Sent, asked: Asked, counter: Counter | None, price: Price | None
    ) -> Reply:
        reply: Reply
        try:
            if counter is not None:
                reply = await counter.ask(out, asked)
            elif isinstance(asked, WriteRequest):
                reply = await self._teacher.write(asked)  # type: ignore[union-attr]
            else:
                reply = await self._teacher.paint(asked)  # type: ignore[union-attr]
            if self._priced is not None:
                self._served.check(self._priced, reply)
        except (Unanswered, Janus4oError, asyncio.CancelledError):
            raise
        except Exception as error:  # a teacher's own failures are data: counted, tried again
            # Whether it was billed is unknown, unless the teacher is free.
            usage = Usage(cost_usd=0.0 if price == FREE else None)
            raise Unanswered(f"{type(error).__name__}: {error}", usage) from error
        return reply


def _pace_after(pace: Pace, call: Call, usage: Usage, failure: Unanswered | None) -> None:
    """What an answer says about how often its server may be asked."""
    used = usage.input_tokens + usage.output_tokens
    if failure is None or used:
        pace.correct(call, used or call.tokens)
    elif failure.limited or failure.retry_after:
        pace.pause(call, failure.retry_after)


def _attempt(
    question: Question,
    reply: Reply | None,
    failure: Unanswered | None,
    usage: Usage,
    started: float,
    seconds: float,
) -> Attempt:
    """The journal's line; a picture is on disk before there is one."""
    status: Status = "ok"
    text: str | None = None
    blob: str | None = None
    match reply:
        case WriteReply():
            text = reply.text
            if unfit := question.unfit(text):
                status, text = "refused", unfit
        case PaintReply():
            assert question.keep is not None
            try:
                blob = question.keep(reply)
            except ImageError as error:  # its head was a picture's, the rest is not
                status, text = "refused", f"no_picture: {error.message}"
        case Refusal():
            status, text = "refused", f"{reply.category}: {reply.message}"
        case None:
            status, text = "error", str(failure)
    if text is not None:  # a server may say anything, and the journal must be able to keep it
        text = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return Attempt(
        question.sample, question.stage, question.request, status,
        reply.model if reply is not None else "", text, blob, usage, started, seconds,
    )  # fmt: skip
