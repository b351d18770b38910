"""Calls to a judge or a painter for an evaluation: the same ledger, limits, budget and patience as
synthesis has.

A ledger is a folder. Its journal has a line for every call, and every answer under a hash of all that
was sent: a run that is stopped goes on where it was, a second run asks only what has no answer, and
a run that was killed still knows what it may have been billed for.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from janus4o.errors import BudgetStop, ImageError, Interrupted, Janus4oError, Refused
from janus4o.exchange import (
    Painter,
    PaintReply,
    PaintRequest,
    Refusal,
    Unanswered,
    Usage,
    Writer,
    WriteReply,
    WriteRequest,
)
from janus4o.files import lock
from janus4o.ledger import journal
from janus4o.ledger.budget import Budget
from janus4o.ledger.database import open_database
from janus4o.ledger.journal import Attempt, Sent, Spend, Status
from janus4o.ledger.limits import Call, Pace
from janus4o.ledger.patience import Patience
from janus4o.ledger.prices import FREE, Priced, price_of
from janus4o.recipe import Limits

FIRST_PAUSE = 0.5
"""Seconds before the second try; doubles with each."""
GONE_SECONDS = 3.0
"""How long calls in flight are waited for once a teacher cannot be asked any more."""
MAX_FAILED = 10
"""Questions in a row without an answer after which the run is stopped."""
LEDGER_FILE = "ledger.sqlite"
AGAIN = "run the same command again to go on"

Reply = WriteReply | PaintReply | Refusal


@dataclass(frozen=True, slots=True)
class Manner:
    """How a teacher may be asked.

    Attributes:
        concurrency: calls in flight.
        budget_usd: of all runs with this ledger together; None means no limit.
    """

    concurrency: int = 4
    budget_usd: float | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Job:
    """One call wanted.

    Attributes:
        id: names it in what is listed.
        keep: puts a picture that came back on disk and says where; for painters only.
    """

    id: str
    request: WriteRequest | PaintRequest
    keep: Callable[[PaintReply], str] | None = None

    def key(self, teacher: str) -> str:
        """Hash of everything that is sent and of who is asked."""
        asked = self.request
        pictures = asked.pictures if isinstance(asked, WriteRequest) else asked.sources
        hashes = [hashlib.sha256(one.data).hexdigest() for one in pictures]
        size = asked.size if isinstance(asked, PaintRequest) else None
        parts = [teacher, asked.prompt, hashes, asked.seed, size]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


Ended = Callable[[Job, Attempt | str], None]
"""Told of every job: its answer (which may be a refusal), or why there is none."""


class Ledger:
    """What was asked and answered, on disk before it is used. One process at a time holds it."""

    def __init__(self, folder: Path) -> None:
        self._engine = open_database(folder / LEDGER_FILE)
        journal.METADATA.create_all(self._engine)
        with self._engine.connect() as connection:
            # An error is no answer: it is asked again.
            self.answered = {
                a.request: a for a in journal.attempts(connection) if a.status != "error"
            }

    def close(self) -> None:
        self._engine.dispose()

    def send(self, call: Sent) -> None:
        """A call is about to be made that may cost money."""
        with self._engine.begin() as connection:
            journal.append_sent(connection, call)

    def record(self, attempt: Attempt) -> None:
        with self._engine.begin() as connection:
            journal.append(connection, [attempt])
        if attempt.status != "error":
            self.answered[attempt.request] = attempt

    def spend(self) -> Spend:
        """Of all runs with this ledger."""
        with self._engine.connect() as connection:
            return journal.spend(connection)


def call_all(
    teacher: Writer | Painter, jobs: Iterator[Job], folder: Path, manner: Manner, ended: Ended
) -> Spend:
    """Makes every call that has no answer in the ledger yet, as many at once as allowed.

    Args:
        jobs: taken one after the other as calls become free, so that no more pictures are in memory
            than are in flight.
        folder: the ledger's.

    Returns:
        What all runs with this ledger have spent.

    Raises:
        BudgetStop: the budget, the account or the server's patience is used up.
        Refused: no call can succeed now (a wrong key, a model that is gone, another model than
            before), or `MAX_FAILED` in a row got no answer.
        FolderBusy: another process holds the ledger.
    """
    with lock(folder):
        ledger = Ledger(folder)
        try:
            asyncio.run(_Calls(teacher, ledger, manner, ended).make(jobs))
            return ledger.spend()
        finally:
            ledger.close()


class _Calls:
    """One run's calls."""

    def __init__(
        self, teacher: Writer | Painter, ledger: Ledger, manner: Manner, ended: Ended
    ) -> None:
        self._teacher, self._ledger, self._ended = teacher, ledger, ended
        self._priced = teacher if isinstance(teacher, Priced) else None
        self._concurrency = manner.concurrency
        spend = ledger.spend()
        # What may have been billed counts, or the limit would not be a hard one.
        self._budget = Budget(manner.budget_usd, spend.cost_usd + spend.uncertain_usd)
        self._pace = (
            Pace(manner.limits, manner.concurrency, sleep=self._wait) if self._priced else None
        )
        answers = [a for a in ledger.answered.values() if a.stage == teacher.name]
        models = [a.model for a in answers if a.status == "ok" and a.model]
        self._served = models[-1] if models else None
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self._stop: Janus4oError | None = None
        self._gone = False
        self._failed = 0

    async def make(self, jobs: Iterator[Job]) -> None:
        self._stopping = asyncio.Event()
        workers = {asyncio.create_task(self._work(jobs)) for _ in range(self._concurrency)}
        try:
            while workers:
                ended, workers = await asyncio.wait(
                    workers,
                    timeout=GONE_SECONDS if self._gone else None,
                    return_when=asyncio.ALL_COMPLETED if self._gone else asyncio.FIRST_COMPLETED,
                )
                for worker in ended:
                    worker.result()
                if self._gone and not ended:
                    break  # what has not ended by now is cancelled, and listed as maybe billed
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            if self._priced is not None:
                await self._priced.close()
        if self._stop is not None:
            raise self._stop

    async def _work(self, jobs: Iterator[Job]) -> None:
        while self._stop is None and (job := next(jobs, None)) is not None:
            key = job.key(self._teacher.name)
            try:
                if (twin := self._under_way.get(key)) is not None:
                    await asyncio.wait([twin])  # equal questions are asked once
                    if job.keep is None and key not in self._ledger.answered:
                        self._ended(job, "its like got no answer")
                        continue
                end: Attempt | str | None = self._ledger.answered.get(key)
                # A picture that came once and is wanted again is gone from its folder.
                if end is None or (isinstance(end, Attempt) and end.status == "ok" and job.keep):
                    end = await self._ask(job, key)
            except Janus4oError as stop:
                self._stop = self._stop or stop
                self._stopping.set()
                return
            self._ended(job, end)

    async def _ask(self, job: Job, key: str) -> Attempt | str:
        """The answer, or why none came after all patience."""
        self._under_way[key] = done = asyncio.get_running_loop().create_future()
        try:
            patience = Patience(FIRST_PAUSE)
            while True:
                attempt, failure = await self._call(job, key)
                if failure is None:
                    break
                if failure.stop is not None:
                    self._gone = True
                    raise failure.stop
                pause = patience.after(failure)
                if pause is None:
                    self._count_failure(failure)
                    return f"no answer: {failure}"
                await self._wait(pause)
        finally:
            del self._under_way[key]
            done.set_result(None)
        self._failed = 0
        if self._budget.limit_usd is not None and attempt.usage.cost_usd is None:
            raise BudgetStop(
                f"{self._teacher.name} answered without a price, so the budget cannot be kept",
                "remove the budget or use a model whose price is known",
            )
        return attempt

    async def _call(self, job: Job, key: str) -> tuple[Attempt, Unanswered | None]:
        """One call, written down before it is sent and when it has ended."""
        teacher, request = self._teacher, job.request
        price = self._priced.price(request) if self._priced else price_of(teacher.name)
        reserved = await self._budget.reserve_when_free(teacher.name, price)
        cost: float | None = 0.0
        turn: AbstractAsyncContextManager[Call | None] = contextlib.nullcontext()
        if self._pace is not None and self._priced is not None:
            turn = self._pace.turn(
                images=isinstance(request, PaintRequest), tokens=self._priced.tokens(request)
            )
        try:
            async with turn as counted:
                sent, clock = time.time(), time.monotonic()
                if price != FREE:
                    call = Sent(job.id, teacher.name, teacher.name, key, reserved, sent)
                    self._ledger.send(call)
                cost = None
                reply, failure = await self._send(request)
                usage = failure.usage if failure is not None else reply.usage  # type: ignore[union-attr]
                cost = usage.cost_usd
                if self._pace is not None and counted is not None:
                    self._pace_after(counted, usage, failure)
        finally:
            self._budget.settle(reserved, cost)
        seconds = time.monotonic() - clock
        attempt = _attempt(job, teacher.name, key, reply, failure, usage, sent, seconds)
        self._ledger.record(attempt)
        return attempt, failure

    async def _send(
        self, request: WriteRequest | PaintRequest
    ) -> tuple[Reply | None, Unanswered | None]:
        reply: Reply
        try:
            if isinstance(request, WriteRequest):
                reply = await self._teacher.write(request)  # type: ignore[union-attr]
            else:
                reply = await self._teacher.paint(request)  # type: ignore[union-attr]
            self._check(reply)
        except Unanswered as failure:
            return None, failure
        except Janus4oError as stop:  # says that nobody can be asked
            return None, Unanswered(stop.message, Usage(cost_usd=0.0), stop=stop)
        except Exception as error:  # a teacher's own failures are data: listed, tried again
            free = self._priced is None
            words = f"{type(error).__name__}: {error}"
            return None, Unanswered(words, Usage(cost_usd=0.0 if free else None))
        return reply, None

    def _check(self, reply: Reply) -> None:
        """Answers must keep coming from one model, this run and the next."""
        if self._priced is None or isinstance(reply, Refusal) or not reply.model:
            return
        if self._served is None and self._priced.serves(reply.model):
            self._served = reply.model
        elif self._served != reply.model:
            name, before = self._teacher.name, self._served
            stop = Refused(
                f"what is asked for as {name!r} answers as {reply.model!r}"
                + (f", not as {before!r} as before" if before else ""),
                "answers of two models make no score: give another ledger folder; or name it as "
                "`served` if it is the same model",
            )
            raise Unanswered(f"drift: {stop.message}", reply.usage, stop=stop)

    def _pace_after(self, call: Call, usage: Usage, failure: Unanswered | None) -> None:
        assert self._pace is not None
        used = usage.input_tokens + usage.output_tokens
        if failure is None or used:
            self._pace.correct(call, used or call.tokens)
        elif failure.limited or failure.retry_after:
            self._pace.pause(call, failure.retry_after)

    def _count_failure(self, failure: Unanswered) -> None:
        self._failed += 1
        if self._failed >= MAX_FAILED:
            raise Refused(
                f"{MAX_FAILED} questions in a row got no answer; the last: {failure}",
                f"see to the server, then {AGAIN}",
            )

    async def _wait(self, seconds: float) -> None:
        """Sleeps; raises Interrupted as soon as the run is to end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        if self._stopping.is_set():
            raise Interrupted("stopped while waiting for a server", AGAIN)


def _attempt(
    job: Job,
    teacher: str,
    key: str,
    reply: Reply | None,
    failure: Unanswered | None,
    usage: Usage,
    sent: float,
    seconds: float,
) -> Attempt:
    """The journal's line; a picture is on disk before there is one."""
    status: Status
    text, blob, model = None, None, reply.model if reply is not None else ""
    match reply:
        case WriteReply():
            status, text = "ok", reply.text
        case PaintReply():
            assert job.keep is not None
            try:
                status, blob = "ok", job.keep(reply)
            except ImageError as error:  # its head was a picture's, the rest is not
                status, text = "refused", f"no_picture: {error.message}"
        case Refusal():
            status, text = "refused", f"{reply.category}: {reply.message}"
        case None:
            status, text = "error", str(failure)
    if text is not None:  # a server may say anything, and the journal must be able to keep it
        text = text.encode("utf-8", "backslashreplace").decode()
    return Attempt(job.id, teacher, key, status, model, text, blob, usage, sent, seconds)
