"""What a run folder knows about its samples, and in which order it becomes durable.

`store.sqlite` holds the attempts (see `ledger.journal`) and each sample's standing; pictures lie
under `blobs/`. Changes are gathered and committed together: pictures first, one barrier, then one
transaction. What a teacher was paid for is committed before anything else happens; free replies
may wait up to `GROUP_SECONDS`, since a kill then costs nothing but the work of that moment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, String, Table, Text, select
from sqlalchemy.dialects.sqlite import insert

from janus4o.errors import DataError, RecipeChanged
from janus4o.ledger import journal
from janus4o.ledger.blobs import Blobs
from janus4o.ledger.database import open_database
from janus4o.ledger.journal import METADATA, Attempt, Sent, Spend
from janus4o.records import from_json
from janus4o.synth.sample import SHARED, Content, Pipeline, Sample, Standing, State

STORE_NAME = "store.sqlite"
PIPELINES = "pipelines"
"""Key of the fact `content` under which pipelines keep what they alone depend on."""
GROUP_SECONDS = 1.0
GROUP_CHANGES = 4096

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


class Store:
    """The samples, attempts and pictures of one run folder. Hold `files.lock` while it is open."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.blobs = Blobs(folder / "blobs")
        self._attempts: list[Attempt] = []
        self._standings: dict[str, Standing] = {}
        self._flushed = time.monotonic()
        self._engine = open_database(folder / STORE_NAME)
        try:
            METADATA.create_all(self._engine)
        except BaseException:
            self._engine.dispose()
            raise

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
            connection.execute(insert(FACTS).values(row).on_conflict_do_update(["name"], set_=row))

    def claim(self, content: Content) -> None:
        """Binds the folder to what determines its samples; pipelines may be added later.

        Raises:
            RecipeChanged: it is bound to something else; names the keys that differ.
        """
        known = self.fact("content")
        if differences := find_differences(known, content):
            raise RecipeChanged(
                f"{str(self.folder)!r} was made by another recipe: {differences}",
                "set these back, or give the new recipe another `output` folder",
            )
        parts = {**(known or {}).get(PIPELINES, {}), **_parts(content)}
        bound = {**content[SHARED], **({PIPELINES: parts} if parts else {})}
        if known != json.loads(json.dumps(bound)):
            self.state_fact("content", bound)

    # samples

    def standings(self, pipeline: Pipeline) -> Iterator[Standing]:
        """Every sample known, by index."""
        query = select(SAMPLES).where(SAMPLES.c.pipeline == pipeline.value)
        with self._engine.connect() as connection:
            for row in connection.execute(query.order_by(SAMPLES.c.number)).mappings():
                sample = Sample(pipeline, row["number"], row["id"])
                content = row["row"] and from_json(json.loads(row["row"]), f"sample {sample.id}")
                yield Standing(sample, State(row["state"]), row["reason"], content)

    def update(self, standing: Standing) -> None:
        """Notes where a sample is; durable with the next flush."""
        self._standings[standing.sample.id] = standing

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

    def attempts(self) -> Iterator[Attempt]:
        """Every committed call, oldest first."""
        with self._engine.connect() as connection:
            yield from journal.attempts(connection)

    def spend(self) -> Spend:
        """Everything this folder's calls consumed."""
        self.flush()
        with self._engine.connect() as connection:
            return journal.spend(connection)

    # commits

    def flush(self) -> None:
        """Commits everything gathered: pictures, then the rows that name them."""
        if self._attempts or self._standings:
            self.blobs.barrier()
            with self._engine.begin() as connection:
                journal.append(connection, self._attempts)
                rows = [_to_row(standing) for standing in self._standings.values()]
                if rows:
                    statement = insert(SAMPLES)
                    changed = {
                        name: statement.excluded[name] for name in ("state", "reason", "row")
                    }
                    connection.execute(
                        statement.on_conflict_do_update(["pipeline", "number"], set_=changed), rows
                    )
            self._attempts.clear()
            self._standings.clear()
        self._flushed = time.monotonic()

    def flush_if_due(self) -> None:
        """Commits when much is gathered or the last commit is some time ago."""
        gathered = len(self._attempts) + len(self._standings)
        if gathered >= GROUP_CHANGES or time.monotonic() - self._flushed >= GROUP_SECONDS:
            self.flush()


def find_differences(known: dict[str, Any] | None, content: Content) -> str:
    """What keeps a folder with the fact `content` from being gone on with: "key: old → new, …".

    Empty where nothing does: it is bound to nothing yet, to the same, or lacks only pipelines.
    """
    if known is None:
        return ""
    shared = {key: value for key, value in known.items() if key != PIPELINES}
    if found := _differences(shared, content[SHARED]):
        return found
    parts = _parts(content)
    return _differences(
        {p: known.get(PIPELINES, {}).get(p, new) for p, new in parts.items()}, parts
    )


def _parts(content: Content) -> Content:
    return {pipeline: part for pipeline, part in content.items() if pipeline != SHARED}


def _to_row(standing: Standing) -> dict[str, Any]:
    sample, row = standing.sample, standing.row
    return {
        "pipeline": sample.pipeline.value,
        "number": sample.index,
        "id": sample.id,
        "state": standing.state.value,
        "reason": standing.reason,
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
