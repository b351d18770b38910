"""What must hold over thousands of calls: nothing lost, nothing overspent, no limit broken."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from janus4o.cli.teachers import hire
from janus4o.errors import BudgetStop
from janus4o.exchange import (
    PaintReply,
    PaintRequest,
    Picture,
    Refusal,
    Usage,
    WriteReply,
    WriteRequest,
)
from janus4o.ledger.budget import Budget
from janus4o.ledger.limits import LEAVING, Call, Pace
from janus4o.ledger.prices import Price
from janus4o.recipe import Recipe
from janus4o.synth.runner import run
from janus4o.synth.status import status
from janus4o.synth.store import Store

Ask = Callable[..., Recipe]
Serve = Callable[..., Any]
DOT = Picture(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
    b"\x00\x00\x00\x0cIDATx\x9cc\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xc9\xfe\x92\xef\x00\x00\x00\x00"
    b"IEND\xaeB`\x82"
)


def storm(wire: ModuleType, seed: int) -> Callable[[Any], Any]:
    """30 % of all calls are too many, 20 % fail at the server."""
    rng = random.Random(seed)

    def fault(asked: Any) -> Any:
        at = rng.random()
        if at < 0.3:
            return wire.Fault("status", 429, retry_after=rng.choice([None, "0.002"]))
        return wire.Fault("status", rng.choice([500, 503])) if at < 0.5 else None

    return fault


def survive_storm(
    serve: Serve, ask: Ask, wire: ModuleType, folder: Path, t2i: int, edits: int
) -> int:
    """A run in a storm ends with every row, every cent counted; returns the calls it took."""
    server = serve(faults=storm(wire, 5))
    recipe = ask(server.url, t2i, edits, concurrency=16, hold_out=False)
    staff = hire(recipe)
    outcome = run(recipe, folder, staff.writer, staff.painter, inspector=staff.inspector)
    assert outcome.tally.accepted == {"prompt_first": t2i, "editing": edits}
    assert not any(end.startswith("failed") for end in outcome.tally.ends)
    assert outcome.spend.calls == len(server.asked)
    assert outcome.spend.cost_usd == pytest.approx(server.billed_usd)
    assert outcome.spend.uncertain == 0
    asked = [(a.path, a.fields.get("seed"), a.fields.get("prompt")) for a in server.asked]
    answered = outcome.spend.calls - outcome.spend.errors
    assert sum(server.billed.values()) <= answered
    assert len(set(asked)) <= answered
    return len(server.asked)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("janus4o.ledger.calling.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("janus4o.ledger.patience.LONGEST_PAUSE", 0.01)


@pytest.mark.usefixtures("hurry")
def test_a_storm_loses_nothing(serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path) -> None:
    assert survive_storm(serve, ask, wire, tmp_path, 60, 20) > 300


@pytest.mark.stress
@pytest.mark.usefixtures("hurry")
def test_ten_thousand_calls_in_a_storm_lose_nothing(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path
) -> None:
    assert survive_storm(serve, ask, wire, tmp_path, 1200, 800) > 10_000


class Till:
    """A teacher of random prices and latencies that counts what it is owed."""

    name = "till"
    max_categories = 1

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.owed = 0.0
        self.most = self._rng.choice([0.001, 0.01, 0.04, 0.2])

    def price(self, request: WriteRequest | PaintRequest) -> Price:
        return Price(self.most, self.most / 2)

    def tokens(self, request: WriteRequest | PaintRequest) -> int:
        return 1

    def serves(self, model: str) -> bool:
        return True

    async def close(self) -> None:
        pass

    async def _work(self) -> Usage:
        await asyncio.sleep(self._rng.choice([0, 0, 0.0001, 0.002]))
        cost = self.most * self._rng.random()
        self.owed += cost
        if self._rng.random() < 0.05:
            raise ConnectionError("lost, and billed")
        return Usage(1, 1, 0, cost)

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        usage = await self._work()
        return WriteReply(f"a {request.seed} circle", self.name, usage)

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal:
        return PaintReply(DOT, self.name, await self._work())


def spend_randomly(ask: Ask, folder: Path, seed: int) -> None:
    rng, till = random.Random(seed), Till(seed)
    budget = till.most * rng.uniform(0.5, 25)
    recipe = ask(
        "http://127.0.0.1:9/v1", 30, 0,
        budget_usd=budget, concurrency=rng.choice([1, 2, 7, 20]), hold_out=False,
    )  # fmt: skip
    with pytest.raises(BudgetStop):
        run(recipe, folder, till, till)
    assert till.owed <= budget + 1e-9, f"seed {seed}: ${till.owed} of ${budget}"
    spend = status(folder).spend
    assert spend.cost_usd <= till.owed + 1e-9
    assert till.owed <= spend.cost_usd + spend.uncertain_usd + 1e-9


@pytest.mark.usefixtures("hurry")
def test_no_budget_is_overspent_whatever_prices_and_latencies_are(ask: Ask, tmp_path: Path) -> None:
    for seed in range(12):
        spend_randomly(ask, tmp_path / str(seed), seed)


@pytest.mark.stress
@pytest.mark.usefixtures("hurry")
def test_no_budget_is_overspent_in_a_thousand_runs(ask: Ask, tmp_path: Path) -> None:
    for seed in range(1000):
        spend_randomly(ask, tmp_path / str(seed), seed)


def test_money_set_aside_is_waited_for_before_a_run_is_stopped() -> None:
    async def go() -> list[float]:
        budget, order = Budget(0.10), []

        async def call(cost: float) -> None:
            reserved = await budget.reserve_when_free("x", Price(0.06))
            await asyncio.sleep(0)
            order.append(cost)
            budget.settle(reserved, cost)

        await asyncio.gather(call(0.01), call(0.02), call(0.03))
        with pytest.raises(BudgetStop):
            await budget.reserve_when_free("x", Price(0.06))
        return order

    assert sorted(asyncio.run(go())) == [0.01, 0.02, 0.03]


def sent_before_told(folder: Path, retry_after: float) -> list[float]:
    """How early, in seconds, calls were sent that a server had asked to wait, by what was known here."""
    store = Store(folder)
    try:
        tries = list(store.attempts())
    finally:
        store.close()
    told = [(a.stage, a.started + a.seconds) for a in tries if "HTTP 429" in (a.text or "")]
    assert told
    return [
        until + retry_after - call.started
        for stage, until in told
        for call in tries
        # Limits are a model's: the writer's say nothing about the painter. Two clocks are read a
        # moment apart, so what is heard and sent in one is left out.
        if call.stage == stage and until + 0.005 < call.started < until + retry_after - 0.005
    ]


class Sketchless:
    """Both teachers behind the server, as quick as can be: the server is to measure, not to compute."""

    async def write(self, request: WriteRequest) -> WriteReply:
        return WriteReply(f"a circle {request.seed}", "x")

    async def paint(self, request: PaintRequest) -> PaintReply:
        return PaintReply(DOT, "x")


def under_limit(
    serve: Serve, ask: Ask, wire: ModuleType, folder: Path, enough: Callable[[Any], bool], limit: int,
    window: float = 60.0,
) -> Any:  # fmt: skip
    """Asks a server with a limit as fast as its recipe allows; it says 429 now and then all the same."""
    told: list[int] = []

    def fault(asked: Any) -> Any:
        if asked.number in (limit * 2 + 7, limit * 4 + 7):
            told.append(asked.number)
            return wire.Fault("status", 429, retry_after="1")
        return None

    quick = Sketchless()
    server = serve(limit=limit, window=window, faults=fault, writer=quick, painter=quick)
    # Writer and painter are one server here, so half of its limit is each one's.
    half = {"limits": {"requests": limit // 2}}
    recipe = ask(server.url, 50_000, 0, writer=half, painter=half, concurrency=40, hold_out=False)
    staff = hire(recipe)

    class Enough(Exception):
        pass

    def progress(_tally: object) -> None:
        if enough(server):
            raise Enough

    with pytest.raises(Enough):
        run(recipe, folder, staff.writer, staff.painter, progress)
    assert len(told) == 2
    return server


@pytest.mark.parametrize("api", ["openai", "google"])
def test_a_call_counts_from_when_its_last_byte_was_sent(serve: Serve, ask: Ask, api: str) -> None:
    if api == "google":
        pytest.importorskip("google.genai", reason="needs the extra google")
    server = serve(writer=Sketchless(), painter=Sketchless())
    recipe = ask(server.url, api=api)
    told: list[int] = []

    async def go() -> None:
        staff = hire(recipe)
        for teacher, asked in (
            (staff.writer.write, WriteRequest("hello")),
            (staff.painter.paint, PaintRequest("a circle", (), (1024, 1024))),
        ):
            LEAVING.set(lambda: told.append(len(server.asked)))
            await teacher(asked)  # type: ignore[operator]
        LEAVING.set(None)
        await staff.writer.write(WriteRequest("hello"))
        await staff.writer.close()  # type: ignore[attr-defined]
        await staff.painter.close()  # type: ignore[attr-defined]

    asyncio.run(go())
    assert len(told) == 2, "once a call that is counted, and no other"


def test_nobody_comes_back_before_he_was_told_to(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many at once; how much of a limit is used over minutes is shown in ledger/test_limits.py."""
    monkeypatch.setattr("janus4o.ledger.limits.WINDOW", 0.2)
    monkeypatch.setattr("janus4o.synth.runner.MAX_BARREN", 10**9)
    under_limit(serve, ask, wire, tmp_path, lambda server: len(server.asked) > 110, 20, window=0.1)
    assert sent_before_told(tmp_path, 1.0) == []


@pytest.mark.stress
def test_ten_limited_minutes_over_http_are_used_and_never_exceeded(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("janus4o.synth.runner.MAX_BARREN", 10**9)
    begun, real, out = time.monotonic(), Pace.leaves, {}

    def leaves(self: Pace, call: Call) -> None:
        real(self, call)
        out[id(call)] = call

    monkeypatch.setattr(Pace, "leaves", leaves)
    server = under_limit(
        serve, ask, wire, tmp_path, lambda server: time.monotonic() > begun + 615, 120
    )
    first = server.asked[0].at
    ten = [asked for asked in server.asked if asked.at < first + 600]
    gaps = [b.at - a.at for a, b in zip(server.asked, server.asked[120:], strict=False)]
    sent = sorted(call.sent for call in out.values())
    left = [b - a for a, b in zip(sent, sent[120:], strict=False)]
    sys.stdout.write(
        f"{len(ten)} of 1,200 calls in ten minutes, {server.over} over the limit, "
        f"121 calls at least {min(left):.2f} s apart as they left, {min(gaps):.2f} s as they came\n"
    )
    assert server.over == 0
    assert len(ten) >= 0.97 * 1200, len(ten)
    assert sent_before_told(tmp_path, 1.0) == []
