"""`janus4o run`: the parts fit, a second run changes nothing, one run at a time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from janus4o.cli import app
from janus4o.cli.run import STAGES
from janus4o.errors import FolderBusy
from janus4o.model.loading import new_model, save_model
from janus4o.sketch.grammar import VOCABULARY

TAGS = {"single_object", "two_object", "counting", "colors", "position", "color_attr"}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, root: Path) -> list[str]:
    """A command line that runs the demo's recipe very small, from a base that knows nothing."""
    folder = tmp_path_factory.mktemp("run")
    save_model(new_model(VOCABULARY), folder / "base")
    changes = [
        f"output={folder / 'out'}",
        f"model.init={folder / 'base'}",
        "synthesis.text_to_image.count=12",
        "synthesis.editing.count=12",
        "train.steps=2",
        "train.batch=8",
        "evaluate.prompts_per_task=1",
        "evaluate.validation_per_task=1",
        "evaluate.guidance=[1.0, 2.0]",
        "evaluate.semantic_weights=[1.0]",
    ]
    return ["run", str(root / "recipes" / "sketch.yaml"), *changes]


@pytest.fixture(scope="module")
def out(words: list[str]) -> Path:
    """The folder of one finished run."""
    assert app.main(words) == 0
    return Path(words[2].removeprefix("output="))


def test_every_stage_leaves_what_it_promises(out: Path) -> None:
    summary = json.loads((out / "scores" / "summary.json").read_text("utf-8"))
    for model in ("base", "tuned"):
        assert set(summary[model]["t2i"]) == TAGS
        assert 0 <= summary[model]["edit_mean"] <= 1
    assert len((out / "dataset" / "rows.jsonl").read_text("utf-8").splitlines()) == 24
    assert len((out / "metrics.jsonl").read_text("utf-8").splitlines()) == 2
    assert {path.stem for path in (out / "samples" / "2").iterdir()} > TAGS
    sweep = {path.stem for path in (out / "sweeps" / "2").iterdir()}
    assert {"counting-0", "counting-5", "add-0.5", "add-source"} < sweep
    made = json.loads((out / "synthesis.json").read_text("utf-8"))
    assert made["finished"] == {"prompt_first": 12, "editing": 12}
    assert made["targets"]["task"]["element_manipulation"] == 0.4
    page = (out / "report.html").read_text("utf-8").lower()
    assert all(title in page for title in ("single object", "counting", "position"))
    timings = json.loads((out / "timings.json").read_text("utf-8"))
    assert list(timings) == ["synthesize", "encode", "train", "sample", "score", "sweep"]


def test_a_second_run_changes_nothing(
    words: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(out)
    assert app.main([*words, "--json"]) == 0
    assert contents(out) == before
    printed = json.loads(capsys.readouterr().out)
    assert printed["report"] == str(out / "report.html")
    assert printed["scores"] == json.loads((out / "scores" / "summary.json").read_text("utf-8"))


def test_it_says_what_it_will_do_and_what_it_costs(
    words: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(words) == 0
    done = capsys.readouterr()
    first, second, *rest = done.err.splitlines()
    assert "12 text-to-image and 12 edit rows, 2 training steps" in first
    assert "cost: nothing" in second
    heads = [line for line in rest if line.startswith("== ")]
    assert heads == [f"== {k}/{len(STAGES)} {name}" for k, name in enumerate(STAGES, 1)]
    assert sum(line.endswith("nothing was left to do") for line in rest) == len(STAGES) - 1
    assert f"--model {out / 'checkpoints' / '2'}" in rest[-1]
    assert done.out.splitlines()[-1] == f"report: {out / 'report.html'}"


@pytest.mark.parametrize("verb", ["run", "synth", "encode", "train"])
def test_a_busy_folder_is_refused(
    words: list[str], out: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    code = f"""
import time
from janus4o.files import lock
with lock({str(out)!r}):
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            assert app.main([verb, *words[1:]]) == FolderBusy.exit_code
        finally:
            holder.kill()
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert str(holder.pid) in err


def contents(folder: Path) -> dict[str, str]:
    """Every file but the store (SQLite may write its own bookkeeping) with the hash of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("store.sqlite")
    }
