"""Whatever interrupts a run, what it holds in the end is what it would have held anyway.

The full campaigns are `make stress`; a handful of each runs every time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from shutil import which

import pytest

HERE = Path(__file__).parent
DATA, EXPORTS, MODEL = ("synth", "sharegpt"), ("parquet", "webdataset"), ("encode", "train")
all_of_it = pytest.mark.stress


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


def campaign(shim: Path, work: Path, *words: str) -> list[dict[str, str]]:
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


@pytest.mark.parametrize(
    ("stages", "few"),
    [
        (DATA, 5),
        (EXPORTS, 2),
        (MODEL, 2),
        pytest.param(DATA, 0, marks=all_of_it),
        pytest.param(EXPORTS, 0, marks=all_of_it),
        pytest.param(MODEL, 0, marks=all_of_it),
    ],
)
def test_a_kill_at_any_change_of_a_file_changes_nothing(
    shim: Path, tmp_path: Path, stages: tuple[str, ...], few: int
) -> None:
    cases = campaign(shim, tmp_path, "crash", *stages, "--few", str(few))
    reached = [case for case in cases if case["call"] != "not reached"]
    assert len(reached) >= 0.8 * len(cases)
    met = Counter((case["stage"], case["fault"]) for case in cases)
    for stage in stages:
        assert met[stage, "kill"] >= (few or 20)
        assert met[stage, "torn write"] >= (few or 5)
    if not few:
        calls = {(case["stage"], case["call"].split()[0]) for case in cases}
        for stage in stages:
            assert {(stage, "write"), (stage, "fsync"), (stage, "rename")} <= calls


@pytest.mark.parametrize(
    ("stages", "few"),
    [
        (DATA, 4),
        (EXPORTS, 1),
        (MODEL, 2),
        pytest.param(DATA, 0, marks=all_of_it),
        pytest.param(EXPORTS, 0, marks=all_of_it),
        pytest.param(MODEL, 0, marks=all_of_it),
    ],
)
def test_a_full_or_failing_disk_is_one_clear_error_and_the_next_run_goes_on(
    shim: Path, tmp_path: Path, stages: tuple[str, ...], few: int
) -> None:
    cases = campaign(shim, tmp_path, "disk", *stages, "--few", str(few))
    met = Counter((case["stage"], case["fault"]) for case in cases)
    for stage in stages:
        assert met[stage, "disk full"] >= (few or 20)
        assert met[stage, "I/O error"] >= (few or 20)


@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=all_of_it)])
def test_kills_at_random_instants_of_the_whole_loop_change_nothing(
    shim: Path, tmp_path: Path, kills: int
) -> None:
    cases = campaign(shim, tmp_path, "kill", *DATA, *EXPORTS, *MODEL, "--kills", str(kills))
    assert cases[-1]["point"] == kills
