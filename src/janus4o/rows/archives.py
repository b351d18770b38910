"""Tar archives, indexed where they lie: no member is ever written to disk."""

from __future__ import annotations

import tarfile
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath

from janus4o.images import MAX_BYTES
from janus4o.rows.places import Span, is_inside

DAMAGED = (
    tarfile.TarError, OSError, ValueError, EOFError, IndexError, OverflowError, MemoryError,
    RecursionError,
)  # fmt: skip
"""What `tarfile` raises for headers that are cut off, contradict themselves or are chained."""


def index(
    archive: Path, problems: list[str], where: str = "", suffixes: Container[str] | None = None
) -> Iterator[tuple[str, Span]]:
    """Each sound member's name and bytes in place; what is refused goes to `problems`, a line each.

    Memory does not grow with the archive.

    Args:
        where: what the archive is called in `problems`; default its file's name.
        suffixes: look at members with these only, in lower case; None at all.
    """
    where = where or archive.name
    seen: set[str] = set()
    try:
        length = archive.stat().st_size
        with tarfile.open(archive, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                if member.size < 0 or tar.offset < member.offset_data:
                    # The next header would lie before this one, and so for ever.
                    problems.append(f"{where}: member {member.name!r} has a size below zero")
                    return
                if not _has(suffixes, member.name):
                    continue
                if fault := _fault(member, length, seen):
                    problems.append(f"{where}: member {member.name!r} {fault}")
                elif not member.isdir():
                    name = member.name.removeprefix("./")
                    seen.add(name)
                    yield name, Span(archive, member.offset_data, member.size)
    except DAMAGED as error:
        problems.append(f"{where}: damaged archive: {error}")


def _has(suffixes: Container[str] | None, name: str) -> bool:
    return suffixes is None or PurePosixPath(name).suffix.lower() in suffixes


def _fault(member: tarfile.TarInfo, length: int, seen: Container[str]) -> str:
    """Why a member is refused; empty for one that is fine."""
    if not is_inside(member.name):
        return "points outside the archive"
    if member.isdir():
        return ""
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        return "is a link or a special file"
    if member.size > MAX_BYTES:
        return f"is larger than {MAX_BYTES // 1_000_000} MB"
    if member.offset_data + member.size > length:
        return "is cut off"
    if member.name.removeprefix("./") in seen:
        return "occurs twice"
    return ""
