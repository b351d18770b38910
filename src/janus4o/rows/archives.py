"""Tar archives, indexed where they lie: no member is ever written to disk."""

from __future__ import annotations

import tarfile
from collections.abc import Container, Iterator
from pathlib import Path

from janus4o.images import MAX_BYTES
from janus4o.rows.places import Span, is_inside


def index(archive: Path, problems: list[str]) -> Iterator[tuple[str, Span]]:
    """Each sound member's name and bytes in place; what is refused goes to `problems`, a line each.

    Memory does not grow with the archive.
    """
    seen: set[str] = set()
    try:
        length = archive.stat().st_size
        with tarfile.open(archive, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                if fault := find_member_fault(member, length, seen):
                    problems.append(f"{archive.name}: member {member.name!r} {fault}")
                elif not member.isdir():
                    name = member.name.removeprefix("./")
                    seen.add(name)
                    yield name, Span(archive, member.offset_data, member.size)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        problems.append(f"{archive.name}: damaged archive: {error}")


def find_member_fault(member: tarfile.TarInfo, length: int, seen: Container[str]) -> str:
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
