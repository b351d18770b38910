"""One budget and one server's limits for all workers of a run: kept in their database."""

from __future__ import annotations

import asyncio
import contextlib

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    String,
    Table,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from janus4o.errors import Janus4oError
from janus4o.ledger.budget import Budget, Sleep
from janus4o.ledger.limits import MARGIN, WINDOW, Call, Pace
from janus4o.ledger.prices import Price
from janus4o.ledger.workers import NOW, SHARED, Workers
from janus4o.recipe import Limits

LOOK_SECONDS = 1.0
"""How often is looked whether other workers' calls turned out cheaper, or have left the window."""

GATES = Table(
    "gates",
    SHARED,
    Column("role", String, primary_key=True),
    Column("not_before", Float, nullable=False),
)
"""When a server may be asked again. Whoever lets a call through locks the row of its role first."""
TURNS = Table(
    "turns",
    SHARED,
    Column("number", Integer, primary_key=True),
    Column("role", String, nullable=False, index=True),
    Column("sent", Float, nullable=False),
    Column("images", Integer, nullable=False),
    Column("tokens", Integer, nullable=False),
)
"""Calls of the last minute, of all workers."""


class Purse(Budget):
    """A budget that all workers of a run keep together."""

    def __init__(self, limit_usd: float | None, workers: Workers, engine: Engine) -> None:
        super().__init__(limit_usd)
        self._workers, self._engine = workers, engine
        self._owed = (0.0, 0.0)
        self._read()

    def _read(self) -> None:
        with self._engine.begin() as connection:
            self.spent_usd, self._reserved_usd = self._workers.money(connection)

    async def _wait_for_money(self, sleep: Sleep) -> None:
        with contextlib.suppress(TimeoutError):  # other workers' calls do not wake us
            await asyncio.wait_for(self._settled.wait(), LOOK_SECONDS)
        await sleep(0)  # theirs may take hours: whoever is to end does not wait for them
        self._workers.bury_dead()  # or what they set aside would be waited for for ever

    def reserve(self, teacher: str, price: Price | None) -> float:
        if self.limit_usd is None or price is None or not price.call_usd:
            return super().reserve(teacher, price)
        self._pay()
        with self._engine.begin() as connection:
            self.spent_usd, self._reserved_usd = self._workers.money(connection)
            reserved = super().reserve(teacher, price)
            if not self._workers.pay(connection, 0.0, reserved):
                self._workers.confirm(connection)
        return reserved

    def resume(self, reserved_usd: float) -> float:
        self._move(-reserved_usd, reserved_usd)
        return reserved_usd

    def settle(self, reserved: float, cost_usd: float | None) -> None:
        spent = reserved if cost_usd is None else cost_usd
        self._owed = (self._owed[0] + spent, self._owed[1] - reserved)
        # The answer must be kept first: where the database cannot be reached, the next step says so.
        with contextlib.suppress(Janus4oError, OSError):
            self._pay()
        self._settled.set()

    def _pay(self) -> None:
        if any(self._owed):
            self._move(*self._owed)
            self._owed = (0.0, 0.0)

    def _move(self, spent: float, reserved: float) -> None:
        with self._engine.begin() as connection:
            self.spent_usd, self._reserved_usd = self._workers.money(connection)
            if self._workers.pay(connection, spent, reserved):
                self.spent_usd += spent
                self._reserved_usd += reserved


class SharedPace(Pace):
    """Lets the calls of all workers to one server through as fast as it allows them together.

    Calls in flight are limited for each worker by itself.

    Args:
        role: the server's, "writer" or "painter".
    """

    def __init__(
        self,
        limits: Limits,
        at_once: int,
        role: str,
        engine: Engine,
        *,
        window: float | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        super().__init__(limits, at_once, window=window, sleep=sleep)
        self._seconds = (WINDOW if window is None else window) + MARGIN
        self._role, self._engine = role, engine
        with engine.begin() as connection:
            row = insert(GATES).values(role=role, not_before=0.0)
            connection.execute(row.on_conflict_do_nothing())

    def _let_through(self, call: Call) -> float:
        limits, t = self._limits, TURNS.c
        with self._engine.begin() as connection:
            wait = self._gate(connection)
            if wait > 0:
                return min(wait, LOOK_SECONDS)
            gone = (t.role == self._role) & (t.sent <= NOW - self._seconds)
            connection.execute(delete(TURNS).where(gone))
            inside = connection.execute(
                select(
                    func.count(),
                    func.coalesce(func.sum(t.images), 0),
                    func.coalesce(func.sum(t.tokens), 0),
                    func.coalesce(func.min(t.sent) + self._seconds - NOW, 0.0),
                ).where(t.role == self._role)
            ).one()
            count, images, tokens, oldest = inside
            fits = not count or (
                (limits.requests is None or count < limits.requests)
                and (limits.images is None or images + call.images <= limits.images)
                and (limits.tokens is None or tokens + call.tokens <= limits.tokens)
            )
            if not fits:
                return min(max(float(oldest), 0.01), LOOK_SECONDS)
            row = insert(TURNS).values(
                role=self._role, sent=NOW, images=call.images, tokens=call.tokens
            )
            call.number = connection.scalar(row.returning(t.number)) or 0
        call.sent = self._clock()
        return 0.0

    def _gate(self, connection: Connection) -> float:
        """Locks the gate; seconds for which it stays shut."""
        g = GATES.c
        query = select(g.not_before - NOW).where(g.role == self._role)
        return float(connection.scalar(query.with_for_update()) or 0.0)

    def leaves(self, call: Call) -> None:
        call.sent = self._clock()
        with self._engine.begin() as connection:
            same = {"role": self._role, "images": call.images, "tokens": call.tokens}
            row = insert(TURNS).values(number=call.number, sent=NOW, **same)
            # It may have waited so long that it no longer counted.
            row = row.on_conflict_do_update(index_elements=["number"], set_={"sent": NOW})
            connection.execute(row)

    def correct(self, call: Call, tokens: int) -> None:
        if tokens != call.tokens:
            with contextlib.suppress(Janus4oError, OSError), self._engine.begin() as connection:
                mine = update(TURNS).where(TURNS.c.number == call.number)
                connection.execute(mine.values(tokens=tokens))
        super().correct(call, tokens)

    def pause(self, call: Call, seconds: float | None) -> None:
        super().pause(call, seconds)
        if seconds:
            with contextlib.suppress(Janus4oError, OSError), self._engine.begin() as connection:
                gate = update(GATES).where(GATES.c.role == self._role)
                until = func.greatest(GATES.c.not_before, NOW + seconds)
                connection.execute(gate.values(not_before=until))
