"""Several workers on one run: the data set one worker would make, and every answer paid for once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text, update

from janus4o.cli.app import main
from janus4o.errors import BudgetStop, DataError, FolderBusy, Interrupted, Refused
from janus4o.ledger import calling, workers
from janus4o.ledger.journal import Sent
from janus4o.ledger.prices import Price
from janus4o.ledger.workers import LEASE_SECONDS, WORKERS
from janus4o.recipe import Recipe
from janus4o.rows import open_rows
from janus4o.synth import runner
from janus4o.synth.fork import fork
from janus4o.synth.fsck import fsck
from janus4o.synth.runner import run
from janus4o.synth.sample import Pipeline, State, name_samples
from janus4o.synth.shared import SharedStore, open_store
from janus4o.synth.status import status
from janus4o.synth.store import Taken

from .conftest import result

Make = Callable[..., Recipe]
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that are soon missed."""
    monkeypatch.setattr(workers, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr(workers, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(runner, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.0)


def start(work: Callable[[], object]) -> int:
    """A forked process that ends with 0, or 5 where it was stopped by the budget."""
    pid = os.fork()
    if pid == 0:
        code = 77
        try:
            work()
            code = 0
        except BudgetStop:
            code = 5
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def taking_time(teacher: type, seconds: float) -> type:
    class Slow(teacher):  # type: ignore[misc]
        async def _hear(self, *request: object) -> bytes:
            await asyncio.sleep(seconds)
            heard: bytes = await super()._hear(*request)
            return heard

    return Slow


def asked_twice(folder: Path) -> int:
    """Calls whose question had been answered already."""
    store = open_store(folder)
    try:
        answers = Counter((a.sample, a.stage) for a in store.attempts() if a.status != "error")
    finally:
        store.close()
    return sum(answers.values()) - len(answers)


@pytest.mark.parametrize("shares", ["drawn", "planned"])
def test_four_workers_make_the_data_set_of_one(
    tmp_path: Path, make_recipe: Make, teacher: type, postgres: str, shares: str, quick: None
) -> None:
    synthesis = {"shares": shares, "editing": {"count": 8, "sources": "rows"}}
    alone, kinds = make_recipe(15, **synthesis), {"few": 2 if shares == "drawn" else 9}
    run(alone, tmp_path / "alone", *(teacher(**kinds) for _ in "wp"))
    together = make_recipe(15, **synthesis, store=postgres)
    slow = taking_time(teacher, 0.002)
    folder = tmp_path / "together"
    pids = [start(lambda: run(together, folder, *(slow(**kinds) for _ in "wp"))) for _ in "1234"]
    assert [wait(pid) for pid in pids] == [0, 0, 0, 0]
    assert result(folder) == result(tmp_path / "alone")
    assert asked_twice(folder) == 0
    found = status(folder)
    assert found.states == status(tmp_path / "alone").states
    assert found.reasons == status(tmp_path / "alone").reasons
    assert found.workers == []
    again = teacher(**kinds)
    run(together, folder, again, again)
    assert again.asked == []


def kill_workers(
    work: Path, recipe: Recipe, teacher: type, kills: int, seconds: float, seed: int
) -> tuple[int, float]:
    """Four workers, one after the other killed and started again, until so many were.

    Returns how many were killed, fewer where the run was finished before, and the longest time, in
    seconds, that a killed worker's samples were kept from others.
    """
    rng = random.Random(seed)
    slow = taking_time(teacher, seconds)

    def begin() -> int:
        return start(lambda: run(recipe, work, *(slow() for _ in "wp")))

    pids = [begin() for _ in range(4)]
    killed: dict[int, float] = {}  # process → when
    longest, done = 0.0, 0
    while pids:
        if done < kills:
            time.sleep(rng.uniform(0.05, 0.5))
            at = rng.randrange(len(pids))
            os.kill(pids[at], signal.SIGKILL)
            if wait(pids[at]) == -signal.SIGKILL:  # not if it had just finished
                killed[pids[at]] = time.monotonic()
                done += 1
            else:
                kills = done
            pids[at] = begin()
        else:
            time.sleep(0.1)
            ended = [pid for pid in pids if os.waitpid(pid, os.WNOHANG)[0]]
            pids = [pid for pid in pids if pid not in ended]
        held = (
            {one.pid for one in status(work).workers if one.leases} if has_tables(work) else set()
        )
        for pid in list(killed):
            if pid not in held:
                longest = max(longest, time.monotonic() - killed.pop(pid))
    return done, longest


def has_tables(folder: Path) -> bool:
    return (folder / "store.json").is_file()


def decided_twice(folder: Path) -> int:
    store = open_store(folder)
    try:
        accepted = [
            one for p in Pipeline for one in store.standings(p) if one.state is State.ACCEPTED
        ]
    finally:
        store.close()
    prints = [one.fingerprint for one in accepted]
    return len(prints) - len(set(prints))


@pytest.mark.usefixtures("quick")
def test_kills_of_workers_change_nothing(
    tmp_path: Path, make_recipe: Make, teacher: type, postgres: str
) -> None:
    run(make_recipe(40, 20), tmp_path / "alone", teacher(), teacher())
    recipe = make_recipe(40, 20, store=postgres)
    kills, _ = kill_workers(tmp_path / "together", recipe, teacher, 4, 0.05, seed=1)
    assert kills > 0
    assert result(tmp_path / "together") == result(tmp_path / "alone")
    assert decided_twice(tmp_path / "together") == 0
    assert status(tmp_path / "together").workers == []


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_kills_of_workers_change_nothing(
    tmp_path: Path, make_recipe: Make, teacher: type, postgres: str, seed: int
) -> None:
    """With leases as they are shipped: the samples of the dead are free within a minute."""
    run(make_recipe(60, 30), tmp_path / "alone", teacher(), teacher())
    recipe = make_recipe(60, 30, store=postgres)
    kills, longest = kill_workers(tmp_path / "together", recipe, teacher, 25, 0.3, seed)
    assert result(tmp_path / "together") == result(tmp_path / "alone")
    assert decided_twice(tmp_path / "together") == 0
    print(f"{kills} kills; a dead worker's samples were free after at most {longest:.1f} s")
    assert kills == 25
    assert longest < 60


@pytest.fixture
def store(tmp_path: Path, postgres: str) -> Iterator[SharedStore]:
    made = open_store(tmp_path, postgres)
    assert isinstance(made, SharedStore)
    made.join()
    yield made
    made.close()


def test_a_worker_that_was_suspended_cannot_change_what_another_decided(
    tmp_path: Path, make_recipe: Make, store: SharedStore
) -> None:
    sample = name_samples(make_recipe()).sample(Pipeline.PROMPT_FIRST, 0)
    other = open_store(tmp_path)
    assert isinstance(other, SharedStore)
    other.join()
    assert store.take(sample) is Taken.NEW
    assert other.take(sample) is Taken.THEIRS
    assert other.look(sample.pipeline, {0}).free == []
    with store._engine.begin() as connection:
        mine = update(WORKERS).where(WORKERS.c.id == store._me.id)
        connection.execute(mine.values(seen=WORKERS.c.seen - LEASE_SECONDS - 1))
    assert list(other.look(sample.pipeline, {0}).free) == [0]
    assert other.take(sample) is Taken.AGAIN
    ended = runner.Standing(sample, State.REFUSED, "theirs")
    other.end([ended])
    with pytest.raises(Interrupted, match="given to others"):
        store.end([replace(ended, reason="mine")])
    with pytest.raises(Interrupted, match="given to others"):  # it pays for nothing more, either
        store.send(Sent(sample.id, "paint", "x", "ab", 0.1, time.time()))
    store.update(runner.Standing(sample, State.PAINTED))  # nor a late word of how far it got
    store._standings = {i: s for i, s in store._standings.items() if s.state is State.PAINTED}
    store.flush()
    store.update(runner.Standing(sample, State.ACCEPTED))  # nor a decision on what is none to take
    store.flush()
    other.close()
    assert list(store.standings(sample.pipeline)) == [ended]


def test_an_answer_outlives_a_database_that_is_restarted(
    make_recipe: Make, store: SharedStore, postgres: str
) -> None:
    sample = name_samples(make_recipe()).sample(Pipeline.PROMPT_FIRST, 0)
    budget = store.budget(1.0)
    reserved = budget.reserve("x", Price(0.02))
    engine = create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        ours = "FROM pg_stat_activity WHERE application_name = 'janus4o'"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {ours}"))
    engine.dispose()
    budget.settle(reserved, 0.01)
    store.send(Sent(sample.id, "paint", "x", "ab", 0.1, time.time()))
    assert budget.spent_usd == pytest.approx(0.01)
    assert store.spend().uncertain_usd == pytest.approx(0.1)  # it was written down as sent


def test_money_that_a_dead_worker_set_aside_is_not_waited_for(
    store: SharedStore, tmp_path: Path
) -> None:
    other = open_store(tmp_path)
    assert isinstance(other, SharedStore)
    other.join()
    other.budget(0.05).reserve("x", Price(0.04))
    with store._engine.begin() as connection:
        theirs = update(WORKERS).where(WORKERS.c.id == other._me.id)
        connection.execute(theirs.values(seen=WORKERS.c.seen - LEASE_SECONDS - 1))
    waiting = store.budget(0.05).reserve_when_free("x", Price(0.04))
    assert asyncio.run(asyncio.wait_for(waiting, 30)) == pytest.approx(0.04)
    other.close()


def test_who_is_to_end_waits_for_no_money(store: SharedStore) -> None:
    async def wait_and_end() -> None:
        stopping = calling.Stopping()
        budget = store.budget(0.05)
        budget.reserve("x", Price(0.04))
        waiting = asyncio.ensure_future(
            budget.reserve_when_free("x", Price(0.04), sleep=stopping.wait)
        )
        await asyncio.sleep(0)
        stopping.set()
        with pytest.raises(Interrupted):
            await asyncio.wait_for(waiting, 30)

    asyncio.run(wait_and_end())


def test_a_reason_holds_what_a_server_said(make_recipe: Make, store: SharedStore) -> None:
    sample = name_samples(make_recipe()).sample(Pipeline.PROMPT_FIRST, 0)
    assert store.take(sample) is Taken.NEW
    store.end([runner.Standing(sample, State.REFUSED, "half \ud83d and \0")])
    (found,) = store.standings(sample.pipeline)
    assert found.reason == "half \\ud83d and \\x00"


def test_a_folder_cannot_name_any_schema(tmp_path: Path, store: SharedStore) -> None:
    place = tmp_path / "store.json"
    place.write_text(place.read_text().replace("janus4o_", "x; DROP TABLE y; "))
    with pytest.raises(DataError, match="schema"):
        open_store(tmp_path)


@pytest.mark.usefixtures("quick")
def test_workers_together_spend_no_more_than_the_budget(
    tmp_path: Path, make_recipe: Make, teacher: type, postgres: str
) -> None:
    class Sold(taking_time(teacher, 0.01)):  # type: ignore[misc]
        def price(self, request: object) -> Price:
            return Price(0.02)

        def tokens(self, request: object) -> int:
            return 10

        def serves(self, model: str) -> bool:
            return True

        async def close(self) -> None:
            pass

    def work() -> None:
        run(recipe, tmp_path, *(Sold(name="sold", cost_usd=0.01) for _ in "wp"))

    recipe = make_recipe(100, 50, budget_usd=0.3, store=postgres)
    pids = [start(work) for _ in "1234"]
    while not has_tables(tmp_path) or status(tmp_path).spend.cost_usd < 0.1:
        time.sleep(0.02)
    os.kill(pids[0], signal.SIGKILL)
    assert [wait(pid) for pid in pids[1:]] == [5, 5, 5]
    spend = status(tmp_path).spend
    assert spend.cost_usd + spend.uncertain_usd <= 0.3 + 1e-9
    assert spend.cost_usd + spend.uncertain_usd > 0.3 - 0.03
    assert asked_twice(tmp_path) == 0


def test_a_sample_that_failed_is_tried_again_by_the_next_run(
    tmp_path: Path, make_recipe: Make, teacher: type, postgres: str, quick: None
) -> None:
    def finish(folder: Path, **more: object) -> Counter[str]:
        recipe = make_recipe(12, 6, **more)
        run(recipe, folder, teacher(breaks=3), teacher(breaks=7))
        failed = Counter(status(folder).reasons)
        run(recipe, folder, teacher(), teacher())
        assert failed["failed: sketch-fake"] > 0
        return failed

    assert finish(tmp_path / "a") == finish(tmp_path / "b", store=postgres)
    assert result(tmp_path / "a") == result(tmp_path / "b")


def test_a_shared_run_can_be_checked_and_forked(
    tmp_path: Path, make_recipe: Make, teacher: type, postgres: str
) -> None:
    folder = tmp_path / "run"
    recipe = make_recipe(6, 3, store=postgres).model_copy(update={"output": str(folder)})
    run(recipe, folder, teacher(), teacher())
    before = result(folder)
    victim = next((folder / "blobs").glob("*/*"))
    assert fsck(folder).findings == ()
    moved, same = fork(recipe, tmp_path / "fork")
    assert same
    victim.unlink()
    kinds = [finding.kind for finding in fsck(folder, repair=True).findings]
    assert kinds == ["missing"]
    again = teacher()
    run(recipe, folder, again, again)
    assert result(folder) == before
    assert 0 < len(again.asked) < 12
    again = teacher()
    run(moved, tmp_path / "fork", again, again)
    assert again.asked == []
    more = make_recipe(8, 3, store=postgres)
    run(more, tmp_path / "fork", again, again)
    assert len(open_rows(tmp_path / "fork")) == 11
    assert result(folder) == before


def test_nobody_repairs_what_others_work_on(tmp_path: Path, store: SharedStore) -> None:
    with pytest.raises(FolderBusy, match=f"in use by worker {os.getpid()} on "):
        fsck(tmp_path)
    assert [one.pid for one in status(tmp_path).workers] == [os.getpid()]


def test_two_folders_in_one_database_know_nothing_of_each_other(
    tmp_path: Path, make_recipe: Make, teacher: type, postgres: str
) -> None:
    run(make_recipe(3, 0, store=postgres), tmp_path / "a", teacher(), teacher())
    run(make_recipe(5, 0, world="rich", store=postgres), tmp_path / "b", teacher(), teacher())
    assert (len(open_rows(tmp_path / "a")), len(open_rows(tmp_path / "b"))) == (3, 5)


# from the command line


def test_every_command_finds_the_database_by_the_folder(
    tmp_path: Path, postgres: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    synth(tmp_path, postgres, capfd)
    assert len(open_rows(folder)) == 2
    assert not (folder / "store.sqlite").exists()
    assert "workers" not in json.loads((folder / "synthesis.json").read_text())
    store = open_store(folder)
    store.join()
    try:
        assert main(["status", str(folder)]) == 0
        said = capfd.readouterr().out
        assert f"{os.getpid()}" in said
        assert f"`janus4o synth {folder}/recipe.yaml` on any machine adds a worker" in said
        assert main(["fsck", str(folder)]) == 4
    finally:
        store.close()
    for words in (["status", "--json"], ["fsck"], ["replay"]):
        capfd.readouterr()
        assert main([*words, str(folder)]) == 0
    assert "the same bytes" in capfd.readouterr().out


# what can be wrong with a database


def synth(folder: Path, store: str, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    recipe = folder / "tiny.yaml"
    recipe.write_text(
        "synthesis: {text_to_image: {count: 2}, editing: {count: 0}}\n"
        f"output: {folder / 'run'}\nstore: {json.dumps(store)}\n"
    )
    code = main(["synth", str(recipe)])
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("synth")]
    assert len(lines) == (code != 0), lines
    return code, "".join(lines)


def test_a_database_that_cannot_be_used_is_one_clear_line(
    tmp_path: Path, postgres: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, said = synth(tmp_path, "postgresql://postgres@127.0.0.1:1/nothing", capfd)
    assert code == 4
    assert "postgresql://127.0.0.1/nothing cannot be used: " in said
    assert "refused" in said
    assert "run the same command again" in said
    assert not list(tmp_path.glob("run/store*"))

    code, said = synth(tmp_path, postgres.replace("/postgres?", "/absent?"), capfd)
    assert code == 4
    assert '"absent" does not exist' in said

    engine = create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE reader LOGIN"))
    engine.dispose()
    code, said = synth(tmp_path, postgres.replace("postgres@", "reader@"), capfd)
    assert code == 4
    assert "permission denied" in said
    assert "must be able to create a schema" in said

    code, said = synth(tmp_path, "postgresql://me:hunter2@host/name", capfd)
    assert code == 3
    assert "PGPASSWORD" in said
    assert "hunter2" not in said


def test_a_store_of_another_version_or_kind_is_refused(
    tmp_path: Path, make_recipe: Make, postgres: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    open_store(folder, postgres).close()
    place = folder / "store.json"
    whole = json.loads(place.read_text())
    place.write_text(json.dumps({**whole, "layout": 99}))
    code, said = synth(tmp_path, postgres, capfd)
    assert code == 4
    assert "layout 99, not 1" in said
    place.write_text(json.dumps({**whole, "schema": "janus4o_gone"}))
    code, said = synth(tmp_path, postgres, capfd)
    assert code == 3
    assert "tables of this run ('janus4o_gone') are not whole" in said
    place.write_text("{}")
    code, said = synth(tmp_path, postgres, capfd)
    assert code == 3
    assert "does not say where" in said
    place.unlink()
    open_store(folder).close()
    with pytest.raises(Refused, match=r"in its store\.sqlite"):
        open_store(folder, postgres)
