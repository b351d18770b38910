"""A judge behind a server: in synthesis and over a data set, paid for once, stopped and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from janus4o.cli.app import main
from janus4o.rows import open_rows
from janus4o.sketch.scorer import SketchScorer

Serve = Callable[..., Any]


@pytest.fixture
def recipe(tmp_path: Path, canary: str) -> Callable[..., str]:
    """A recipe of a few sketch rows; its judge is a server's."""

    def write(url: str, **more: Any) -> str:
        judge = {
            "api": "openai", "model": "scribe-1", "base_url": url, "key": "JANUS4O_TEST_KEY",
            "timeout": 5.0, "price": {"input": 2.0, "output": 10.0}, "max_output_tokens": 100,
        }  # fmt: skip
        data = {
            "name": "judged",
            "output": str(tmp_path / "run"),
            "teachers": {"judge": judge if url else None},
            "synthesis": {"text_to_image": {"count": 4}, "editing": {"count": 3}, "concurrency": 1},
            **more,
        }
        path = tmp_path / ("judge.yaml" if url else "plain.yaml")
        path.write_text(yaml.safe_dump(data))
        return str(path)

    return write


def test_a_run_is_judged_within_its_budget_and_goes_on(
    serve: Serve, recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(writer=SketchScorer())
    path = recipe(server.url)
    assert main(["plan", path, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["judge_calls"] == 7
    assert main(["synth", path, "synthesis.budget_usd=0.02"]) == 5
    asked = len(server.asked)
    assert 0 < asked < 7
    assert "error:" in capsys.readouterr().err
    assert main(["synth", path]) == 0
    assert len(server.asked) == 7, "a picture was judged twice"
    assert planned["cost_usd"] >= server.billed_usd
    form = server.asked[0].fields["response_format"]["json_schema"]
    assert form["strict"] is True
    assert set(form["schema"]["required"]) == {"following", "realism", "technique", "why"}
    rows = list(open_rows(tmp_path / "run"))
    for row in rows:
        assert row.provenance is not None
        assert row.provenance.judge == "scribe-1-2026-01-01"
        assert row.provenance.checks["following"]["figure"] == 5
    # What the rows know of a judge is not asked again.
    assert main(["check", str(tmp_path / "run"), "--recipe", path, "--json"]) == 0
    assert len(server.asked) == 7
    assert main(["replay", str(tmp_path / "run")]) == 0


def test_a_data_set_is_judged_past_every_fault(
    serve: Serve,
    recipe: Any,
    tmp_path: Path,
    wire: ModuleType,
    canary: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["synth", recipe("")]) == 0
    kinds = {1: "reset", 2: "html", 3: "status", 5: "refusal", 6: "chatter"}

    def faults(asked: Any) -> Any:
        if wrong_key:
            return wire.Fault("status", status=401, code="invalid_api_key")
        return wire.Fault(kinds[asked.number]) if asked.number in kinds else None

    wrong_key = True
    server = serve(writer=SketchScorer(), faults=faults)
    words = ["check", str(tmp_path / "run"), "--recipe", recipe(server.url), "--json"]
    capsys.readouterr()
    assert main(words) == 4
    assert capsys.readouterr().err.count("error:") == 1
    assert not (tmp_path / "run" / "checks.jsonl").exists()
    kinds = {number + len(server.asked): kind for number, kind in kinds.items()}
    wrong_key = False
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["unjudged"]) == 2
    assert {why.partition(":")[0] for why in said["unjudged"].values()} == {"refused", "malformed"}
    asked = len(server.asked)
    assert main(words) == 0
    assert len(server.asked) == asked, "paid twice"
    held = b"".join(p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file())
    assert canary.encode() not in held
