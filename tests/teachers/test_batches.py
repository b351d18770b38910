"""Asking by the batch: half the price, the same rows, and no batch made twice whatever is killed when."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from janus4o.cli.teachers import hire
from janus4o.errors import BudgetStop, Interrupted, RecipeError, Refused
from janus4o.ledger import workers
from janus4o.recipe import Recipe
from janus4o.synth.plan import plan
from janus4o.synth.runner import Outcome, run
from janus4o.synth.shared import open_store
from janus4o.synth.status import status
from janus4o.synth.store import Store
from janus4o.teachers.openai import OpenAIPainter, OpenAIWriter

from .conftest import CANARY, served
from .test_synth_over_http import result

Ask = Callable[..., Recipe]
Serve = Callable[..., Any]
BATCH = {"batch": True}
all_of_it = pytest.mark.stress
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("janus4o.synth.batches.QUIET_SECONDS", 0.05)
    monkeypatch.setattr("janus4o.synth.batches.FIRST_LOOK", 0.01)
    monkeypatch.setattr("janus4o.synth.batches.LONGEST_LOOK", 0.02)
    monkeypatch.setattr("janus4o.teachers.openai.BUSY_SECONDS", 0.05)


def make(recipe: Recipe, folder: Path) -> Outcome:
    staff = hire(recipe)
    return run(recipe, folder, staff.writer, staff.painter, inspector=staff.inspector)


@pytest.fixture
def batched(ask: Ask) -> Callable[..., Recipe]:
    def make_recipe(url: str, *counts: int, **more: Any) -> Recipe:
        more = {"concurrency": 12, "hold_out": False, "writer": BATCH, "painter": BATCH, **more}
        return ask(url, *counts, **more)

    return make_recipe


@pytest.fixture(scope="module")
def expected(
    wire: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tuple[bytes, list[bytes]], Outcome]:
    """What the run gives when it is asked one by one."""
    folder = tmp_path_factory.mktemp("direct")
    with wire.FaultServer().running() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("JANUS4O_TEST_KEY", CANARY)
        outcome = make(served(server.url, 8, 4, hold_out=False), folder)
    return result(folder), outcome


def requests(server: Any) -> Counter[str]:
    """How often each request went into a batch."""
    return Counter(line["custom_id"] for batch in server.batches for line in batch.lines)


def test_the_same_rows_for_half_the_price(
    serve: Serve, batched: Ask, expected: tuple[Any, Outcome], tmp_path: Path
) -> None:
    server = serve()
    outcome = make(batched(server.url, 8, 4), tmp_path / "run")
    assert result(tmp_path / "run") == expected[0]
    assert outcome.spend.cost_usd == pytest.approx(server.billed_usd)
    assert outcome.spend.cost_usd < 0.75 * expected[1].spend.cost_usd, "edits cost the whole price"
    assert outcome.spend.waiting == outcome.spend.uncertain == 0
    direct = {asked.path for asked in server.asked if asked.key and "/batches" not in asked.path}
    assert not any(path.startswith("/v1/chat") for path in direct)
    assert "/v1/images/edits" in direct
    assert max(requests(server).values()) == 1
    assert len(server.batches) < 14, "calls are gathered"
    assert [batch.status for batch in status(tmp_path / "run").batches] == ["completed"] * len(
        server.batches
    )
    assert not (tmp_path / "run" / "batches").exists(), "what was taken over is not kept twice"


def test_what_a_batch_leaves_out_goes_into_another(
    serve: Serve, batched: Ask, wire: ModuleType, expected: tuple[Any, Outcome], tmp_path: Path
) -> None:
    rng = random.Random(1)
    kinds = ["none", "status", "missing", ""]
    told: set[str] = set()

    def fault(asked: Any) -> Any:
        if asked.path == "/v1/batches" and asked.fields["method"] == "POST":
            server.ends = "expired" if len(server.batches) in (0, 3) else "completed"
        name = (
            f"{asked.fields.get('prompt')}{asked.fields.get('messages')}{asked.fields.get('seed')}"
        )
        if asked.key or name in told:  # of a batch's lines, each only once
            return None
        told.add(name)
        kind = rng.choice(kinds)
        return wire.Fault(kind, rng.choice([429, 500, 503])) if kind else None

    server = serve(faults=fault)
    outcome = make(batched(server.url, 8, 4), tmp_path / "run")
    assert result(tmp_path / "run") == expected[0]
    texts = [a.text or "" for a in attempts(tmp_path / "run") if a.status == "error"]
    for words in (
        "batch_expired: not in time",
        "HTTP 503",
        "instead of one",
        "without this answer",
    ):
        assert any(words in text for text in texts), words
    lost = sum("completed without this answer" in text for text in texts)
    assert outcome.spend.uncertain == lost, "what a completed batch does not answer may be billed"
    assert outcome.spend.cost_usd <= server.billed_usd + 1e-9
    assert outcome.spend.waiting == 0


def attempts(folder: Path) -> list[Any]:
    store = open_store(folder)
    try:
        return list(store.attempts())
    finally:
        store.close()


def test_refusals_in_a_batch_are_refusals(
    serve: Serve, batched: Ask, wire: ModuleType, tmp_path: Path
) -> None:
    def fault(asked: Any) -> Any:
        seed = int(asked.fields.get("seed") or 0)
        return wire.Fault("refusal") if not asked.key and seed % 3 == 0 else None

    server = serve(faults=fault)
    make(batched(server.url, 8, 0), tmp_path)
    reasons = status(tmp_path).reasons
    assert reasons["refused: refused"] > 0
    assert reasons["refused: moderation/fun"] > 0
    assert max(requests(server).values()) == 1


STEPS = {
    (OpenAIWriter, "upload"): all_of_it, (OpenAIWriter, "create"): (), (OpenAIPainter, "create"): all_of_it,
    (OpenAIWriter, "look"): all_of_it, (OpenAIPainter, "look"): (), (Store, "begin_batch"): (),
    (Store, "note_batch"): (), (Store, "record"): all_of_it,
}  # fmt: skip
POINTS = [
    pytest.param(owner, name, when, marks=marks, id=f"{owner.__name__} {name} {when}")
    for (owner, name), marks in STEPS.items()
    for when in ("before", "after")
]


def die_at(owner: type, name: str, when: str, count: int) -> None:
    """Makes this process die at the `count`-th call of a method."""
    real, left = getattr(owner, name), [count]

    def dies(at: str) -> None:
        if at == when:
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)

    def plain(*args: Any) -> Any:
        dies("before")
        out = real(*args)
        dies("after")
        return out

    async def waited(*args: Any) -> Any:
        dies("before")
        out = await real(*args)
        dies("after")
        return out

    setattr(owner, name, plain if owner is Store else waited)


def fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until_a_batch_is_out(server: Any, work: Callable[[], Any]) -> int:
    """A child that works, and waits for a batch which the server has."""
    pid = fork(work)
    while not server.batches:
        time.sleep(0.01)
    time.sleep(0.3)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    code_of(pid)


def check_whole(server: Any, folder: Path, rows: Any, calls: int) -> None:
    """Nothing is lost, nothing was made or paid twice, every cent is known."""
    assert result(folder) == rows
    assert max(requests(server).values()) == 1, "something went into two batches"
    spend = status(folder).spend
    # Edits are asked one by one: of those, calls in flight may be repeated and are listed.
    assert sum(server.billed.values()) - calls <= spend.uncertain <= 12
    assert spend.waiting == 0
    assert spend.cost_usd <= server.billed_usd + 1e-9
    if spend.uncertain == 0:
        assert spend.cost_usd == pytest.approx(server.billed_usd)


@pytest.mark.parametrize(("owner", "name", "when"), POINTS)
def test_killed_at_any_step_no_batch_is_made_twice(
    serve: Serve, batched: Ask, expected: tuple[Any, Outcome], tmp_path: Path, owner: type,
    name: str, when: str,
) -> None:  # fmt: skip
    server = serve()
    recipe, folder = batched(server.url, 8, 4, budget_usd=5.0), tmp_path / "run"
    for count in (1, 2):

        def work(count: int = count) -> None:
            die_at(owner, name, when, count)
            make(recipe, folder)

        code = code_of(fork(work))
        assert code == 9 or (code, count) == (0, 2), "it may have been done before"
    make(recipe, folder)
    check_whole(server, folder, expected[0], expected[1].spend.calls)


@pytest.mark.parametrize("kills", [4, pytest.param(40, marks=all_of_it)])
def test_kills_at_random_instants_make_nothing_twice(
    serve: Serve, batched: Ask, expected: tuple[Any, Outcome], tmp_path: Path, kills: int
) -> None:
    rng, done, turn = random.Random(7), 0, 0
    while done < kills:
        server, folder, turn = serve(looks=4), tmp_path / f"run{turn}", turn + 1
        recipe = batched(server.url, 8, 4)
        for _ in range(4):
            pid = fork(lambda: make(recipe, folder))  # noqa: B023
            time.sleep(rng.uniform(0.1, 0.9))
            os.kill(pid, signal.SIGKILL)
            done += code_of(pid) == -signal.SIGKILL
        make(recipe, folder)
        check_whole(server, folder, expected[0], expected[1].spend.calls)


@pytest.mark.parametrize("kind", ["reset", "status"])
def test_a_batch_whose_making_was_not_answered_is_searched_for(
    serve: Serve, batched: Ask, wire: ModuleType, expected: tuple[Any, Outcome], tmp_path: Path,
    kind: str,
) -> None:  # fmt: skip
    made = 0

    def fault(asked: Any) -> Any:
        nonlocal made
        if asked.path == "/v1/batches" and asked.fields["method"] == "POST":
            made += 1
            return wire.Fault(kind, 503) if made in (1, 2) else None
        return None

    server = serve(faults=fault)
    outcome = make(batched(server.url, 8, 4), tmp_path / "run")
    assert result(tmp_path / "run") == expected[0]
    assert max(requests(server).values()) == 1
    assert outcome.spend.cost_usd == pytest.approx(server.billed_usd)
    assert outcome.spend.uncertain == 0


def test_half_a_file_is_fetched_again(
    serve: Serve, batched: Ask, wire: ModuleType, expected: tuple[Any, Outcome], tmp_path: Path
) -> None:
    seen: Counter[str] = Counter()

    def fault(asked: Any) -> Any:
        seen[asked.path] += asked.path.endswith("/content")
        return wire.Fault("truncate") if seen[asked.path] == 1 else None

    server = serve(faults=fault)
    make(batched(server.url, 8, 4), tmp_path / "run")
    assert result(tmp_path / "run") == expected[0]
    assert max(seen.values()) == 2


def test_money_waits_with_its_batch(
    serve: Serve, batched: Ask, expected: tuple[Any, Outcome], tmp_path: Path
) -> None:
    server = serve(looks=10**9)
    recipe, folder = batched(server.url, 8, 4, budget_usd=0.6), tmp_path / "run"
    kill(until_a_batch_is_out(server, lambda: make(recipe, folder)))
    spend = status(folder).spend
    assert spend.waiting == len(server.batches[0].lines)
    assert 0 < spend.waiting_usd < 0.6
    assert (spend.cost_usd, spend.uncertain) == (0.0, 0)
    server.looks = 2
    server.batches[0].looks = 1
    make(batched(server.url, 8, 4, budget_usd=0.6), folder)
    assert result(folder) == expected[0]
    spend = status(folder).spend
    assert spend.waiting == spend.uncertain == 0
    assert spend.cost_usd == pytest.approx(server.billed_usd)
    with pytest.raises(BudgetStop):
        make(batched(server.url, 8, 4, budget_usd=0.01), tmp_path / "poor")
    assert status(tmp_path / "poor").spend.cost_usd <= 0.01


def test_switching_batches_off_still_waits_for_those_that_are_out(
    serve: Serve, batched: Ask, ask: Ask, expected: tuple[Any, Outcome], tmp_path: Path
) -> None:
    server = serve(looks=10**9)
    kill(until_a_batch_is_out(server, lambda: make(batched(server.url, 8, 4), tmp_path / "run")))
    server.batches[0].looks = 2
    outcome = make(ask(server.url, 8, 4, hold_out=False, concurrency=12), tmp_path / "run")
    assert len(server.batches) == 1
    assert result(tmp_path / "run") == expected[0]
    assert outcome.spend.uncertain == outcome.spend.waiting == 0
    assert sum(server.billed.values()) == expected[1].spend.calls


@pytest.mark.parametrize(
    ("ends", "why", "error", "says"),
    [
        ("failed", "model_not_found", Refused, "failed: model_not_found: made to fail"),
        ("cancelled", "", BudgetStop, "was cancelled"),
    ],
)
def test_a_batch_that_fails_ends_the_run_with_its_reason(
    serve: Serve, batched: Ask, expected: tuple[Any, Outcome], tmp_path: Path, ends: str, why: str,
    error: type, says: str,
) -> None:  # fmt: skip
    server = serve(ends=ends, why=why)
    with pytest.raises(error, match=says):
        make(batched(server.url, 8, 4), tmp_path / "run")
    assert len(server.batches) <= 2
    server.ends, server.why = "completed", ""
    outcome = make(batched(server.url, 8, 4), tmp_path / "run")
    assert result(tmp_path / "run") == expected[0]
    assert outcome.spend.cost_usd == pytest.approx(server.billed_usd)


def test_a_server_without_batches_is_said_to_have_none(
    serve: Serve, batched: Ask, wire: ModuleType, tmp_path: Path
) -> None:
    def fault(asked: Any) -> Any:
        return wire.Fault("status", 404) if asked.path.startswith("/v1/files") else None

    server = serve(faults=fault)
    with pytest.raises(Refused, match="takes no batch: no Batch API here"):
        make(batched(server.url, 4, 0), tmp_path)
    assert status(tmp_path).spend.uncertain == 0


@pytest.mark.parametrize("what", ["batches", "files"])
def test_what_the_server_no_longer_has_is_asked_for_again_and_listed(
    serve: Serve, batched: Ask, expected: tuple[Any, Outcome], tmp_path: Path, what: str
) -> None:
    server = serve(looks=10**9)
    kill(until_a_batch_is_out(server, lambda: make(batched(server.url, 8, 4), tmp_path / "run")))
    lost, server.looks = len(server.batches[0].lines), 2
    if what == "batches":
        server.batches[0].id = "batch_of_somebody_else"
    else:
        server.batches[0].status, server.batches[0].output = "completed", "file-gone"
        server.batches[0].looks = 0
    make(batched(server.url, 8, 4), tmp_path / "run")
    assert result(tmp_path / "run") == expected[0]
    assert status(tmp_path / "run").spend.uncertain == lost


def test_a_full_queue_is_waited_for(
    serve: Serve, batched: Ask, expected: tuple[Any, Outcome], tmp_path: Path
) -> None:
    server = serve(ends="failed", why="token_limit_exceeded")

    def fault(asked: Any) -> Any:
        if len(server.batches) >= 2:
            server.ends, server.why = "completed", ""

    server.faults = fault
    make(batched(server.url, 8, 4), tmp_path / "run")
    assert result(tmp_path / "run") == expected[0]
    assert [batch.status for batch in server.batches][:2] == ["failed", "failed"]


def test_a_stop_does_not_wait_for_a_batch(
    serve: Serve, batched: Ask, expected: tuple[Any, Outcome], tmp_path: Path
) -> None:
    server = serve(looks=10**9)

    def work() -> None:
        try:
            make(batched(server.url, 8, 4), tmp_path / "run")
        except Interrupted:
            os._exit(6)

    pid = until_a_batch_is_out(server, work)
    begun = time.monotonic()
    os.kill(pid, signal.SIGINT)
    assert code_of(pid) == 6
    assert time.monotonic() - begun < 5.0
    assert status(tmp_path / "run").spend.waiting == len(server.batches[0].lines)
    for batch in server.batches:
        batch.looks = 1
    server.looks = 1
    make(batched(server.url, 8, 4), tmp_path / "run")
    assert result(tmp_path / "run") == expected[0]
    assert max(requests(server).values()) == 1


def test_a_plan_by_the_batch_is_cheaper_and_slower(ask: Ask) -> None:
    def reckon(**more: Any) -> Any:
        recipe = ask("http://127.0.0.1:9/v1", 100, 0, **more)
        staff = hire(recipe, asking=False)
        return plan(recipe, staff.writer, staff.painter, staff.inspector)

    one, other = reckon(), reckon(writer=BATCH, painter=BATCH, concurrency=100)
    assert other.cost_usd == pytest.approx(one.cost_usd / 2)
    assert other.seconds == 2 * 24 * 3600
    with pytest.raises(RecipeError, match="asked of api: openai only"):
        ask("http://127.0.0.1:9/v1", api="google", writer=BATCH)


def test_a_batch_of_a_worker_that_died_is_taken_over_by_another(
    serve: Serve,
    batched: Ask,
    expected: tuple[Any, Outcome],
    tmp_path: Path,
    postgres: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr(workers, "BEAT_SECONDS", 0.2)
    server, folder = serve(looks=10**9), tmp_path / "run"
    recipe = batched(server.url, 8, 4).model_copy(update={"store": postgres})
    pid = os.fork()
    if pid == 0:
        make(recipe, folder)
        os._exit(0)
    while not (folder / "store.json").exists() or not status(folder).spend.waiting:
        time.sleep(0.01)
    other = os.fork()  # it knows nothing of that batch, and finds its samples taken
    if other == 0:
        code = 1
        try:
            make(recipe, folder)
            code = 0
        finally:
            os._exit(code)
    while len(status(folder).workers) < 2:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    server.looks = 2
    server.batches[0].looks = 1
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0
    assert result(folder) == expected[0]
    assert max(requests(server).values()) == 1, "nothing was asked twice"
    assert status(folder).spend.waiting == 0
