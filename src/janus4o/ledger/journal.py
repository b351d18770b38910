"""Every call to a teacher, one line each, never changed and never removed.

The journal is what makes a reply paid for once: a run that was killed finds here what it already
has. It is also the only source of the figures of spend, tokens and latency.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    func,
    insert,
    select,
)

from janus4o.exchange import Picture, Usage

Status = Literal["ok", "refused", "error"]

METADATA = MetaData()
ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("sample", String, nullable=False, index=True),
    Column("stage", String, nullable=False),
    Column("request", String, nullable=False),
    Column("status", String, nullable=False),
    Column("model", String, nullable=False),
    Column("text", Text),
    Column("blob", String),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("images", Integer, nullable=False),
    Column("cost_usd", Float),
    Column("started", Float, nullable=False),
    Column("seconds", Float, nullable=False),
)
SENT = Table(
    "sent",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("sample", String, nullable=False),
    Column("stage", String, nullable=False),
    Column("teacher", String, nullable=False),
    Column("request", String, nullable=False),
    Column("reserved_usd", Float, nullable=False),
    Column("started", Float, nullable=False),
)
"""Calls that cost money, each written before it was sent: what a kill leaves unanswered stands here."""
BATCHED = Table(
    "batched",
    METADATA,
    Column("sample", String, primary_key=True),
    Column("stage", String, primary_key=True),
    Column("started", Float, primary_key=True),
    Column("token", String, nullable=False, index=True),
)
"""Which of the calls sent went out with a batch (`ledger.batches`): those are waited for, not doubted."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A call about to be sent.

    Attributes:
        reserved_usd: the most it can cost; 0.0 where no budget is kept.
        started: unix time in seconds; the call's `Attempt` has the same.
    """

    sample: str
    stage: str
    teacher: str
    request: str
    reserved_usd: float
    started: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call and its outcome.

    Attributes:
        sample: id of the sample it was made for.
        stage: which of the sample's calls, e.g. "write", "paint", "source.paint".
        request: sha256 of everything that was sent.
        status: `ok` and `refused` are answers, `error` means none came.
        model: the name the server returned; empty where none came.
        text: the reply's text; of a refusal "category: message", of an error its words.
        blob: name of the reply's picture.
        started: unix time in seconds.
        seconds: latency.
    """

    sample: str
    stage: str
    request: str
    status: Status
    model: str
    text: str | None
    blob: str | None
    usage: Usage
    started: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Spend:
    """Totals over attempts.

    Attributes:
        unpriced: answers of unknown price, not in `cost_usd`.
        uncertain: calls sent without an answer that may have been billed all the same; they were
            sent again. `uncertain_usd` is the most they can have cost, not in `cost_usd`.
        waiting: calls that went out with a batch and wait for its end; `waiting_usd` is the most they
            can cost, not in `cost_usd`.
    """

    calls: int
    refused: int
    errors: int
    input_tokens: int
    output_tokens: int
    images: int
    cost_usd: float
    unpriced: int
    uncertain: int = 0
    uncertain_usd: float = 0.0
    waiting: int = 0
    waiting_usd: float = 0.0


def request_hash(
    prompt: str, pictures: tuple[Picture, ...], seed: int, size: tuple[int, int] | None = None
) -> str:
    """sha256 of a request: the text, each picture, seed and size (of what is to be painted)."""
    digest = hashlib.sha256(f"{seed} {size} {len(pictures)}\n".encode())
    for picture in pictures:
        digest.update(hashlib.sha256(picture.data).digest())
    digest.update(prompt.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


_OWN_COLUMNS = tuple(name for name in Attempt.__slots__ if name != "usage")


def append(connection: Connection, attempts: Iterable[Attempt]) -> None:
    rows = [
        {name: getattr(attempt, name) for name in _OWN_COLUMNS}
        | {name: getattr(attempt.usage, name) for name in Usage.__slots__}
        for attempt in attempts
    ]
    if rows:
        connection.execute(insert(ATTEMPTS), rows)


def attempts(connection: Connection) -> Iterator[Attempt]:
    """All attempts, oldest first."""
    with connection.execute(select(ATTEMPTS).order_by(ATTEMPTS.c.number)) as found:
        for row in found.mappings():
            yield _attempt(row)


def attempts_of(
    connection: Connection, samples: Table, wanted: ColumnElement[bool], order: ColumnElement[Any]
) -> Iterator[Attempt]:
    """The attempts of some samples: a table with an `id`, which of its rows, and in what order."""
    query = (
        select(ATTEMPTS)
        .join(samples, samples.c.id == ATTEMPTS.c.sample)
        .where(wanted)
        .order_by(order, ATTEMPTS.c.number)
    )
    with connection.execute(query) as found:
        for row in found.mappings():
            yield _attempt(row)


def spend(connection: Connection) -> Spend:
    """Adds up everything ever asked."""
    a = ATTEMPTS.c
    answered = a.status != "error"
    row = connection.execute(
        select(
            func.count(),
            func.count().filter(a.status == "refused"),
            func.count().filter(a.status == "error"),
            func.coalesce(func.sum(a.input_tokens), 0),
            func.coalesce(func.sum(a.output_tokens), 0),
            func.coalesce(func.sum(a.images), 0),
            func.coalesce(func.sum(a.cost_usd), 0.0),
            func.count().filter(answered, a.cost_usd.is_(None)),
        )
    ).one()
    doubtful = [call.reserved_usd for call in uncertain(connection)]
    out = [call.reserved_usd for call in _unheard(connection, batched=True)]
    totals: list[Any] = [*row, len(doubtful), sum(doubtful), len(out), sum(out)]
    return Spend(*totals)


def append_sent(connection: Connection, call: Sent) -> None:
    connection.execute(insert(SENT), [{name: getattr(call, name) for name in Sent.__slots__}])


def uncertain(connection: Connection) -> Iterator[Sent]:
    """Calls that were sent, brought no answer and may have been billed, oldest first."""
    yield from _unheard(connection, batched=False)


def _unheard(connection: Connection, batched: bool) -> Iterator[Sent]:
    """Calls sent without an answer: those that wait for a batch, or all others that may be billed."""
    s, a, b = SENT.c, ATTEMPTS.c, BATCHED.c
    heard = (a.sample == s.sample) & (a.stage == s.stage) & (a.started == s.started)
    waits = (b.sample == s.sample) & (b.stage == s.stage) & (b.started == s.started)
    silent = a.number.is_(None)
    in_batch = silent & b.token.is_not(None)
    doubtful = (silent & b.token.is_(None)) | ((a.status == "error") & a.cost_usd.is_(None))
    query = (
        select(SENT)
        .join_from(SENT, ATTEMPTS, heard, isouter=True)
        .join(BATCHED, waits, isouter=True)
        .where(in_batch if batched else doubtful)
        .order_by(s.number)
    )
    for row in connection.execute(query).mappings():
        yield Sent(*(row[name] for name in Sent.__slots__))


def _attempt(row: RowMapping) -> Attempt:
    usage = Usage(row["input_tokens"], row["output_tokens"], row["images"], row["cost_usd"])
    return Attempt(
        row["sample"], row["stage"], row["request"], row["status"], row["model"], row["text"],
        row["blob"], usage, row["started"], row["seconds"],
    )  # fmt: skip
