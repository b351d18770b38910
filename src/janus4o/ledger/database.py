"""One SQLite file, safe against kills and power cuts."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, ExceptionContext, create_engine, event
from sqlalchemy.pool import StaticPool

from janus4o.errors import DataError

MEANINGS = {
    "SQLITE_FULL": errno.ENOSPC,
    "SQLITE_IOERR": errno.EIO,
    "SQLITE_CANTOPEN": errno.EIO,
    "SQLITE_READONLY": errno.EROFS,
}
"""SQLite's primary error → what the system would say of any other file."""


def open_database(path: Path) -> Engine:
    """Opens or makes a database in WAL mode where every commit is on disk before it returns.

    Using it raises OSError where the disk is full or fails, DataError where the file is damaged.
    """
    engine = create_engine(f"sqlite:///{path}", poolclass=StaticPool)

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA busy_timeout=10000")

    @event.listens_for(engine, "handle_error")
    def _explain(context: ExceptionContext) -> None:
        error = context.original_exception
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise DataError(
                f"{str(path)!r} is damaged: {error}",
                "restore it from a copy, or start in another folder",
            ) from error
        for name, number in MEANINGS.items():
            if code.startswith(name):
                raise OSError(number, str(error), str(path)) from error

    return engine
