"""Processes that share one run: who is there, who has which sample, and what they may spend together.

A worker says every few seconds that it lives. One that has not for `LEASE_SECONDS` is buried by the
first that notices: its samples are free for others, and what its calls may still cost counts as spent.
A buried worker that wakes up again finds that out with its next step and ends; nothing it then does
counts, except that answers it got are kept. Times are the database's, so clocks need not agree.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    cast,
    delete,
    exists,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from janus4o.errors import Interrupted, Janus4oError
from janus4o.ledger.journal import ATTEMPTS, BATCHED, SENT

LEASE_SECONDS = 30.0
"""How long a worker may be silent before its samples are given to others."""
BEAT_SECONDS = 5.0
"""How often it says that it lives."""
NOW = cast(func.extract("epoch", func.clock_timestamp()), Float)
"""Unix time in seconds, by the database's clock."""

SHARED = MetaData()
WORKERS = Table(
    "workers",
    SHARED,
    Column("id", String, primary_key=True),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("began", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("reserved_usd", Float, nullable=False),
)
"""`began` is by the clock of the worker's machine, as are times of calls; `seen` is by the database's."""
LEASES = Table(
    "leases",
    SHARED,
    Column("sample", String, primary_key=True),
    Column("worker", String, nullable=False, index=True),
)
"""Who makes which sample."""
PURSE = Table(
    "purse",
    SHARED,
    Column("id", Integer, primary_key=True),
    Column("spent_usd", Float, nullable=False),
)
"""One row: what is spent, by all workers. Whoever changes money, joins or buries locks it first."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that works on a run.

    Attributes:
        pid: on its host.
        silent: seconds since it last said that it lives.
        leases: samples it has.
    """

    host: str
    pid: int
    silent: float
    leases: int

    @property
    def lives(self) -> bool:
        return self.silent < LEASE_SECONDS


class Workers:
    """This process among the workers of a run.

    Attributes:
        id: of this worker.
        alone: nobody else was there when it joined.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.id = uuid.uuid4().hex
        self.alone = False
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None

    def join(self, begin: Callable[[Connection], float]) -> None:
        """Takes part from now on.

        Args:
            begin: called where nobody else is there; returns what is spent so far, US dollars.
        """
        with self._engine.begin() as connection:
            connection.execute(insert(PURSE).values(id=1, spent_usd=0.0).on_conflict_do_nothing())
            self.bury(connection)
            self.alone = not connection.scalar(select(func.count()).select_from(WORKERS))
            if self.alone:
                connection.execute(update(PURSE).values(spent_usd=begin(connection)))
            connection.execute(
                insert(WORKERS).values(
                    id=self.id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    began=time.time(),
                    seen=NOW,
                    reserved_usd=0.0,
                )
            )
        self._beating = threading.Thread(target=self._beat, name="janus4o-beat", daemon=True)
        self._beating.start()

    def leave(self) -> None:
        """Gives back what it has."""
        if self._beating is None:
            return
        self._ended.set()
        self._beating.join()
        self._beating = None
        with self._engine.begin() as connection:
            self._lock_purse(connection)
            left = connection.scalar(
                delete(WORKERS).where(WORKERS.c.id == self.id).returning(WORKERS.c.reserved_usd)
            )
            connection.execute(delete(LEASES).where(LEASES.c.worker == self.id))
            connection.execute(update(PURSE).values(spent_usd=PURSE.c.spent_usd + (left or 0.0)))

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            # Where the database cannot be reached, the next step of the run says so.
            with contextlib.suppress(Janus4oError, OSError), self._engine.begin() as connection:
                connection.execute(update(WORKERS).where(WORKERS.c.id == self.id).values(seen=NOW))

    # samples

    def confirm(self, connection: Connection) -> None:
        """Makes sure that it is not buried, and will not be before this transaction has ended.

        Raises:
            Interrupted: it was.
        """
        alive = select(WORKERS.c.id).where(WORKERS.c.id == self.id)
        if connection.scalar(alive.with_for_update(read=True, key_share=True)) is None:
            raise _buried()

    def take(self, connection: Connection, sample: str) -> bool:
        """Takes a sample nobody has; False where somebody else has it."""
        self.confirm(connection)
        # A lease may be lost with the database's machine: `give` notices.
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        wanted = insert(LEASES).values(sample=sample, worker=self.id).on_conflict_do_nothing()
        return connection.scalar(wanted.returning(LEASES.c.sample)) is not None

    def give(self, connection: Connection, samples: Collection[str]) -> None:
        """Gives samples back that have ended; raises Interrupted where they are no longer its own."""
        self.confirm(connection)
        mine = (LEASES.c.worker == self.id) & LEASES.c.sample.in_(samples)
        if connection.execute(delete(LEASES).where(mine)).rowcount != len(samples):
            raise _buried()

    def bury_dead(self) -> None:
        """Frees what workers have that are gone."""
        with self._engine.connect() as connection:
            found = connection.scalar(select(exists().where(self._dead())))
        if found:
            with self._engine.begin() as connection:
                self.bury(connection)

    def bury(self, connection: Connection) -> None:
        """As `bury_dead`, in a transaction of somebody else; locks the purse."""
        self._lock_purse(connection)
        dead = connection.execute(delete(WORKERS).where(self._dead()).returning(WORKERS)).mappings()
        for worker in dead.all():
            out = _may_be_billed(connection, worker["id"], worker["began"])
            connection.execute(update(PURSE).values(spent_usd=PURSE.c.spent_usd + out))
            connection.execute(delete(LEASES).where(LEASES.c.worker == worker["id"]))

    def _dead(self) -> Any:
        return (WORKERS.c.seen < NOW - LEASE_SECONDS) & (WORKERS.c.id != self.id)

    # money

    @staticmethod
    def _lock_purse(connection: Connection) -> float:
        return float(connection.scalar(select(PURSE.c.spent_usd).with_for_update()) or 0.0)

    def money(self, connection: Connection) -> tuple[float, float]:
        """What is spent and what all workers have set aside, US dollars; nobody changes it meanwhile."""
        spent = self._lock_purse(connection)
        reserved = connection.scalar(select(func.coalesce(func.sum(WORKERS.c.reserved_usd), 0.0)))
        return spent, float(reserved or 0.0)

    def pay(self, connection: Connection, spent: float, reserved: float) -> bool:
        """Adds to what is spent and to what this worker has set aside; the purse is locked.

        Returns False, and changes nothing, where it is buried: then all it had out counts already.
        """
        mine = update(WORKERS).where(WORKERS.c.id == self.id)
        mine = mine.values(reserved_usd=WORKERS.c.reserved_usd + reserved)
        if not connection.execute(mine).rowcount:
            return False
        connection.execute(update(PURSE).values(spent_usd=PURSE.c.spent_usd + spent))
        return True


def _buried() -> Interrupted:
    return Interrupted(
        f"this worker was silent for more than {LEASE_SECONDS:g} seconds, so its samples were given "
        "to others",
        "run the same command again to join them",
    )


def _may_be_billed(connection: Connection, worker: str, began: float) -> float:
    """The most that calls of a dead worker can cost that were sent and brought no answer."""
    s, a, b = SENT.c, ATTEMPTS.c, BATCHED.c
    heard = exists().where((a.sample == s.sample) & (a.stage == s.stage) & (a.started == s.started))
    batched = exists().where(
        (b.sample == s.sample) & (b.stage == s.stage) & (b.started == s.started)
    )
    query = (
        select(func.coalesce(func.sum(s.reserved_usd), 0.0))
        .join(LEASES, LEASES.c.sample == s.sample)
        .where(LEASES.c.worker == worker, ~heard, (s.started >= literal(began)) | batched)
    )
    return float(connection.scalar(query) or 0.0)


def workers(connection: Connection) -> list[Worker]:
    """Those that live and those not yet noticed to be dead, the oldest first."""
    w = WORKERS.c
    leases = select(func.count()).where(LEASES.c.worker == w.id).scalar_subquery()
    query = select(w.host, w.pid, NOW - w.seen, leases).order_by(w.began, w.id)
    return [Worker(*row) for row in connection.execute(query)]
