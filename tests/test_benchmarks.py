"""The benchmarks run and print what they promise. What they measure is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("more", [[], ["--edit"]])
def test_generation_shows_parity_and_every_engine(root: Path, more: list[str]) -> None:
    words = [sys.executable, "benchmarks/generation.py", "--rounds", "1", "--steps", "2", *more]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "sampled codes equal" in done.stdout
    assert "official loop's: within" in done.stdout
    names = ["janus4o", "official"]
    if not more:
        names += ["transformers dynamic", "transformers static"]
    table = done.stdout.partition("ms/step")[2].splitlines()[1:]
    assert [line[:29].strip() for line in table if line] == names


def test_throughput_has_a_line_for_every_batch(root: Path) -> None:
    words = [sys.executable, "benchmarks/generation.py", "--rounds", "1", "--steps", "2"]
    words += ["--batch", "1", "3"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    table = done.stdout.partition("images/s")[2].splitlines()[1:]
    assert [line.split()[0] for line in table] == ["1", "3"]
    assert all(float(line.split()[4]) > 0 for line in table)


def test_training_shows_parity_and_both_steps(root: Path) -> None:
    words = [sys.executable, "benchmarks/training.py", "--geometry", "tiny", "--device", "cpu"]
    more = ["--rounds", "1", "--samples", "4", "--micro-batch", "2"]
    done = subprocess.run([*words, *more], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "equal\n" in done.stdout
    table = done.stdout.partition("s/step")[2].splitlines()[1:]
    names = ["janus4o", "official", "official, codes given"]
    assert [line[:24].strip() for line in table if line] == names


def test_exports_of_a_small_stand_in(root: Path, tmp_path: Path) -> None:
    said = {}
    for what in ("make", "index", "parquet"):
        words = [sys.executable, "benchmarks/exports.py", what, "--folder", str(tmp_path)]
        done = subprocess.run(
            [*words, "--share", "0.001"], cwd=root, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said[what] = json.loads(done.stdout)
    assert said["index"]["rows"] == 91
    assert said["parquet"]["rows"] == {"text_to_image": 45, "text_and_image_to_image": 46}


def test_the_viewer_answers_everything_it_is_measured_by(root: Path, tmp_path: Path) -> None:
    for words in (
        ["benchmarks/exports.py", "make", "--folder", str(tmp_path), "--share", "0.002"],
        ["benchmarks/viewer.py", "--folder", str(tmp_path / "published"), "--times", "2"],
    ):
        done = subprocess.run(
            [sys.executable, *words], cwd=root, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
    rows = {line[:36].strip(): line[36:].split()[0] for line in done.stdout.splitlines()[2:-2]}
    assert rows["everything: last"] == "184"
    assert rows["family: middle"] == "93"
    assert rows["words none holds: first"] == "0"


def test_checks_find_most_of_what_is_planted(root: Path) -> None:
    words = [sys.executable, "benchmarks/checks.py", "--rows", "40", "--pages", "4"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.partition(" rows, ")[0].splitlines()[1:-1]
    table = {line.split()[0]: line.split()[1:] for line in lines}
    assert len(table) == 13
    assert all(float(row[3]) >= 0.75 for row in table.values()), done.stdout


def test_every_path_is_on_the_sheet(root: Path, tmp_path: Path) -> None:
    """Paths that promise equal codes have them; the sheet is small enough for the documentation."""
    words = [sys.executable, "benchmarks/paths.py", str(tmp_path / "sheet.png")]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    same = {line[:20].strip(): line[20:].split()[0] for line in done.stdout.splitlines()[:-1]}
    assert len(same) == 7
    assert [same[name] for name in ("plain", "packed", "speculate 8")] == ["8", "8", "8"]
    for sheet in (tmp_path / "sheet.png", root / "docs" / "pictures" / "paths.png"):
        assert 10_000 < sheet.stat().st_size < 200_000
