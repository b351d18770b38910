"""Stored evidence: files of JSON lines somebody's network wrote, read so that nothing gets lost.

A line that cannot be used becomes a `Problem` with its place; it is neither skipped silently nor
counted as a failure of the system under test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from janus4o.errors import DataError
from janus4o.files import write_atomic


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was not scored, or scored with a doubt.

    Attributes:
        where: file and line, item or picture.
        what: one line.
        unscored: whether the item is missing from the score because of it.
    """

    where: str
    what: str
    unscored: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (" (not scored)" if self.unscored else "")


@dataclass(frozen=True, slots=True)
class Line:
    """One JSON object and where it stood."""

    where: str
    data: dict[str, Any]


def read_text(path: Path) -> str:
    """The content of a UTF-8 file, without a byte order mark; raises DataError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{str(path)!r} does not exist", "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}", "give a UTF-8 file") from error


def read_lines(path: Path) -> tuple[list[Line], list[Problem]]:
    """The JSON objects of a file, one a line, and the lines that are none.

    Raises:
        DataError: the file cannot be read, or holds no line at all.
    """
    lines: list[Line] = []
    problems: list[Problem] = []
    # Not splitlines(): JSON may hold U+2028 and its like unescaped.
    for number, text in enumerate(read_text(path).split("\n"), 1):
        if not text.strip():
            continue
        where = f"{path.name} line {number}"
        try:
            data = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            problems.append(Problem(where, "is not JSON; half-written?"))
            continue
        if isinstance(data, dict):
            lines.append(Line(where, data))
        else:
            problems.append(Problem(where, f"is {_kind(data)}, not a JSON object"))
    if not lines and not problems:
        raise DataError(f"{str(path)!r} is empty", "give a file with one JSON object a line")
    return lines, problems


def read_object(path: Path) -> dict[str, Any]:
    """A file that is one JSON object; raises DataError."""
    try:
        data = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(
            f"{str(path)!r} is not JSON: {error}", "it may be half-written; make it again"
        ) from error
    if not isinstance(data, dict):
        raise DataError(f"{str(path)!r} is {_kind(data)}, not a JSON object", "see docs/scoring.md")
    return data


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes; raises DataError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{str(path)!r} cannot be read: {error.strerror}", "check the path"
        ) from error


def hash_set(texts: Iterable[str]) -> str:
    """SHA-256 of a set of texts: neither order nor repetition matters."""
    digest = hashlib.sha256()
    for text in sorted(set(texts)):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes JSON lines whole or not at all."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_new(path, text.encode("utf-8", "surrogatepass"))


def write_object(path: Path, value: dict[str, Any]) -> None:
    """Writes one JSON object whole or not at all."""
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    write_new(path, text.encode("utf-8", "surrogatepass"))


def write_new(path: Path, data: bytes) -> None:
    """`write_atomic` into a folder that may not be there yet; raises DataError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError as error:
        raise DataError(
            f"{str(path)!r} cannot be written: {error.strerror}", "give another place"
        ) from error


def problems_to_json(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """What a score file lists."""
    return [asdict(problem) for problem in problems]


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
