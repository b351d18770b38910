"""A file is old or new, never half; a folder has one owner, and a dead owner is no owner."""

import errno
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from janus4o import files
from janus4o.errors import DiskStop, FolderBusy, Janus4oError, Refused


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
        says = rf"process {holder.pid} on \S+ since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d: -c "
        with pytest.raises(FolderBusy, match=says), files.lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with files.lock(tmp_path):
            pass


def test_what_a_killed_holder_left_half_written_is_swept_by_the_next_one(tmp_path: Path) -> None:
    """A lock file that still names somebody, though nobody holds the lock, is a dead holder's."""
    (tmp_path / "codes").mkdir()
    (tmp_path / "export").mkdir()
    half = [tmp_path / "codes" / ".0.npy.12-3.part", files.new_folder(tmp_path, "100")]
    half[0].touch()
    (half[1] / "weights").touch()
    kept = [tmp_path / "a.part", tmp_path / "codes" / "0.npy", tmp_path / "export" / ".x.1-2.part"]
    for path in kept:
        path.touch()
    (tmp_path / "export" / files.LOCK_NAME).touch()  # somebody else's folder
    with files.lock(tmp_path):
        pass
    assert all(path.exists() for path in (*half, *kept)), "its last holder ended properly"
    (tmp_path / files.LOCK_NAME).write_text('{"pid": 1}')
    with files.lock(tmp_path):
        assert not any(path.exists() for path in half)
        assert all(path.exists() for path in kept)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), DiskStop, "no space.*'/a/b'"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), DiskStop, "no space left on the disk$"),
        (OSError(errno.EIO, "Input/output error", b"/a"), DiskStop, "disk failed.*'/a'"),
        (PermissionError(errno.EACCES, "denied", "/a"), Refused, "'/a': Permission denied"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), DiskStop, "no space"),
        (ValueError("28"), None, ""),
        (FileNotFoundError(errno.ENOENT, "none", "/a"), None, ""),
    ],
)
def test_what_the_system_says_is_put_in_words(
    error: Exception, kind: type[Janus4oError] | None, says: str
) -> None:
    wrapped = RuntimeError("writing failed")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        found = files.explain(one)
        if kind is None:
            assert found is None
        else:
            assert isinstance(found, kind)
            assert re.search(says, found.message)
            assert found.remedy


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


def test_workers_of_one_run_hold_its_folder_together_and_nobody_else_does(tmp_path: Path) -> None:
    half = tmp_path / ".0.npy.12-3.part"
    half.touch()
    refused: list[str] = []

    def try_it(shared: bool) -> None:
        try:
            with files.lock(tmp_path, shared=shared):
                pass
        except FolderBusy as error:
            refused.append(error.message)

    with files.lock(tmp_path, shared=True):
        for shared in (True, False):
            thread = threading.Thread(target=try_it, args=(shared,))
            thread.start()
            thread.join()
        assert half.exists(), "another worker may still be writing it"
    assert len(refused) == 1
    assert "in use by workers of its run" in refused[0]
    with files.lock(tmp_path):
        assert not half.exists()
