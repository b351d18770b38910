"""The benchmarks run and print what they promise. What they measure is not tested."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Bench = Callable[..., str]


@pytest.fixture
def bench(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Runs a benchmark as its command line does, in this process; what it prints."""
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(root / "benchmarks")

    def run(name: str, *words: object) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [name, *map(str, words)])
            try:
                runpy.run_path(f"benchmarks/{name}.py", run_name="__main__")
                code: object = 0
            except SystemExit as end:
                code = end.code
        said = capsys.readouterr()
        assert not code, said
        return said.out

    return run


@pytest.mark.parametrize("more", [[], ["--edit"]])
def test_generation_shows_parity_and_every_engine(bench: Bench, more: list[str]) -> None:
    said = bench("generation", "--rounds", 1, "--steps", 2, *more)
    assert "sampled codes equal" in said
    assert "official loop's: within" in said
    names = ["janus4o", "official"]
    if not more:
        names += ["transformers dynamic", "transformers static"]
    table = said.partition("ms/step")[2].splitlines()[1:]
    assert [line[:29].strip() for line in table if line] == names


def test_throughput_has_a_line_for_every_batch(bench: Bench) -> None:
    said = bench("generation", "--rounds", 1, "--steps", 2, "--batch", 1, 3)
    table = said.partition("images/s")[2].splitlines()[1:]
    assert [line.split()[0] for line in table] == ["1", "3"]
    assert all(float(line.split()[4]) > 0 for line in table)


def test_training_shows_parity_and_both_steps(bench: Bench) -> None:
    words = ["--geometry", "tiny", "--device", "cpu", "--rounds", 1, "--samples", 4]
    said = bench("training", *words, "--micro-batch", 2)
    assert "equal\n" in said
    table = said.partition("s/step")[2].splitlines()[1:]
    names = ["janus4o", "official", "official, codes given"]
    assert [line[:24].strip() for line in table if line] == names


def test_exports_of_a_small_stand_in(bench: Bench, tmp_path: Path) -> None:
    said = {
        what: json.loads(bench("exports", what, "--folder", tmp_path, "--share", 0.001))
        for what in ("make", "index", "parquet")
    }
    assert said["index"]["rows"] == 91
    assert said["parquet"]["rows"] == {"text_to_image": 45, "text_and_image_to_image": 46}


def test_the_viewer_answers_everything_it_is_measured_by(bench: Bench, tmp_path: Path) -> None:
    bench("exports", "make", "--folder", tmp_path, "--share", 0.002)
    said = bench("viewer", "--folder", tmp_path / "published", "--times", 2)
    rows = {line[:36].strip(): line[36:].split()[0] for line in said.splitlines()[2:-2]}
    assert rows["everything: last"] == "184"
    assert rows["family: middle"] == "93"
    assert rows["words none holds: first"] == "0"


def test_checks_find_most_of_what_is_planted(bench: Bench) -> None:
    said = bench("checks", "--rows", 40, "--pages", 4)
    lines = said.partition(" rows, ")[0].splitlines()[1:-1]
    table = {line.split()[0]: line.split()[1:] for line in lines}
    assert len(table) == 13
    assert all(float(row[3]) >= 0.75 for row in table.values()), said


def test_every_path_is_on_the_sheet(bench: Bench, root: Path, tmp_path: Path) -> None:
    """Paths that promise equal codes have them; the sheet is small enough for the documentation."""
    said = bench("paths", tmp_path / "sheet.png")
    same = {line[:20].strip(): line[20:].split()[0] for line in said.splitlines()[:-1]}
    assert len(same) == 7
    assert [same[name] for name in ("plain", "packed", "speculate 8")] == ["8", "8", "8"]
    for sheet in (tmp_path / "sheet.png", root / "docs" / "pictures" / "paths.png"):
        assert 10_000 < sheet.stat().st_size < 200_000


def test_the_ablation_has_a_row_for_every_variant(bench: Bench, tmp_path: Path) -> None:
    """Cropping takes off again what widening put on: both references learn from the same pixels."""
    words = ["--folder", tmp_path, "--seeds", 1, "--rows", 24, "--steps", 1, "--batch", 4]
    words += ["--per-task", 1, "--workers", 1, "--variants", "corrected", "crop"]
    said = bench("ablation", *words)
    table = (tmp_path / "table.md").read_text("utf-8")
    assert table.strip() in said
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == ["corrected", "crop"]
    assert rows[0][2:] == rows[1][2:]
    assert all(float(cell) > 0 for cell in rows[0][3:7])
    folders = [tmp_path / "square/runs/corrected-0", tmp_path / "wide/runs/crop-0"]
    found = [json.loads((folder / "result.json").read_text("utf-8")) for folder in folders]
    assert found[0] == found[1]
    assert not any((folder / "checkpoints").exists() for folder in folders)
