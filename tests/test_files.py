"""A file is old or new, never half; a folder has one owner, and a dead owner is no owner."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from janus4o import files
from janus4o.errors import FolderBusy


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.json"
    files.write_atomic(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(OSError, match="no space"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_file_is_synced_before_its_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            files.os, name, lambda *a, real=real, name=name: (calls.append(name), real(*a))[1]
        )
    files.write_atomic(tmp_path / "a", b"x")
    assert calls == ["fsync", "replace", "fsync"]


HOLD = """
import sys
from janus4o import files
with files.lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_busy_folder_is_refused_by_name_and_free_after_kill(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FolderBusy, match=f"process {holder.pid} on "), files.lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with files.lock(tmp_path):
            pass


def test_one_thread_may_hold_a_folder_twice_but_another_may_not(tmp_path: Path) -> None:
    refused: list[bool] = []

    def try_it() -> None:
        try:
            with files.lock(tmp_path):
                refused.append(False)
        except FolderBusy:
            refused.append(True)

    with files.lock(tmp_path):
        with files.lock(tmp_path):
            pass
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    try_it()
    assert refused == [True, False]
