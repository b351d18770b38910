"""Writing files so that a crash leaves the old content or the new, and one owner per run folder."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from janus4o.errors import FolderBusy

LOCK_NAME = ".lock"
_numbers = itertools.count()


def write_atomic(path: str | Path, data: bytes, *, durable: bool = True) -> None:
    """Replaces a file's content so that no reader and no crash ever sees half of it.

    Args:
        data: the whole new content.
        durable: also survive a power cut: fsync the file before and its folder after the rename.
            Without it a kill of this process is still harmless; follow with `sync_filesystem`.
    """
    # Plain strings: this is called once per picture, and Path objects cost more than the write.
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name[:80]}.{os.getpid()}-{next(_numbers)}.part")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                sync_file(file)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync_folder(folder or ".")


def sync_file(file: BinaryIO) -> None:
    """Makes what was written to an open file survive a power cut."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: str | Path) -> None:
    """Makes renames and new names in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_filesystem(folder: str | Path) -> None:
    """One barrier for everything written so far to the file system that holds `folder`.

    Costs about as much as twenty fsyncs however many files wait, so it is the way to make
    hundreds of small files durable together.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            libc = ctypes.CDLL(None, use_errno=True)
            handle = os.open(folder, os.O_RDONLY)
            try:
                if libc.syncfs(handle) == 0:
                    return
            finally:
                os.close(handle)
    os.sync()


@dataclass(slots=True)
class _Held:
    handle: int
    owner: tuple[int, int]
    depth: int


_held: dict[Path, _Held] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Holds a run folder, made if absent, for this thread of this process.

    The kernel drops the lock with its holder, so a killed run leaves none behind. The same thread
    may hold a folder more than once (`run` holds it while its stages do).

    Raises:
        FolderBusy: another process or thread holds it; says which.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _guard:
        owner = os.getpid(), threading.get_ident()  # a forked child is another owner
        held = _held.get(folder)
        if held is not None and held.owner == owner:
            held.depth += 1
        else:
            held = _Held(_take(folder), owner, 1)
            _held[folder] = held
    try:
        yield
    finally:
        with _guard:
            held.depth -= 1
            if held.depth == 0:
                del _held[folder]
                # Emptied, not deleted: a deleted file could be locked by two owners at once.
                os.ftruncate(held.handle, 0)
                os.close(held.handle)


def _take(folder: Path) -> int:
    handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = _describe(os.read(handle, 4096))
        os.close(handle)
        raise FolderBusy(
            f"{str(folder)!r} is in use by {holder}", "wait for it to end, or stop it"
        ) from None
    except BaseException:
        os.close(handle)
        raise
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "command": command}
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(owner).encode(), 0)
    return handle


def _describe(content: bytes) -> str:
    try:
        owner = json.loads(content)
        return f"process {owner['pid']} on {owner['host']}: {owner['command']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
