"""`janus4o status`: right on an empty, a begun, a running and a finished folder, and never in the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from janus4o.cli import app
from janus4o.cli.status import holder_of
from janus4o.errors import DataError
from janus4o.files import lock
from janus4o.recipe import load


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A run whose data set is made and nothing else."""
    folder = tmp_path_factory.mktemp("status") / "begun"
    recipe = folder.parent / "r.yaml"
    recipe.write_text((root / "recipes" / "sketch.yaml").read_text("utf-8"))
    counts = ["synthesis.text_to_image.count=6", "synthesis.editing.count=4"]
    assert app.main(["synth", str(recipe), f"output={folder}", *counts]) == 0
    return folder


def look(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    assert app.main(["status", str(folder), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def standings(found: dict[str, object]) -> dict[str, str]:
    stages = found["stages"]
    assert isinstance(stages, list)
    return {stage["name"]: stage["standing"] for stage in stages}


def test_it_says_what_is_done_and_what_to_do(
    begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = look(begun, capsys)
    assert standings(found) == {
        "synthesize": "done", "encode": "not yet", "train": "not yet", "score": "not yet",
        "report": "not yet",
    }  # fmt: skip
    assert found["finished"] == {"prompt_first": 6, "editing": 4}
    assert found["holder"] is None
    tasks = found["tasks"]
    assert isinstance(tasks, dict)
    assert {made: sum(counts.values()) for made, counts in tasks.items()} == found["finished"]
    assert app.main(["status", str(begun)]) == 0
    shown = capsys.readouterr().out
    assert "editing       element_manipulation" in shown
    assert "40.0%" in shown, "its share in the recipe stands beside it"
    # What it advises is a command line that this very program reads.
    program, *words = str(found["next"]).split()
    assert program == "janus4o"
    assert words[:2] == ["run", str(begun / "recipe.yaml")]


def test_it_stops_saying_run_when_all_is_there(
    begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(begun, tmp_path / "whole"))
    (folder / "codes" / "x-crop").mkdir(parents=True)
    (folder / "codes" / "x-crop" / "index.json").write_text('{"pictures": 12}')
    steps = load(begun / "recipe.yaml").train.steps
    (folder / "checkpoints" / str(steps)).mkdir(parents=True)
    (folder / "checkpoints" / str(steps) / "config.json").write_text("{}")
    line = {"step": steps, "t2i_loss": 0.25, "edit_loss": 0.5}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + '\n{"step": 15')
    (folder / "scores").mkdir()
    means = {
        "base": {"t2i_mean": 0.3, "edit_mean": 0.0},
        "tuned": {"t2i_mean": 0.9, "edit_mean": 1},
    }
    (folder / "scores" / "summary.json").write_text(json.dumps(means))
    assert standings(look(folder, capsys))["report"] == "not yet"
    (folder / "report.html").write_text("")
    found = look(folder, capsys)
    assert set(standings(found).values()) == {"done"}
    assert found["next"] == f"open {folder / 'report.html'}"
    details = {stage["name"]: stage["detail"] for stage in found["stages"]}  # type: ignore[attr-defined]
    assert f"step {steps:,} of {steps:,}, t2i loss 0.25" in details["train"]
    assert details["score"] == "text to image 0.30 → 0.90, editing 0.00 → 1.00"


def test_training_that_stopped_is_begun(
    begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(begun, tmp_path / "half"))
    (folder / "metrics.jsonl").write_text('{"step": 7, "t2i_loss": 1.5}\n')
    assert standings(look(folder, capsys))["train"] == "begun"


def test_a_running_folder_names_its_process_and_is_left_alone(
    begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = f"""
import sys
from janus4o.files import lock
from janus4o.recipe import load
with lock({str(begun)!r}):
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        found = look(begun, capsys)
        assert found["holder"]["pid"] == holder.pid  # type: ignore[index]
        assert str(holder.pid) in str(found["next"])
        holder.stdin.close()
        assert holder.wait(30) == 0
    assert holder_of(begun) is None
    with lock(begun):  # looking has not kept it
        assert holder_of(begun) is not None


def test_a_process_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    owner = {"pid": ended.pid, "host": os.uname().nodename, "command": "janus4o run"}
    (tmp_path / ".lock").write_text(json.dumps(owner))
    assert holder_of(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
def test_a_strange_lock_file_is_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / ".lock").write_text(content)
    assert holder_of(tmp_path) is None


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["status", str(tmp_path)]) == DataError.exit_code
    assert "janus4o run" in capsys.readouterr().err
