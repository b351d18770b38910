"""Calls that belong to no sample: to a judge of a data set, and to a judge or painter of an evaluation.
They have the same journal, limits, budget and patience as synthesis has.

A ledger is a folder. Its journal has a line for every call, and every answer under a hash of all that
was sent: a run that is stopped goes on where it was, a second run asks only what has no answer, and
a run that was killed still knows what it may have been billed for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from janus4o.errors import Janus4oError, Refused
from janus4o.exchange import (
    Painter,
    PaintReply,
    PaintRequest,
    Unanswered,
    Writer,
    WriteRequest,
)
from janus4o.files import lock
from janus4o.ledger import journal
from janus4o.ledger.budget import Budget
from janus4o.ledger.calling import (
    AGAIN,
    GONE_SECONDS,
    MAX_FAILED,
    Caller,
    Question,
    Served,
    Stopping,
)
from janus4o.ledger.database import open_database
from janus4o.ledger.journal import Attempt, Sent, Spend
from janus4o.ledger.limits import Pace
from janus4o.ledger.prices import Priced
from janus4o.recipe import Limits

LEDGER_FILE = "ledger.sqlite"


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
        self._stopping = Stopping()
        spend = ledger.spend()
        answers = [a for a in ledger.answered.values() if a.stage == teacher.name]
        models = [a.model for a in answers if a.status == "ok" and a.model]
        remedy = (
            "answers of two models make no score: give another ledger folder; or name it as "
            "`served` if it is the same model"
        )
        pace = Pace(manner.limits, manner.concurrency, sleep=self._stopping.wait)
        self._caller = Caller(
            teacher,
            ledger,
            # What may have been billed counts, or the limit would not be a hard one.
            Budget(manner.budget_usd, spend.cost_usd + spend.uncertain_usd),
            self._stopping,
            Served("the model", remedy, models[-1] if models else None, lambda model: model),
            pace if self._priced else None,
        )
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self._stop: Janus4oError | None = None
        self._failed = 0

    async def make(self, jobs: Iterator[Job]) -> None:
        workers = {asyncio.create_task(self._work(jobs)) for _ in range(self._concurrency)}
        try:
            while workers:
                gone = self._caller.gone
                ended, workers = await asyncio.wait(
                    workers,
                    timeout=GONE_SECONDS if gone else None,
                    return_when=asyncio.ALL_COMPLETED if gone else asyncio.FIRST_COMPLETED,
                )
                for worker in ended:
                    worker.result()
                if gone:
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
                end = await self._end(job, key)
            except Janus4oError as stop:
                self._stop = self._stop or stop
                self._stopping.set()
                return
            if end is not None:
                self._ended(job, end)

    async def _end(self, job: Job, key: str) -> Attempt | str | None:
        """The answer, or why there is none; None where the run is stopped before it was asked for.

        Equal questions are asked once, equal pictures one after the other: each has its own place.
        """
        while (twin := self._under_way.get(key)) is not None:  # of many that wait, one goes on
            await asyncio.wait([twin])
            if self._stop is not None:
                return None
            if job.keep is None and key not in self._ledger.answered:
                return "its like got no answer"
        known = self._ledger.answered.get(key)
        # A picture that came once and is wanted again is gone from its folder.
        if known is None or (known.status == "ok" and job.keep):
            return await self._ask(job, key)
        return known

    async def _ask(self, job: Job, key: str) -> Attempt | str:
        """The answer, or why none came after all patience."""
        name = self._teacher.name
        self._under_way[key] = done = asyncio.get_running_loop().create_future()
        try:
            question = Question(job.id, name, key, job.request, job.keep)
            attempt, _ = await self._caller.ask(question)
        except Unanswered as failure:
            self._failed += 1
            if self._failed >= MAX_FAILED:
                raise Refused(
                    f"{MAX_FAILED} questions in a row got no answer; the last: {failure}",
                    f"see to the server, then {AGAIN}",
                ) from None
            return f"no answer: {failure}"
        finally:
            del self._under_way[key]
            done.set_result(None)
        self._failed = 0
        return attempt
