"""Workers that share a run: who has what, and what they may spend and ask together."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, update

from janus4o.errors import BudgetStop, Interrupted, Refused
from janus4o.exchange import Unanswered, Usage, WriteReply
from janus4o.ledger import journal, purse
from janus4o.ledger.calling import Served
from janus4o.ledger.journal import METADATA, Attempt, Sent
from janus4o.ledger.postgres import new_schema, open_postgres
from janus4o.ledger.prices import Price
from janus4o.ledger.purse import Purse, SharedPace
from janus4o.ledger.workers import LEASE_SECONDS, SHARED, WORKERS, Workers, workers
from janus4o.recipe import Limits


@pytest.fixture
def engine(postgres: str) -> Iterator[Engine]:
    """A database with the tables of one run."""
    schema = f"test_{uuid.uuid4().hex[:12]}"
    engine = open_postgres(postgres, schema)
    new_schema(engine, schema)
    for tables in (METADATA, SHARED):
        tables.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def two(engine: Engine) -> Iterator[tuple[Workers, Workers]]:
    first, second = Workers(engine), Workers(engine)
    first.join(lambda connection: 1.0)
    second.join(lambda connection: 99.0)
    assert (first.alone, second.alone) == (True, False)
    yield first, second
    first.leave()
    second.leave()


def silence(engine: Engine, worker: Workers) -> None:
    """As if a worker had not said for too long that it lives."""
    with engine.begin() as connection:
        mine = update(WORKERS).where(WORKERS.c.id == worker.id)
        connection.execute(mine.values(seen=WORKERS.c.seen - LEASE_SECONDS - 1))


def take(engine: Engine, worker: Workers, sample: str) -> bool:
    with engine.begin() as connection:
        return worker.take(connection, sample)


def give(engine: Engine, worker: Workers, sample: str) -> None:
    with engine.begin() as connection:
        worker.give(connection, [sample])


def test_a_sample_is_one_workers_until_it_is_given_back(
    engine: Engine, two: tuple[Workers, Workers]
) -> None:
    first, second = two
    assert take(engine, first, "a")
    assert not take(engine, second, "a")
    assert take(engine, second, "b")
    with engine.connect() as connection:
        assert [one.leases for one in workers(connection)] == [1, 1]
    give(engine, first, "a")
    assert take(engine, second, "a")


def test_what_a_silent_worker_had_is_free_and_it_finds_out_when_it_wakes_up(
    engine: Engine, two: tuple[Workers, Workers]
) -> None:
    first, second = two
    assert take(engine, first, "a")
    second.bury_dead()
    assert not take(engine, second, "a")  # it is only slow
    silence(engine, first)
    second.bury_dead()
    assert take(engine, second, "a")
    with pytest.raises(Interrupted, match="given to others"):
        give(engine, first, "a")
    with pytest.raises(Interrupted, match="given to others"):
        take(engine, first, "c")
    give(engine, second, "a")


def test_all_workers_together_keep_to_the_budget(
    engine: Engine, two: tuple[Workers, Workers]
) -> None:
    one, other = (Purse(2.0, worker, engine) for worker in two)
    assert one.spent_usd == 1.0  # what was spent before, once
    assert one.reserve("x", Price(0.6)) == 0.6
    with pytest.raises(BudgetStop):
        other.reserve("x", Price(0.6))
    with pytest.raises(Refused, match="unknown"):
        other.reserve("x", None)

    async def wait_for_it() -> float:
        waiting = asyncio.create_task(other.reserve_when_free("x", Price(0.6)))
        await asyncio.sleep(0)
        one.settle(0.6, 0.1)
        return await waiting

    assert asyncio.run(wait_for_it()) == 0.6
    other.settle(0.6, None)  # of unknown cost: all of it
    with pytest.raises(BudgetStop, match=r"from \$1\.70 over the budget of \$2\.00"):
        one.reserve("x", Price(0.31))
    assert one.reserve("x", Price(0.3)) == 0.3


def test_what_a_dead_workers_calls_may_cost_is_spent(
    engine: Engine, two: tuple[Workers, Workers]
) -> None:
    first, second = two
    money, purse_of_second = Purse(10.0, first, engine), Purse(10.0, second, engine)
    assert take(engine, first, "a")
    for price in (1.0, 2.0, 4.0):  # answered; sent; only set aside
        money.reserve("x", Price(price))
    now = time.time()
    with engine.begin() as connection:
        journal.append_sent(connection, Sent("a", "write", "x", "", 1.0, now))
        answer = Attempt(
            "a", "write", "", "ok", "m", "", None, Usage(cost_usd=0.5), now, 0.1
        )  # fmt: skip
        journal.append(connection, [answer])
        journal.append_sent(connection, Sent("a", "paint", "x", "", 2.0, now + 1))
    money.settle(1.0, 0.5)
    silence(engine, first)
    second.bury_dead()
    with pytest.raises(BudgetStop, match=r"from \$3\.50"):
        purse_of_second.reserve("x", Price(6.6))
    money.settle(2.0, 0.0)  # it wakes up: its calls are counted already
    with pytest.raises(BudgetStop, match=r"from \$3\.50"):
        purse_of_second.reserve("x", Price(6.6))
    with pytest.raises(Interrupted):
        money.reserve("x", Price(0.1))


def test_all_workers_together_keep_to_a_servers_limits(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, allowed = 0.4, 4
    monkeypatch.setattr(purse, "MARGIN", 0.0)
    sent: list[float] = []

    async def go() -> None:
        paces = [
            SharedPace(Limits(requests=allowed, tokens=1000), 8, "writer", engine, window=window)
            for _ in range(3)
        ]
        free = SharedPace(Limits(requests=100), 8, "painter", engine, window=window)

        async def call(number: int) -> None:
            async with paces[number % 3].turn(tokens=10) as turn:
                paces[number % 3].leaves(turn)
                sent.append(time.monotonic())
                paces[number % 3].correct(turn, 5)

        await asyncio.gather(*(call(number) for number in range(12)))
        before = time.monotonic()
        async with free.turn() as turn:  # another server's
            free.pause(turn, 0.2)
        async with free.turn():
            assert time.monotonic() - before >= 0.2

    asyncio.run(go())
    sent.sort()
    assert len(sent) == 12
    # The database counts from before a call says that it leaves.
    assert all(
        later - first > window - 0.05 for first, later in zip(sent, sent[allowed:], strict=False)
    )


def test_a_call_that_needs_more_than_all_tokens_goes_alone(engine: Engine) -> None:
    async def go() -> None:
        pace = SharedPace(Limits(tokens=10), 2, "writer", engine)
        async with pace.turn(tokens=50):
            pass

    asyncio.run(asyncio.wait_for(go(), 20))


def test_a_worker_that_hears_another_model_than_one_before_it_stops() -> None:
    class Writer:
        name = "asked-for"

        def serves(self, model: str) -> bool:
            return True

    kept: list[str] = []

    def note(model: str) -> str:
        kept.append(model)
        return kept[0]

    first, second = (Served("the writer", "take one", None, note) for _ in range(2))
    first.check(Writer(), WriteReply("a", "one", Usage()))  # type: ignore[arg-type]
    with pytest.raises(Unanswered, match="answers as 'two', not as 'one' as before"):
        second.check(Writer(), WriteReply("a", "two", Usage()))  # type: ignore[arg-type]
