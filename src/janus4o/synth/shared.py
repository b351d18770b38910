"""The store of a run that several workers share: PostgreSQL, and leases on samples.

Every worker goes through the numbers in the same order, makes what nobody has, and looks now and then what
became of the samples of others. Whether a sample is accepted follows from how those before it ended, so all
workers come to the same decisions, each by itself; how a sample ended is written once, by the
one who had it, in the transaction that gives it back.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    Table,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql

from janus4o.errors import FolderBusy, Refused
from janus4o.ledger import batches, journal
from janus4o.ledger.batches import Batch
from janus4o.ledger.budget import Budget, Sleep
from janus4o.ledger.journal import METADATA, Sent
from janus4o.ledger.limits import Pace
from janus4o.ledger.postgres import (
    PLACE_NAME,
    Place,
    check_version,
    holding,
    keep_place,
    new_schema,
    open_postgres,
    read_place,
)
from janus4o.ledger.purse import Purse, SharedPace
from janus4o.ledger.workers import LEASES, SHARED, Worker, Workers, workers
from janus4o.recipe import Limits
from janus4o.synth.sample import Pipeline, Sample, Standing, State
from janus4o.synth.store import (
    SAMPLES,
    STORE_NAME,
    News,
    Store,
    Taken,
    to_row,
    to_standing,
)

LAYOUT = 1
"""Version of the tables."""
BEGUN = (State.PLANNED, State.LEASED, State.WRITTEN, State.PAINTED)
"""States of a sample that has not ended."""


def has_store(folder: Path) -> bool:
    """Has synthesis ever worked in this folder?"""
    return (folder / STORE_NAME).is_file() or (folder / PLACE_NAME).is_file()


def is_shared(folder: Path, url: str | None) -> bool:
    """Whether several workers may be in this folder at once."""
    return url is not None or (folder / PLACE_NAME).is_file()


def open_store(folder: Path, url: str | None = None) -> Store:
    """The store of a run folder, made if there is none.

    Args:
        url: of a PostgreSQL database; None takes the one that the folder names, or a file in the folder.

    Raises:
        Refused: the database cannot be used, or the folder has a store of the other kind.
        DataError: the store is damaged.
    """
    place = read_place(folder)
    if place is None and url is None:
        return Store(folder)
    if place is None and (folder / STORE_NAME).is_file():
        raise Refused(
            f"the samples of {str(folder)!r} are in its {STORE_NAME}, not in a database",
            "leave `store` out, or take another folder",
        )
    if place is None:
        assert url is not None
        folder.mkdir(parents=True, exist_ok=True)
        place = _make(folder, url)
    # Machines may reach the same database under different names.
    return SharedStore(folder, place, url)


def _make(folder: Path, url: str) -> Place:
    """Makes the tables of a new run; where several workers do, one's are kept."""
    place = Place(url, f"janus4o_{uuid.uuid4().hex[:16]}", LAYOUT)
    engine = open_postgres(url, place.schema)
    try:
        check_version(engine, LAYOUT, LAYOUT)
        new_schema(engine, place.schema)
        for tables in (METADATA, SHARED):
            tables.create_all(engine)
        kept = keep_place(folder, place)
        if kept != place:
            with engine.begin() as connection:
                connection.execute(text(f"DROP SCHEMA {place.schema} CASCADE"))
    finally:
        engine.dispose()
    return kept


