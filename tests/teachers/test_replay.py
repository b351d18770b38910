"""A finished run is made again from its own record: the same bytes, nobody asked."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from janus4o.cli import app
from janus4o.errors import BudgetStop, DataError, Refused
from janus4o.recipe import Recipe
from janus4o.rows import open_rows, pictures_of
from janus4o.synth.status import status

Ask = Callable[..., Recipe]
Serve = Callable[..., Any]


def synth(recipe: Recipe, tmp_path: Path, *words: str) -> int:
    path = tmp_path / "served.yaml"
    data = {**recipe.model_dump(mode="json"), "output": str(tmp_path / "run")}
    path.write_text(yaml.safe_dump(data))
    return app.main(["synth", str(path), *words])


@pytest.fixture
def recorded(
    serve: Serve, ask: Ask, wire: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Any]:
    """A run in which some things were refused and some never answered; nobody serves any more."""
    monkeypatch.setattr("janus4o.ledger.patience.LONGEST_PAUSE", 0.01)

    def fault(asked: Any) -> Any:
        seed = int(asked.fields.get("seed") or 0)
        if seed % 11 == 3:
            return wire.Fault("status", 500)
        return wire.Fault("refusal") if seed % 7 == 3 else None

    server = serve(faults=fault)
    assert synth(ask(server.url, 10, 6, budget_usd=2.0, limits={"requests": 600}), tmp_path) == 0
    monkeypatch.delenv("JANUS4O_TEST_KEY")
    return tmp_path / "run", server


def test_a_replay_gives_the_same_bytes_and_asks_nobody(
    recorded: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, server = recorded
    reasons = status(folder).reasons
    assert any(reason.startswith("refused") for reason in reasons)
    assert any(reason.startswith("failed") for reason in reasons)
    asked, before = len(server.asked), (folder / "store.sqlite").read_bytes()
    capsys.readouterr()
    assert app.main(["replay", str(folder), "--out", str(tmp_path / "again"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["same"] is True
    assert said["rows"] == 16
    assert len(server.asked) == asked
    ours, theirs = open_rows(folder), open_rows(tmp_path / "again")
    assert ours.problems == theirs.problems == ()
    assert [row.to_json() for row in ours] == [row.to_json() for row in theirs]
    for row in ours:
        for name in pictures_of(row):
            assert ours.read(name) == theirs.read(name)
    spend = status(tmp_path / "again").spend
    assert spend.cost_usd == 0.0
    assert spend.uncertain == 0
    assert spend.output_tokens > 0, "what the replies used is kept"
    assert (folder / "store.sqlite").read_bytes() == before
    beside = set(tmp_path.iterdir())
    assert app.main(["replay", str(folder)]) == 0
    assert "the same bytes" in capsys.readouterr().out
    assert set(tmp_path.iterdir()) == beside, "nothing is kept where nothing was asked for"


def test_a_reply_that_is_not_recorded_is_named(
    recorded: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = recorded
    kept = open_rows(folder)[0].provenance
    assert kept is not None
    with sqlite3.connect(folder / "store.sqlite") as database:
        (lost,) = database.execute(
            "select request from attempts where sample = ? and stage = 'paint'", (kept.id,)
        ).fetchone()
        database.execute("delete from attempts where request = ?", (lost,))
    database.close()
    assert app.main(["replay", str(folder)]) == DataError.exit_code
    said = capsys.readouterr().err
    assert f"has no reply to request {lost[:12]} ('" in said
    assert open_rows(folder)[0].input_prompt[:40] in said


def test_a_lost_picture_is_named(
    recorded: tuple[Path, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = recorded
    name = open_rows(folder)[0].output_image
    (folder / "blobs" / name[:2] / name).unlink()
    assert app.main(["replay", str(folder)]) == DataError.exit_code
    assert f"picture {name} of" in capsys.readouterr().err


def test_rows_that_come_out_otherwise_are_named(
    recorded: tuple[Path, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = recorded
    path = folder / "dataset" / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2]["input_prompt"] += " indeed"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert app.main(["replay", str(folder)]) == DataError.exit_code
    assert "row 3: input_prompt" in capsys.readouterr().err


def test_an_unfinished_run_and_no_run_are_refused(
    serve: Serve, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve()
    assert synth(ask(server.url, 6, 0), tmp_path, "--limit", "2") == BudgetStop.exit_code
    assert app.main(["replay", str(tmp_path / "run")]) == Refused.exit_code
    assert "not finished" in capsys.readouterr().err
    assert app.main(["replay", str(tmp_path)]) == DataError.exit_code
    assert synth(ask(server.url, 6, 0), tmp_path) == 0
    assert app.main(["replay", str(tmp_path / "run"), "--out", str(tmp_path / "run")]) == 3


def test_the_offline_world_can_be_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {
        "name": "drawn", "output": str(tmp_path / "run"), "teachers": {"size": [64, 64]},
        "synthesis": {"text_to_image": {"count": 5}, "editing": {"count": 4}},
    }  # fmt: skip
    path = tmp_path / "drawn.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert app.main(["synth", str(path)]) == 0
    assert app.main(["replay", str(tmp_path / "run")]) == 0
    assert "9 rows from" in capsys.readouterr().out
