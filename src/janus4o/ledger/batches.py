"""Calls that are sent together and answered hours later: what is known of them, on disk.

A batch is written down, with all its calls, before it is made, and under a token of ours that its server
keeps with it: one that was made just before a kill is found again by that token, and none is made twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from sqlalchemy import (
    Column,
    Connection,
    Float,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from janus4o.exchange import PaintReply, PaintRequest, Refusal, WriteReply, WriteRequest
from janus4o.ledger.journal import ATTEMPTS, BATCHED, METADATA, SENT, Sent

BATCHES = Table(
    "batches",
    METADATA,
    Column("token", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("id", String),
    Column("status", String, nullable=False),
    Column("detail", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch.

    Attributes:
        token: ours; kept by the server beside its own `id`, which is None until it answered.
        created: unix time in seconds.
        status: "making" until its id is known, then what the server last said.
        detail: the server's words where it failed.
    """

    token: str
    role: str
    endpoint: str
    created: float
    id: str | None = None
    status: str = "making"
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BatchState:
    """What a server says of a batch.

    Attributes:
        ended: nothing more will come.
        files: ids of what came: answers, errors.
        detail: its words about why it failed; empty where it did not.
    """

    id: str
    status: str
    ended: bool
    files: tuple[str, ...] = ()
    detail: str = ""


@runtime_checkable
class Batching(Protocol):
    """A teacher that can be asked by the batch. Every method may raise Unanswered."""

    def takes(self, asked: WriteRequest | PaintRequest) -> bool:
        """Can this request go into a batch?"""

    def line(self, name: str, asked: WriteRequest | PaintRequest) -> tuple[str, bytes]:
        """Endpoint and line of a request; answers carry its `name`."""

    async def upload(self, lines: bytes) -> str:
        """The id of a file with these lines."""

    async def create(self, endpoint: str, file: str, token: str) -> BatchState: ...

    async def find(self, token: str, since: float) -> BatchState | None:
        """The batch with our token, if one was made at or after a unix time."""

    async def look(self, batch: str) -> BatchState: ...

    def fetch(self, file: str) -> AsyncIterator[bytes]: ...

    async def read(
        self, line: dict[str, Any] | None, state: BatchState, asked: WriteRequest | PaintRequest
    ) -> WriteReply | PaintReply | Refusal:
        """What the line of a request says; None where the batch ended without one."""


def begin(connection: Connection, batch: Batch, calls: Iterable[Sent]) -> None:
    """Writes down a batch that is about to be made, and its calls as sent with it."""
    connection.execute(insert(BATCHES), [{name: getattr(batch, name) for name in Batch.__slots__}])
    sent = [{name: getattr(call, name) for name in Sent.__slots__} for call in calls]
    if not sent:
        return
    connection.execute(insert(SENT), sent)
    same = ("sample", "stage", "started")
    rows = [{**{name: one[name] for name in same}, "token": batch.token} for one in sent]
    connection.execute(insert(BATCHED), rows)


def note(connection: Connection, token: str, state: BatchState) -> None:
    """Writes down what the server says of a batch."""
    values = {"id": state.id, "status": state.status, "detail": state.detail}
    connection.execute(update(BATCHES).where(BATCHES.c.token == token).values(values))


def forget(connection: Connection, token: str) -> None:
    """Takes back a batch that was never made, with its calls: they were not sent."""
    b, s = BATCHED.c, SENT.c
    same = (s.sample == b.sample) & (s.stage == b.stage) & (s.started == b.started)
    of_it = select(SENT.c.number).join_from(SENT, BATCHED, same).where(b.token == token)
    connection.execute(delete(SENT).where(SENT.c.number.in_(of_it)))
    connection.execute(delete(BATCHED).where(b.token == token))
    connection.execute(delete(BATCHES).where(BATCHES.c.token == token))


def batches(connection: Connection) -> Iterator[Batch]:
    """All batches, oldest first."""
    for row in connection.execute(select(BATCHES).order_by(BATCHES.c.created)).mappings():
        yield Batch(*(row[name] for name in Batch.__slots__))


def waiting(connection: Connection, sample: str | None = None) -> Iterator[tuple[str, Sent]]:
    """Token and call of everything that went out with a batch and has no outcome yet."""
    b, s, a = BATCHED.c, SENT.c, ATTEMPTS.c
    sent = (s.sample == b.sample) & (s.stage == b.stage) & (s.started == b.started)
    heard = (a.sample == b.sample) & (a.stage == b.stage) & (a.started == b.started)
    query = (
        select(BATCHED.c.token, SENT)
        .join_from(BATCHED, SENT, sent)
        .join(ATTEMPTS, heard, isouter=True)
        .where(a.number.is_(None), *([] if sample is None else [b.sample == sample]))
        .order_by(s.number)
    )
    for row in connection.execute(query).mappings():
        yield row["token"], Sent(*(row[name] for name in Sent.__slots__))
