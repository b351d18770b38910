"""A PostgreSQL database that several processes and machines work on at once.

Every run has a schema of its own in it. Where that is stands in a file of the run folder, so that
commands that are given the folder alone find it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.schema import CreateSchema

from janus4o.errors import DataError, RecipeError, Refused
from janus4o.files import sync_folder, write_atomic

PLACE_NAME = "store.json"
OLDEST = 12
"""The first major version of PostgreSQL that is known to do."""
CONNECT_SECONDS = 10
SILENT_SECONDS = 60
"""How long a worker may do nothing in the middle of a transaction before the server ends it: one that was
suspended must not hold up the rest."""
WAIT_SECONDS = 300
"""How long one waits for another before it gives up."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's tables are.

    Attributes:
        url: `postgresql://…`, without a password.
        schema: of the run alone.
        layout: version of the tables.
    """

    url: str
    schema: str
    layout: int


def read_place(folder: Path) -> Place | None:
    """Where a run folder says that its tables are; None where it says nothing.

    Raises:
        DataError: what it says makes no sense.
    """
    path = folder / PLACE_NAME
    if not path.is_file():
        return None
    try:
        place = Place(**json.loads(path.read_text("utf-8")))
        if not re.fullmatch(r"janus4o_\w+", place.schema):
            raise ValueError(f"schema {place.schema!r}")
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{str(path)!r} does not say where the run's tables are: {error}",
            "restore it from a copy, or start in another folder",
        ) from None
    return place


def keep_place(folder: Path, place: Place) -> Place:
    """Writes the place down, unless somebody was faster; returns the one that stands there."""
    path = folder / PLACE_NAME
    mine = folder / f".{PLACE_NAME}.{uuid.uuid4().hex}.part"
    write_atomic(mine, (json.dumps(asdict(place), indent=2) + "\n").encode())
    try:
        os.link(mine, path)  # of several, one succeeds, also on a shared folder
    except FileExistsError:
        pass
    finally:
        mine.unlink()
    sync_folder(folder)
    kept = read_place(folder)
    assert kept is not None
    return kept


def new_schema(engine: Engine, name: str) -> None:
    """Makes a schema; raises Refused where the database does not let us."""
    with engine.begin() as connection:
        connection.execute(CreateSchema(name))


def open_postgres(url: str, schema: str, *, chosen: bool = True) -> Engine:
    """Connects where it is first used.

    Args:
        chosen: whether the user named this URL, and not a run folder, which may be somebody else's.

    Using it raises Refused where the database cannot be reached or does not allow it, DataError
    where the run's tables are not there, OSError where its disk is full.
    """
    try:
        import psycopg
    except ImportError:
        raise Refused(
            "a store on PostgreSQL needs psycopg, which is not installed",
            "pip install 'janus4o[postgres]'",
        ) from None
    try:
        parsed = make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        raise RecipeError(
            f"store: {url!r} is no URL of a database", "for example postgresql://user@host/name"
        ) from None
    where = f"postgresql://{parsed.host or 'localhost'}/{parsed.database or ''}"
    engine = create_engine(
        parsed,
        pool_size=2,
        pool_pre_ping=True,  # a database that was restarted meanwhile costs no answer
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "keepalives_idle": CONNECT_SECONDS,
            "tcp_user_timeout": 1000 * SILENT_SECONDS,
            "application_name": "janus4o",
            # A folder of somebody else must not send this user's password in clear anywhere.
            **({} if chosen else {"require_auth": "!password"}),
            "options": f"-csearch_path={schema} -clock_timeout={WAIT_SECONDS}s "
            f"-cidle_in_transaction_session_timeout={SILENT_SECONDS}s",
        },
    )

    @event.listens_for(engine, "handle_error")
    def _explain(context: ExceptionContext) -> None:
        error = context.original_exception
        if not isinstance(error, psycopg.Error) or context.is_pre_ping:
            return
        state, words = error.sqlstate or "", _first_line(error)
        if state in ("42501", "25006"):  # privileges, read-only
            raise Refused(
                f"the database {where} does not allow it: {words}",
                "the user of `store` must be able to create a schema and write to it",
            ) from error
        if state in ("3F000", "42P01", "42703"):  # schema, table, column
            raise DataError(
                f"the tables of this run ({schema!r}) are not whole in {where}: {words}",
                "restore the database from a copy, or start in another folder",
            ) from error
        if state.startswith("53") and state != "53300":
            number = errno.ENOSPC if state == "53100" else errno.EIO
            raise OSError(number, words, where) from error
        if (
            isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
            or state == "25P03"
        ):
            raise Refused(
                f"the database {where} cannot be used: {words}",
                "see that it runs and that `store` is right (a password comes from PGPASSWORD or "
                "~/.pgpass), then run the same command again",
            ) from error

    return engine


def check_version(engine: Engine, layout: int, known: int) -> None:
    """Raises Refused where the server or the run's tables are of another version than this package's."""
    with engine.connect():
        version = int((engine.dialect.server_version_info or (0,))[0])
    if version < OLDEST:
        raise Refused(
            f"the database is PostgreSQL {version}; {OLDEST} or newer is needed",
            "take another server",
        )
    if layout != known:
        raise Refused(
            f"the run's tables were made by another version of janus4o: layout {layout}, not {known}",
            "take the version that made them, or start in another folder",
        )


@contextmanager
def holding(engine: Engine, schema: str, what: str) -> Iterator[None]:
    """Only one worker of a run at a time does `what`; a killed one no longer does."""
    name = {"name": f"{schema} {what}"}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), name)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), name)


def _first_line(error: BaseException) -> str:
    """psycopg tells of every address it tried; the first says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
