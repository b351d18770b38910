"""`make rehearse` on a tiny geometry: the same commands and checks, in one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_every_step_is_carried_out_once_and_what_was_made_is_taken_away(
    root: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "tests/rehearsal.py", "--geometry", "tiny", "--here"]
    words += ["--folder", str(tmp_path)]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    made = json.loads((tmp_path / "rehearsal.json").read_text("utf-8"))
    assert [one["name"] for one in made] == [
        "photographs", "random checkpoint", "synth over HTTP", "export, import", "plan", "encode", "train",
        "train, gone on with", "adapter", "convert there and back", "generate", "edit",
    ]  # fmt: skip
    assert all(one["found"] for one in made)
    assert all(0 < one["peak"] < 2e9 for one in made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "rehearsal.json"]
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