class SharedStore(Store):
    """The samples and attempts of one run in PostgreSQL, its pictures in a folder all workers share."""

    is_shared = True
    _insert: Callable[[Table], Any] = staticmethod(postgresql.insert)

    def __init__(self, folder: Path, place: Place, url: str | None) -> None:
        self.place, self._url = place, url
        super().__init__(folder)
        self._me = Workers(self._engine)

    def _open(self) -> Engine:
        engine = open_postgres(
            self._url or self.place.url, self.place.schema, chosen=self._url is not None
        )
        try:
            check_version(engine, self.place.layout, LAYOUT)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def close(self) -> None:
        try:
            self._me.leave()
        finally:
            super().close()

    def check(self) -> None:
        """Looks whether the tables are there, and whether somebody works with them.

        Raises:
            FolderBusy: a worker does.
        """
        for worker in self.workers():
            if worker.lives:
                raise FolderBusy(
                    f"{str(self.folder)!r} is in use by worker {worker.pid} on {worker.host}",
                    "wait for it to end, or stop it",
                )

    def copy(self, folder: Path) -> None:
        self.flush()
        place = _make(folder, self._url or self.place.url)
        with self._engine.begin() as connection:
            for table in METADATA.sorted_tables:
                columns = [column.name for column in table.columns]
                copied = table.to_metadata(MetaData(), schema=place.schema)
                connection.execute(insert(copied).from_select(columns, select(table)))
            for table in (journal.ATTEMPTS, journal.SENT):
                last = func.coalesce(select(func.max(table.c.number)).scalar_subquery(), 0)
                own = f"{place.schema}.{table.name}"
                serial = func.pg_get_serial_sequence(own, "number")
                connection.execute(select(func.setval(serial, last + 1, False)))

    # the workers of a run

    def join(self) -> None:
        def begin(connection: Connection) -> float:
            # Only now: while others are there, a sample that failed is one that came to nothing.
            failed = update(SAMPLES).where(SAMPLES.c.state == State.FAILED.value)
            connection.execute(failed.values(state=State.PLANNED.value, reason="", row=None))
            spend = journal.spend(connection)
            return spend.cost_usd + spend.uncertain_usd + spend.waiting_usd

        self._me.join(begin)

    def alone(self, what: str) -> AbstractContextManager[None]:
        return holding(self._engine, self.place.schema, what)

    def workers(self) -> list[Worker]:
        with self._engine.connect() as connection:
            return workers(connection)

    def take(self, sample: Sample) -> Taken:
        standing = Standing(sample, State.LEASED)
        with self._engine.begin() as connection:
            if not self._me.take(connection, sample.id):
                return Taken.THEIRS
            s = SAMPLES.c
            query = select(s.state).where(s.pipeline == sample.pipeline.value)
            state = connection.scalar(query.where(s.number == sample.index))
            if state is not None and State(state) not in BEGUN:
                self._me.give(connection, [sample.id])
                return Taken.THEIRS
            self._write(connection, [standing])
            return Taken.NEW if state is None else Taken.AGAIN

    def look(self, pipeline: Pipeline, numbers: Collection[int]) -> News:
        if not numbers:
            return News()
        self._me.bury_dead()
        s = SAMPLES.c
        wanted = (s.pipeline == pipeline.value) & s.number.in_(numbers)
        is_had = exists().where(LEASES.c.sample == s.id)
        begun = [state.value for state in BEGUN]
        with self._engine.connect() as connection:
            over = ~s.state.in_(begun) | ~is_had
            found = connection.execute(select(SAMPLES).where(wanted, over)).mappings()
            standings = [to_standing(row) for row in found]
        return News(
            [one for one in standings if one.state not in BEGUN],
            [one.sample.index for one in standings if one.state in BEGUN],
        )

    def budget(self, limit_usd: float | None) -> Budget:
        return Purse(limit_usd, self._me, self._engine)

    def pace(self, role: str, limits: Limits, at_once: int, sleep: Sleep) -> Pace:
        if limits == Limits():
            return super().pace(role, limits, at_once, sleep)
        return SharedPace(limits, at_once, role, self._engine, sleep=sleep)

    # a buried worker pays for nothing more

    def send(self, call: Sent) -> None:
        with self._engine.begin() as connection:
            self._me.confirm(connection)
            journal.append_sent(connection, call)

    def begin_batch(self, batch: Batch, calls: list[Sent]) -> None:
        with self._engine.begin() as connection:
            self._me.confirm(connection)
            batches.begin(connection, batch, calls)

    # samples

    def end(self, standings: Collection[Standing]) -> None:
        """Durable when it returns, since what others decide follows from it.

        Raises:
            Interrupted: the samples were given to others.
        """
        if standings:
            for standing in standings:
                self._standings.pop(standing.sample.id, None)
            self._commit(standings)

    def _hand_in(self, connection: Connection, ended: Collection[Standing]) -> None:
        if ended:
            super()._write(connection, _in_order(ended))
            self._me.give(connection, [one.sample.id for one in ended])

    def _write(self, connection: Connection, standings: Collection[Standing]) -> None:
        """A decision changes what is checked, and nothing else; a sample under way is its worker's."""
        decided = [one for one in standings if one.state not in BEGUN]
        under_way = [one for one in standings if one.state in BEGUN]
        s = SAMPLES.c
        if decided:
            change = update(SAMPLES).where(s.id == bindparam("key"), s.state == State.CHECKED.value)
            change = change.values(state=bindparam("new"), reason=bindparam("why"))
            connection.execute(
                change,
                [
                    {"key": one.sample.id, "new": one.state.value, "why": one.reason}
                    for one in _in_order(decided)
                ],
            )
        if under_way:
            # Only `fsck` takes back what has ended, while nobody works on the run.
            again = State.PLANNED in {one.state for one in under_way}
            statement = postgresql.insert(SAMPLES)
            statement = statement.on_conflict_do_update(
                index_elements=["pipeline", "number"],
                set_={name: statement.excluded[name] for name in ("state", "reason", "row")},
                where=None if again else or_(*(s.state == state.value for state in BEGUN)),
            )
            connection.execute(statement, [to_row(one) for one in _in_order(under_way)])


def _in_order(standings: Collection[Standing]) -> list[Standing]:
    """So that no two workers wait for each other's rows."""
    return sorted(standings, key=lambda one: (one.sample.pipeline.value, one.sample.index))
