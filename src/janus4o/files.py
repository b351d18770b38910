"""Writing files so that a crash leaves the old content or the new, and one owner per run folder."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import itertools
import json
import os
import re
import secrets
import shlex
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from janus4o.errors import DiskStop, FolderBusy, Janus4oError, Refused

LOCK_NAME = ".lock"
UNFINISHED = ".part"
"""How the names of files and folders end that are being written; they start with a dot."""
_numbers = itertools.count()
_process = secrets.token_hex(3)
"""With the process id, tells apart processes of machines that share a folder."""


def write_atomic(path: str | Path, data: bytes, *, durable: bool = True) -> None:
    """Replaces a file's content so that no reader and no crash ever sees half of it.

    Args:
        data: the whole new content.
        durable: also survive a power cut: fsync the file before and its folder after the rename.
            Without it a kill of this process is still harmless; follow with `sync_filesystem`.
    """
    # Plain strings: this is called once per picture, and Path objects cost more than the write.
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, _half_name(name))
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


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to be filled bit by bit that replaces `path`, durably, once the block has ended well."""
    path = Path(path)
    half = path.with_name(_half_name(path.name))
    try:
        with half.open("wb") as file:
            yield file
            sync_file(file)
        os.replace(half, path)
    except BaseException:
        with contextlib.suppress(OSError):
            half.unlink()
        raise
    sync_folder(path.parent)


def _half_name(name: str) -> str:
    return f".{name[:40]}.{os.getpid()}-{_process}-{next(_numbers)}{UNFINISHED}"


def sync_file(file: IO[Any]) -> None:
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


def new_folder(parent: str | Path, name: str) -> Path:
    """Makes a folder to be filled and then renamed to `name`; `sweep` removes what a kill leaves."""
    return Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=UNFINISHED, dir=parent))


def is_unfinished(path: Path) -> bool:
    """Is this something a writer has not finished, or never will?"""
    return path.name.startswith(".") and path.name.endswith(UNFINISHED)


def sweep(folder: str | Path) -> list[Path]:
    """Removes what killed writers left half-written below a folder, and returns it.

    Only for the folder's owner. Folders inside that have an owner of their own are left alone.
    """
    swept = []
    for here, folders, names in os.walk(folder):
        if LOCK_NAME in names and Path(here) != Path(folder):
            folders.clear()
            continue
        for path in [Path(here, name) for name in (*folders, *names)]:
            if is_unfinished(path):
                if path.is_dir():
                    folders.remove(path.name)
                    shutil.rmtree(path)
                else:
                    path.unlink()
                swept.append(path)
    return swept


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG)


def explain(error: BaseException | None) -> Janus4oError | None:
    """What a failed read or write means to the user; None where `error` is something else.

    Looks at what `error` was raised from as well, because libraries wrap what the system said.
    """
    while error is not None:
        if isinstance(error, OSError):
            number, name = error.errno, error.filename
        else:  # libraries written in Rust say it in words
            said = re.search(r"\(os error (\d+)\)", str(error))
            number, name = int(said.group(1)) if said else None, None
        where = f" for {os.fsdecode(name)!r}" if isinstance(name, str | bytes) else ""
        if number in FULL:
            return DiskStop(
                f"no space left on the disk{where}",
                "make room and run the same command again to go on",
            )
        if number == errno.EIO:
            return DiskStop(
                f"the disk failed to read or write{where}",
                "see to the disk, then run the same command again to go on",
            )
        if number in FORBIDDEN:
            return Refused(
                f"cannot open or write{where}: {os.strerror(number)}",
                "check the path and its permissions, or choose another `output`",
            )
        error = error.__cause__ or error.__context__
    return None


@dataclass(slots=True)
class _Held:
    handle: int
    depth: int


_held: dict[tuple[Path, tuple[int, int]], _Held] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def lock(folder: str | Path, *, shared: bool = False) -> Iterator[None]:
    """Holds a run folder, made if absent, for this thread of this process.

    The kernel drops the lock with its holder, so a killed run leaves none behind; what it had
    half-written is swept away by the next holder. The same thread may hold a folder more than once
    (`run` holds it while its stages do).

    Args:
        shared: together with others who hold it in the same way: workers of one run.

    Raises:
        FolderBusy: another process or thread holds it; says which.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _guard:
        owner = os.getpid(), threading.get_ident()  # a forked child is another owner
        held = _held.get((folder, owner))
        if held is not None:
            held.depth += 1
        else:
            held = _Held(_take(folder, shared), 1)
            _held[folder, owner] = held
    try:
        yield
    finally:
        with _guard:
            held.depth -= 1
            if held.depth == 0:
                del _held[folder, owner]
                if not shared:
                    # Emptied, not deleted: a deleted file could be locked by two owners at once.
                    os.ftruncate(held.handle, 0)
                os.close(held.handle)


def _take(folder: Path, shared: bool) -> int:
    handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        if shared:
            # None of them knows whether it is the last: who next holds the folder alone will sweep.
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps({"shared": True}).encode(), 0)
            return handle
        if os.fstat(handle).st_size:  # its last holder never came to empty it
            sweep(folder)
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200],
        }
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(owner).encode(), 0)
    except BlockingIOError:
        holder = _describe(os.read(handle, 4096))
        os.close(handle)
        raise FolderBusy(
            f"{str(folder)!r} is in use by {holder}", "wait for it to end, or stop it"
        ) from None
    except BaseException:
        os.close(handle)
        raise
    return handle


def _describe(content: bytes) -> str:
    try:
        owner = json.loads(content)
        if owner.get("shared"):
            return "workers of its run"
        return (
            f"process {owner['pid']} on {owner['host']} since {owner['since']}: {owner['command']}"
        )
    except (ValueError, KeyError, TypeError):
        return "another process"
