"""`janus4o synth` over HTTP: real client code, real pictures, every fault, every cent."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from janus4o.cli import app
from janus4o.cli.teachers import hire
from janus4o.errors import BudgetStop, Refused
from janus4o.recipe import Recipe
from janus4o.rows import open_rows
from janus4o.synth.runner import Outcome, run
from janus4o.synth.status import status
from janus4o.synth.store import Store

Ask = Callable[..., Recipe]
Serve = Callable[..., Any]
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def make(recipe: Recipe, folder: Path, **options: Any) -> Outcome:
    staff = hire(recipe)
    return run(recipe, folder, staff.writer, staff.painter, inspector=staff.inspector, **options)


def result(folder: Path) -> tuple[bytes, list[bytes]]:
    rows = open_rows(folder)
    assert rows.problems == ()
    names = sorted({name for row in rows for name in (*row.input_image, row.output_image)})
    return (folder / "dataset" / "rows.jsonl").read_bytes(), [rows.read(name) for name in names]


def test_the_command_line_makes_a_data_set_over_http(
    serve: Serve, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve()
    recipe = ask(server.url, 6, 4).model_dump(mode="json")
    path = tmp_path / "served.yaml"
    path.write_text(yaml.safe_dump({**recipe, "output": str(tmp_path / "run")}))
    assert app.main(["synth", str(path), "--budget", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["accepted"] == {"prompt_first": 6, "editing": 4}
    assert said["spend"]["cost_usd"] == pytest.approx(server.billed_usd)
    assert said["spend"]["calls"] == sum(server.billed.values())
    assert said["spend"]["uncertain"] == 0
    rows = open_rows(tmp_path / "run")
    assert len(rows) == 10
    for row in rows:  # the inspector looked at every picture: they show what was asked for
        assert row.provenance is not None
        assert row.provenance.painter == "brush-1"
        assert row.provenance.writer == "scribe-1-2026-01-01"
    assert {asked.path for asked in server.asked} == {
        "/v1/chat/completions", "/v1/images/generations", "/v1/images/edits"
    }  # fmt: skip


MIXED = (
    [("status", 429)] * 3 + [("status", 500), ("status", 503), ("status", 502), ("reset", 0)]
    + [("truncate", 0), ("garbage", 0), ("html", 0), ("none", 0), ("two", 0)]
)  # fmt: skip


def storm(wire: ModuleType, share: float, seed: int) -> Callable[[Any], Any]:
    """Faults of every kind, each request's first and second try at the most."""
    rng, tries = random.Random(seed), {}

    def fault(asked: Any) -> Any:
        key = json.dumps([asked.path, asked.fields.get("prompt") or asked.fields["messages"]],
                         default=str) + str(asked.fields.get("seed"))  # fmt: skip
        tries[key] = tries.get(key, 0) + 1
        if tries[key] > 2 or rng.random() > share:
            return None
        kind, code = rng.choice(MIXED)
        return wire.Fault(kind, code, retry_after="0.01" if code == 429 else None)

    return fault


def test_faults_of_every_kind_change_no_row(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path
) -> None:
    calm = serve()
    make(ask(calm.url, 12, 8), tmp_path / "calm")
    rough = serve(faults=storm(wire, 0.6, 1))
    outcome = make(ask(rough.url, 12, 8), tmp_path / "rough")
    assert result(tmp_path / "calm") == result(tmp_path / "rough")
    assert outcome.spend.errors > 10
    # What was answered is paid exactly; what may have been billed besides is bounded and listed.
    spend = outcome.spend
    assert spend.cost_usd <= rough.billed_usd + 1e-9
    assert spend.uncertain > 0
    assert rough.early == 0


def test_spend_is_what_the_server_billed_where_every_bill_came_with_an_answer(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path
) -> None:
    counted = storm(wire, 0.5, 2)

    def fault(asked: Any) -> Any:
        found = counted(asked)
        return found if found is None or found.kind in ("none", "two", "status") else None

    server = serve(faults=fault)
    outcome = make(ask(server.url, 10, 6), tmp_path)
    assert outcome.spend.errors > 5
    assert outcome.spend.cost_usd == pytest.approx(server.billed_usd)


def test_refusals_are_counted_by_category_and_never_asked_again(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path
) -> None:
    def fault(asked: Any) -> Any:
        seed = int(asked.fields.get("seed") or 0)
        return wire.Fault("refusal") if seed % 3 == 0 else None

    server = serve(faults=fault)
    make(ask(server.url, 8, 4), tmp_path)
    found = status(tmp_path)
    assert found.reasons["refused: refused"] > 0
    assert found.reasons["refused: moderation/fun"] > 0
    sent = [(a.path, a.fields.get("seed"), str(a.fields.get("messages"))) for a in server.asked]
    assert len(sent) == len(set(sent)), "something was asked twice"


