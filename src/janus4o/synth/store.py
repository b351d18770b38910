"""What a run folder knows about its samples, and in which order it becomes durable.

`store.sqlite` holds the attempts (see `ledger.journal`) and each sample's standing; pictures lie
under `blobs/`. Changes are gathered and committed together: pictures first, one barrier, then one
transaction. What a teacher was paid for is committed before anything else happens; free replies
may wait up to `GROUP_SECONDS`, since a kill then costs nothing but the work of that moment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    RowMapping,
    String,
    Table,
    Text,
    select,
)
from sqlalchemy.dialects import sqlite

from janus4o.errors import DataError, RecipeChanged
from janus4o.ledger import batches, journal
from janus4o.ledger.batches import Batch, BatchState
from janus4o.ledger.blobs import Blobs
from janus4o.ledger.budget import Budget, Sleep
from janus4o.ledger.database import open_database
from janus4o.ledger.journal import METADATA, Attempt, Sent, Spend
from janus4o.ledger.limits import Pace
from janus4o.ledger.workers import Worker
from janus4o.recipe import Limits
from janus4o.records import from_json
from janus4o.synth.sample import SHARED, Content, Pipeline, Sample, Standing, State

STORE_NAME = "store.sqlite"
PIPELINES = "pipelines"
"""Key of the fact `content` under which pipelines keep what they alone depend on."""
GROUP_SECONDS = 1.0
GROUP_CHANGES = 4096
AT_ONCE = 100
"""Rows that are read at once where all are: they need not fit into memory."""


SAMPLES = Table(
    "samples",
    METADATA,
    Column("pipeline", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("state", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("row", Text),
)
FACTS = Table(
    "facts",
    METADATA,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
)


class Taken(Enum):
    """What came of taking a sample."""

    NEW = "nobody has asked anything for it yet"
    AGAIN = "somebody who is gone had begun with it"
    THEIRS = "somebody else has it, or had it until it ended"


@dataclass(frozen=True, slots=True)
class News:
    """What became of samples that others had: ended, or numbers of those that nobody has now."""

    ended: Sequence[Standing] = ()
    free: Sequence[int] = ()


class Store:
    """The samples, attempts and pictures of one run folder. Hold `files.lock` while it is open.

    This one is a file and has one worker; `synth.shared` has the other kind.

    Attributes:
        is_shared: several workers may have it at once.
    """

    is_shared = False
    _insert: Callable[[Table], Any] = staticmethod(sqlite.insert)

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.blobs = Blobs(folder / "blobs")
        self._attempts: list[Attempt] = []
        self._standings: dict[str, Standing] = {}
        self._flushed = time.monotonic()
        self._engine = self._open()

    def _open(self) -> Engine:
        engine = open_database(self.folder / STORE_NAME)
        try:
            METADATA.create_all(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def close(self) -> None:
        self._engine.dispose()

    def check(self) -> None:
        """Has SQLite look at every page; raises DataError where one is damaged."""
        with self._engine.connect() as connection:
            said = str(connection.exec_driver_sql("PRAGMA integrity_check").scalar())
        if said != "ok":
            raise DataError(
                f"{str(self.folder / STORE_NAME)!r} is damaged: {' '.join(said.split())[:200]}",
                "restore it from a copy, or start in another folder",
            )

    def copy(self, folder: Path) -> None:
        """Gives another folder a store with the same in it; pictures are not part of it."""
        self.flush()
        with self._engine.connect() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(folder / STORE_NAME),))

    # the workers of a run: here there is one, who has everything

    def join(self) -> None:
        """Takes part in the run from now on, until it is closed."""

    def alone(self, what: str) -> AbstractContextManager[None]:
        """Whoever does `what` does it alone."""
        return nullcontext()

    def workers(self) -> list[Worker]:
        """Who has joined."""
        return []

    def take(self, sample: Sample) -> Taken:
        """Takes a sample to make it."""
        return Taken.NEW

    def look(self, pipeline: Pipeline, numbers: Collection[int]) -> News:
        """What became of samples that others had."""
        return News()

    def budget(self, limit_usd: float | None) -> Budget:
        """The money of the run; what may have been billed counts, or the limit would not be a hard one."""
        spend = self.spend()
        return Budget(limit_usd, spend.cost_usd + spend.uncertain_usd + spend.waiting_usd)

    def pace(self, role: str, limits: Limits, at_once: int, sleep: Sleep) -> Pace:
        """How often a teacher's server may be asked."""
        return Pace(limits, at_once, sleep=sleep)

    # facts: what the whole folder was made from

    def fact(self, name: str) -> Any:
        """A fact stored before, or None."""
        with self._engine.connect() as connection:
            text = connection.scalar(select(FACTS.c.value).where(FACTS.c.name == name))
        return None if text is None else json.loads(text)

    def state_fact(self, name: str, value: Any) -> None:
        """Stores a fact; on disk when it returns, after everything gathered before it."""
        self.flush()
        row = {"name": name, "value": json.dumps(value, sort_keys=True)}
        with self._engine.begin() as connection:
            statement = self._insert(FACTS).values(row)
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))

    def claim(self, content: Content) -> None:
        """Binds the folder to what determines its samples; pipelines may be added later.

        Raises:
            RecipeChanged: it is bound to something else; names the keys that differ.
        """
        if differences := self.differences(content):
            raise RecipeChanged(
                f"{str(self.folder)!r} was made by another recipe: {differences}",
                "set these back, or keep both: --fork NEW_FOLDER leaves this one as it is",
            )
        known, wanted = self.fact("content") or {}, json.loads(json.dumps(content))
        shared, parts = wanted.pop(SHARED), known.get(PIPELINES, {})
        if not known or not wanted.keys() <= parts.keys():
            merged = {**parts, **wanted}
            self.state_fact("content", {**shared, **({PIPELINES: merged} if merged else {})})

    def differences(self, content: Content) -> str:
        """The keys in which what the folder is bound to differs, "key: old → new"; "" for none."""
        known, wanted = self.fact("content") or {}, json.loads(json.dumps(content))
        shared, parts = wanted.pop(SHARED), known.pop(PIPELINES, {})
        if known and known != shared:
            return _differences(known, shared)
        return _differences({p: parts.get(p, new) for p, new in wanted.items()}, wanted)

    # samples

    def standings(self, pipeline: Pipeline) -> Iterator[Standing]:
        """Every sample known, by index."""
        query = select(SAMPLES).where(SAMPLES.c.pipeline == pipeline.value)
        with self._engine.connect() as connection:
            some = connection.execution_options(yield_per=AT_ONCE)
            with some.execute(query.order_by(SAMPLES.c.number)) as found:
                for row in found.mappings():
                    yield to_standing(row)

    def update(self, standing: Standing) -> None:
        """Notes where a sample is; durable with the next flush."""
        self._standings[standing.sample.id] = standing

    def end(self, standings: Collection[Standing]) -> None:
        """Notes how samples that were taken have ended."""
        for standing in standings:
            self.update(standing)

    # attempts

    def record(self, attempt: Attempt) -> None:
        """Notes a call. One that cost money, or may have, is on disk when this returns."""
        self._attempts.append(attempt)
        if attempt.usage.cost_usd != 0.0:
            self.flush()

    def send(self, call: Sent) -> None:
        """Notes a call that costs money; on disk when this returns, so that it may be sent."""
        with self._engine.begin() as connection:
            journal.append_sent(connection, call)

    def uncertain(self) -> list[Sent]:
        """Calls without an answer that may have been billed, oldest first."""
        with self._engine.connect() as connection:
            return list(journal.uncertain(connection))

    # batches

    def begin_batch(self, batch: Batch, calls: list[Sent]) -> None:
        """Notes a batch about to be made and its calls; on disk when this returns."""
        with self._engine.begin() as connection:
            batches.begin(connection, batch, calls)

    def note_batch(self, token: str, state: BatchState) -> None:
        """Notes what a server says of a batch; on disk when this returns."""
        with self._engine.begin() as connection:
            batches.note(connection, token, state)

    def forget_batch(self, token: str) -> None:
        """Takes back a batch that was never made."""
        with self._engine.begin() as connection:
            batches.forget(connection, token)

    def batches(self) -> list[Batch]:
        """All batches, oldest first."""
        with self._engine.connect() as connection:
            return list(batches.batches(connection))

    def waiting(self, sample: str | None = None) -> list[tuple[str, Sent]]:
        """Token and call of everything that went out with a batch and has no outcome yet."""
        with self._engine.connect() as connection:
            return list(batches.waiting(connection, sample))

    def attempts(self) -> Iterator[Attempt]:
        """Every committed call, oldest first."""
        with self._engine.connect() as connection:
            yield from journal.attempts(connection.execution_options(yield_per=AT_ONCE))

    def attempts_of(self, sample: Sample) -> list[Attempt]:
        """The committed calls of a sample, oldest first."""
        with self._engine.connect() as connection:
            this = SAMPLES.c.id == sample.id
            return list(journal.attempts_of(connection, SAMPLES, this, SAMPLES.c.number))

    def attempts_of_accepted(self, pipeline: Pipeline, last: int) -> Iterator[Attempt]:
        """The calls of a pipeline's accepted samples as far as index `last`, sample by sample."""
        s = SAMPLES.c
        accepted = (
            (s.pipeline == pipeline.value) & (s.state == State.ACCEPTED.value) & (s.number <= last)
        )
        with self._engine.connect() as connection:
            some = connection.execution_options(yield_per=AT_ONCE)
            yield from journal.attempts_of(some, SAMPLES, accepted, s.number)

    def attempts_of_lost(self) -> Iterator[Attempt]:
        """The calls of samples that came to nothing: rejected, refused, failed."""
        states = [state.value for state in (State.REJECTED, State.REFUSED, State.FAILED)]
        with self._engine.connect() as connection:
            lost = SAMPLES.c.state.in_(states)
            some = connection.execution_options(yield_per=AT_ONCE)
            yield from journal.attempts_of(some, SAMPLES, lost, SAMPLES.c.number)

    def spend(self) -> Spend:
        """Everything this folder's calls consumed."""
        self.flush()
        with self._engine.connect() as connection:
            return journal.spend(connection)

    # commits

    def flush(self) -> None:
        """Commits everything gathered: pictures, then the rows that name them."""
        if self._attempts or self._standings:
            self._commit()
        self._flushed = time.monotonic()

    def _commit(self, ended: Collection[Standing] = ()) -> None:
        self.blobs.barrier()
        with self._engine.begin() as connection:
            journal.append(connection, self._attempts)
            self._write(connection, self._standings.values())
            self._hand_in(connection, ended)
        self._attempts.clear()
        self._standings.clear()

    def _hand_in(self, connection: Connection, ended: Collection[Standing]) -> None:
        """What else belongs into the same commit; here nothing."""

    def _write(self, connection: Connection, standings: Collection[Standing]) -> None:
        if rows := [to_row(standing) for standing in standings]:
            statement = self._insert(SAMPLES)
            changed = {name: statement.excluded[name] for name in ("state", "reason", "row")}
            statement = statement.on_conflict_do_update(
                index_elements=["pipeline", "number"], set_=changed
            )
            connection.execute(statement, rows)

    def flush_if_due(self) -> None:
        """Commits when much is gathered or the last commit is some time ago."""
        gathered = len(self._attempts) + len(self._standings)
        if gathered >= GROUP_CHANGES or time.monotonic() - self._flushed >= GROUP_SECONDS:
            self.flush()


def to_standing(row: RowMapping) -> Standing:
    """What a line of `SAMPLES` says."""
    sample = Sample(Pipeline(row["pipeline"]), row["number"], row["id"])
    content = row["row"] and from_json(json.loads(row["row"]), f"sample {sample.id}")
    return Standing(sample, State(row["state"]), row["reason"], content)


def to_row(standing: Standing) -> dict[str, Any]:
    """The line of `SAMPLES` that says it."""
    sample, row = standing.sample, standing.row
    return {
        "pipeline": sample.pipeline.value,
        "number": sample.index,
        "id": sample.id,
        "state": standing.state.value,
        "reason": standing.reason.encode("utf-8", "backslashreplace")
        .decode()
        .replace("\0", "\\x00"),
        "row": None if row is None else json.dumps(row.to_json(), ensure_ascii=False),
    }


def _differences(known: Any, content: Any) -> str:
    """ "key: old → new" of every leaf that differs."""
    old, new = dict(_leaves(known)), dict(_leaves(json.loads(json.dumps(content))))
    return ", ".join(
        f"{key}: {json.dumps(old.get(key))} → {json.dumps(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    )


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
