"""Whatever interrupts a run, what it holds in the end is what it would have held anyway.

The full campaigns are `make stress`; a handful of each runs every time, all in one process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from shutil import which
from typing import Any

import pytest

HERE = Path(__file__).parent
DATA, EXPORTS, MODEL = ("synth", "sharegpt"), ("parquet", "webdataset"), ("encode", "train")
STAGES = (*DATA, *EXPORTS, *MODEL)


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`faults.c`, compiled."""
    compiler = which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("faults are injected on Linux, and a C compiler must be installed")
    made = tmp_path_factory.mktemp("shim") / "faults.so"
    words = [compiler, "-shared", "-fPIC", "-o", str(made), str(HERE / "faults.c"), "-ldl"]
    subprocess.run(words, check=True)
    return made


def campaign(shim: Path, work: Path, *words: str) -> list[dict[str, Any]]:
    """Runs `driver.py`; fails with everything that did not come back as it was."""
    done = subprocess.run(
        [sys.executable, str(HERE / "driver.py"), str(work), *words],
        env={**os.environ, "LD_PRELOAD": str(shim), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *cases, totals = [json.loads(line) for line in done.stdout.splitlines()]
    sys.stdout.write(f"{totals}\n")  # shown by make stress
    hurt = [case for case in cases if case["why"]]
    assert not hurt, "\n".join(f"{one}" for one in hurt)
    return cases


def assert_all_kinds(
    cases: list[dict[str, Any]], stages: tuple[str, ...], least: dict[str, int]
) -> None:
    """Every fault was met so often in every stage, and nearly all crashes were reached."""
    met = Counter((case["stage"], case["fault"]) for case in cases)
    for stage in stages:
        for fault, times in least.items():
            assert met[stage, fault] >= times, (stage, fault)
    reached = [case for case in cases if case["call"] != "not reached"]
    assert len(reached) >= 0.8 * len(cases)


def test_a_few_faults_of_every_kind_change_nothing(shim: Path, tmp_path: Path) -> None:
    words = ["--crash", "2", "--disk", "2", "--kills", "2"]
    cases = campaign(shim, tmp_path, *STAGES, *words)
    least = {"kill": 2, "torn write": 2, "disk full": 2, "I/O error": 2}
    assert_all_kinds(cases, STAGES, least)
    assert max(case["point"] for case in cases if case["fault"] == "kill -9") == 2


@pytest.mark.stress
@pytest.mark.parametrize("stages", [DATA, EXPORTS, MODEL])
def test_a_kill_at_any_change_of_a_file_changes_nothing(
    shim: Path, tmp_path: Path, stages: tuple[str, ...]
) -> None:
    cases = campaign(shim, tmp_path, *stages, "--crash", "0")
    assert_all_kinds(cases, stages, {"kill": 20, "torn write": 5})
    calls = {(case["stage"], case["call"].split()[0]) for case in cases}
    for stage in stages:
        assert {(stage, "write"), (stage, "fsync"), (stage, "rename")} <= calls


@pytest.mark.stress
@pytest.mark.parametrize("stages", [DATA, EXPORTS, MODEL])
def test_a_full_or_failing_disk_is_one_clear_error_and_the_next_run_goes_on(
    shim: Path, tmp_path: Path, stages: tuple[str, ...]
) -> None:
    cases = campaign(shim, tmp_path, *stages, "--disk", "0")
    assert_all_kinds(cases, stages, {"disk full": 20, "I/O error": 20})


@pytest.mark.stress
def test_kills_at_random_instants_of_the_whole_loop_change_nothing(
    shim: Path, tmp_path: Path
) -> None:
    cases = campaign(shim, tmp_path, *STAGES, "--kills", "200")
    assert cases[-1]["point"] == 200