@pytest.mark.parametrize(
    ("code", "name", "error"),
    [(401, None, Refused), (429, "insufficient_quota", BudgetStop), (404, None, Refused)],
)
def test_a_server_that_cannot_be_asked_any_more_stops_the_run_at_once(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path, code: int, name: str, error: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("janus4o.synth.runner.GONE_SECONDS", 0.3)
    calm = serve()
    expected = make(ask(calm.url, 6, 0), tmp_path / "calm")
    gone = [False]

    def fault(asked: Any) -> Any:
        if asked.number < 7 or not gone[0]:
            gone[0] = asked.number >= 6
            # One that is still out when the others are told: it must not hold up the end.
            return wire.Fault("hang") if asked.number == 6 else None
        return wire.Fault("status", code, name)

    server = serve(faults=fault)
    begun = time.monotonic()
    with pytest.raises(error):
        make(
            ask(server.url, 6, 0, writer={"timeout": 60.0}, painter={"timeout": 60.0}),
            tmp_path / "a",
        )
    assert time.monotonic() - begun < 5.0
    asked = len(server.asked)
    assert asked < 20
    assert status(tmp_path / "a").spend.uncertain == 1  # the one that hung
    server.faults = lambda asked: None
    make(ask(server.url, 6, 0), tmp_path / "a")
    assert result(tmp_path / "a") == result(tmp_path / "calm")
    repeated = len(server.asked) - expected.spend.calls
    assert repeated <= 4 + 4, "more was asked again than was in flight and refused"


def test_another_model_under_the_same_name_stops_this_run_and_the_next(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path
) -> None:
    server = serve(faults=lambda asked: wire.Fault("drift") if asked.number > 8 else None)
    with pytest.raises(Refused, match=r"answers as 'other-9', not as '(scribe|brush)-1"):
        make(ask(server.url, 8, 0), tmp_path)
    asked = len(server.asked)
    with pytest.raises(Refused, match="other-9"):
        make(ask(server.url, 8, 0), tmp_path)
    assert len(server.asked) - asked <= 4
    server.faults = lambda asked: None
    make(ask(server.url, 8, 0), tmp_path)
    assert "other-9" not in (tmp_path / "dataset" / "rows.jsonl").read_text()


def test_a_model_that_is_not_the_one_asked_for_is_never_used(
    serve: Serve, ask: Ask, tmp_path: Path
) -> None:
    server = serve(chat_model="gemini-3.8-flash")
    with pytest.raises(Refused, match=r"'scribe-1' answers as 'gemini-3\.8-flash'"):
        make(ask(server.url, 3, 0), tmp_path)
    make(ask(server.url, 3, 0, writer={"served": "gemini-3.8-flash"}), tmp_path)


def test_money_is_a_hard_limit_and_the_run_goes_on_with_more(
    serve: Serve, ask: Ask, tmp_path: Path
) -> None:
    calm = serve()
    whole = make(ask(calm.url, 8, 4), tmp_path / "calm")
    half = whole.spend.cost_usd / 2 + 0.03
    server = serve()
    for _ in range(2):
        with pytest.raises(BudgetStop, match="over the budget"):
            make(ask(server.url, 8, 4, budget_usd=half), tmp_path / "a")
        assert 0.02 < server.billed_usd <= half
        assert status(tmp_path / "a").spend.cost_usd == pytest.approx(server.billed_usd)
    make(ask(server.url, 8, 4, budget_usd=10.0), tmp_path / "a")
    assert result(tmp_path / "a") == result(tmp_path / "calm")
    assert server.billed_usd == pytest.approx(whole.spend.cost_usd)


def test_a_model_without_a_price_is_refused_under_a_budget_before_a_call(
    serve: Serve, ask: Ask, tmp_path: Path
) -> None:
    server = serve()
    with pytest.raises(Refused, match="price of 'scribe-1' is unknown"):
        make(ask(server.url, budget_usd=1.0, writer={"price": None}), tmp_path)
    assert server.asked == []


@pytest.mark.parametrize("kills", [4, pytest.param(200, marks=pytest.mark.stress)])
def test_kills_lose_nothing_and_what_they_may_have_cost_is_listed(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path, kills: int
) -> None:
    calm, in_flight = serve(), 4
    make(ask(calm.url, 16, 8), tmp_path / "calm")
    expected, calls = result(tmp_path / "calm"), sum(calm.billed.values())
    rng, done, twice = random.Random(3), 0, 0
    while done < kills:
        server = serve(faults=lambda asked: wire.Fault(delay=0.05))
        recipe, folder, killed = ask(server.url, 16, 8, budget_usd=9.0), tmp_path / f"at{done}", 0
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                try:
                    make(recipe, folder)
                finally:
                    os._exit(0)
            time.sleep(rng.uniform(0.1, 0.6))
            os.kill(pid, signal.SIGKILL)
            killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        outcome = make(recipe, folder)
        assert result(folder) == expected
        repeats = sum(server.billed.values()) - calls
        assert repeats <= in_flight * killed, "more calls were repeated than were in flight"
        spend = outcome.spend
        store = Store(folder)
        doubtful, answered = store.uncertain(), [a for a in store.attempts() if a.status == "ok"]
        store.close()
        one_each = {(a.sample, a.stage) for a in answered}
        assert len(one_each) == len(answered), "an answer was paid for twice"
        assert len(doubtful) == spend.uncertain >= repeats
        most = spend.cost_usd + spend.uncertain_usd
        assert spend.cost_usd <= server.billed_usd + 1e-9 <= most + 2e-9
        done, twice = done + killed, twice + repeats
    sys.stdout.write(f"{done} kills, {twice} calls repeated, nothing lost, nothing doubled\n")


def test_every_call_is_on_disk_before_it_is_sent(
    serve: Serve, ask: Ask, tmp_path: Path, wire: ModuleType
) -> None:
    early: list[int] = []

    def look(asked: Any) -> None:
        with sqlite3.connect(f"file:{tmp_path / 'store.sqlite'}?mode=ro", uri=True) as database:
            (count,) = database.execute("select count(*) from sent").fetchone()
        early.append(count - len(server.asked))
        database.close()

    server = serve(faults=look)
    make(ask(server.url, 4, 2), tmp_path)
    assert len(early) > 10
    assert min(early) >= 0, "a call was sent that no journal knows of"


def test_the_key_is_nowhere(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path, canary: str,
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JANUS4O_TRACEBACK", "0")
    faults = ["echo_key", "reset", "garbage", "status"]

    def fault(asked: Any) -> Any:
        kind = faults[asked.number % 5] if asked.number % 5 < 4 else ""
        return wire.Fault(kind, 500, message=f"failed for {asked.key}")

    server = serve(faults=fault)
    recipe = ask(server.url, 3, 2).model_dump(mode="json")
    path = tmp_path / "served.yaml"
    path.write_text(yaml.safe_dump({**recipe, "output": str(tmp_path / "run")}))
    for _ in range(3):
        app.main(["synth", str(path), "--json"])
    server.faults = lambda asked: wire.Fault("status", 401, message=f"no such key {asked.key}")
    assert app.main(["synth", str(path), "synthesis.editing.count=9"]) == Refused.exit_code
    app.main(["status", str(tmp_path / "run")])
    app.main(["report", str(tmp_path / "run")])
    out, err = capfd.readouterr()
    assert "[key]" in err
    assert canary not in out + err + caplog.text
    files = [found for found in tmp_path.rglob("*") if found.is_file()]
    assert len(files) > 5
    for found in files:
        assert canary.encode() not in found.read_bytes(), found


def test_a_limit_is_kept(
    serve: Serve, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of a second here; `ledger/test_limits.py` holds the law over minutes of its own."""
    monkeypatch.setattr("janus4o.ledger.limits.WINDOW", 1.0)
    server = serve(limit=40, window=1.0)
    make(ask(server.url, 25, 0, limits={"requests": 20}, concurrency=16), tmp_path)
    assert server.over == 0


def test_nobody_comes_back_before_the_time(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path
) -> None:
    def fault(asked: Any) -> Any:
        if asked.number in (9, 21):
            return wire.Fault("status", 429, retry_after="0.5")
        return None

    server = serve(faults=fault)
    # One at a time: what was under way when the answer left is nobody's fault.
    make(ask(server.url, 12, 0, concurrency=1), tmp_path)
    assert server.early == 0
    assert status(tmp_path).spend.errors == 2


def test_no_more_at_once_than_the_recipe_says(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path
) -> None:
    server = serve(faults=lambda asked: wire.Fault(delay=0.02))
    make(ask(server.url, 12, 0, concurrency=3), tmp_path / "a")
    assert 1 < server.most_at_once <= 3
