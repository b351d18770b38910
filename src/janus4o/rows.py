"""Opens a data set where it lies: a run folder, or the published layout with or without its tars.

Published layout: `text_to_image.json` and `text_and_image_to_image.json` (one array each), pictures
in `text_to_image_part_{i}.tar` and `text_and_image_to_image_part_{i}.tar` or as plain files beside
them. Archives are indexed in place: nothing is unpacked, no member is ever written to disk.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import overload

from janus4o.errors import DataError
from janus4o.images import MAX_BYTES
from janus4o.prompt import find_fault
from janus4o.records import Row, from_json

FAMILIES = ("text_to_image", "text_and_image_to_image")
"""Stems of the two JSON arrays and of their archives: text-to-image rows, edit rows."""
ROWS_FILE = Path("dataset") / "rows.jsonl"
IMPORTED_FILE = Path("dataset") / "imported.json"
"""In a run folder: where the data set lies that it uses instead of its own, {"path": …}."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a picture's bytes lie; `size` None means the whole file."""

    file: Path
    offset: int = 0
    size: int | None = None


class Rows(Sequence[Row]):
    """Rows whose pictures are all there, and a way to read the pictures.

    Attributes:
        folder: where the data set lies.
        missing: pictures that rows name but that are not there; those rows are left out.
        problems: one line for each thing found wrong, missing pictures included.
        digest: sha256 of rows and pictures (for archives: of their names, sizes and times).
    """

    def __init__(
        self,
        folder: Path,
        rows: list[Row],
        spans: dict[str, Span],
        problems: list[str],
        digest: str,
    ) -> None:
        self.folder = folder
        self.digest = digest
        self._spans = spans
        self._rows = [r for r in rows if all(name in spans for name in pictures_of(r))]
        absent = {name: None for r in rows for name in pictures_of(r) if name not in spans}
        self.missing = tuple(absent)
        self.problems = (*problems, *(f"picture {name!r} is missing" for name in self.missing))

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def read(self, name: str) -> bytes:
        """The encoded bytes of one picture.

        Raises:
            DataError: no such picture, or it can no longer be read.
        """
        span = self._spans.get(name)
        if span is None:
            raise DataError(f"{str(self.folder)!r} has no picture {name!r}", "see its rows")
        try:
            with span.file.open("rb") as file:
                file.seek(span.offset)
                return file.read() if span.size is None else file.read(span.size)
        except OSError as error:
            raise DataError(f"picture {name!r} cannot be read: {error}") from error


def pictures_of(row: Row) -> tuple[str, ...]:
    """All pictures a row names, sources first."""
    return (*row.input_image, row.output_image)


def blob_path(folder: str | Path, name: str) -> Path:
    """Where a run folder keeps the picture of this name (`<sha256>.<ext>`)."""
    return Path(folder) / "blobs" / name[:2] / name


def open_rows(folder: str | Path) -> Rows:
    """Opens a run folder or a folder in the published layout.

    Raises:
        DataError: it is neither, or a row cannot be understood (named).
    """
    folder = Path(folder)
    if (folder / IMPORTED_FILE).is_file():
        path = folder / IMPORTED_FILE
        link = _decode(path.read_bytes(), str(path))
        if not isinstance(link, dict) or not isinstance(link.get("path"), str):
            raise DataError(
                f"{str(path)!r} does not say where the data set lies", "import it again"
            )
        return _open_published(Path(link["path"]))
    if (folder / ROWS_FILE).is_file():
        return _open_run(folder)
    if any((folder / f"{family}.json").is_file() for family in FAMILIES):
        return _open_published(folder)
    raise DataError(
        f"{str(folder)!r} holds no data set",
        "give a run folder that `janus4o synth` finished, or one with text_to_image.json",
    )


def _open_run(folder: Path) -> Rows:
    data = (folder / ROWS_FILE).read_bytes()
    rows = [
        from_json(_decode(line, where), where)
        for number, line in enumerate(data.splitlines(), 1)
        for where in (f"{folder / ROWS_FILE}, line {number}",)
    ]
    spans: dict[str, Span] = {}
    for name in {name for row in rows for name in pictures_of(row)}:
        path = blob_path(folder, name)
        if _is_inside(name) and _is_file(path):
            spans[name] = Span(path)
    return Rows(folder, rows, spans, [], hashlib.sha256(data).hexdigest())


def _open_published(folder: Path) -> Rows:
    digest = hashlib.sha256()
    problems: list[str] = []
    rows: list[Row] = []
    spans: dict[str, Span] = {}
    for family in FAMILIES:
        left_out: set[str] = set()
        path = folder / f"{family}.json"
        if not path.is_file():
            continue
        data = path.read_bytes()
        digest.update(data)
        found, faults = _index_archives(folder, family)
        problems += faults
        entries = _decode(data, str(path))
        if not isinstance(entries, list):
            raise DataError(f"{str(path)!r} must hold one JSON array", "see docs/data-format.md")
        for number, entry in enumerate(entries):
            row = from_json(entry, f"{path}, row {number}")
            if fault := find_fault(row.input_prompt):
                problems.append(f"{path.name}, row {number}: the prompt {fault.words}")
                left_out.update(pictures_of(row))
                continue
            for name in pictures_of(row):
                span = found.get(name) or _plain_file(folder, name)
                if span is None:
                    continue
                # Two families may use one name for two pictures; the later one is told apart.
                if spans.setdefault(name, span) != span:
                    qualified = f"{family}:{name}"
                    spans[qualified] = span
                    row = _rename(row, name, qualified)
            rows.append(row)
        named = {name.removeprefix(f"{family}:") for row in rows for name in pictures_of(row)}
        named |= left_out
        problems += [f"picture {name!r} belongs to no row" for name in found if name not in named]
    for name, span in sorted(spans.items()):
        stat = span.file.stat()
        words = f"{name} {span.file.name} {span.offset} {span.size}"
        digest.update(words.encode("utf-8", "surrogatepass"))
        digest.update(f"{stat.st_size} {stat.st_mtime_ns}\n".encode())
    return Rows(folder, rows, spans, problems, digest.hexdigest())


def _rename(row: Row, old: str, new: str) -> Row:
    return row.model_copy(
        update={
            "input_image": tuple(new if name == old else name for name in row.input_image),
            "output_image": new if row.output_image == old else row.output_image,
        }
    )


def _index_archives(folder: Path, family: str) -> tuple[dict[str, Span], list[str]]:
    """Member name → bytes in place, of one family's tars; and what was refused, one line each."""
    spans: dict[str, Span] = {}
    problems: list[str] = []
    for archive in sorted(folder.glob(f"{family}_part_*.tar")):
        length = archive.stat().st_size
        try:
            with tarfile.open(archive, "r:") as tar:
                for member in tar:
                    fault = find_member_fault(member, length, spans)
                    if fault:
                        problems.append(f"{archive.name}: member {member.name!r} {fault}")
                    elif not member.isdir():
                        name = member.name.removeprefix("./")
                        spans[name] = Span(archive, member.offset_data, member.size)
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            problems.append(f"{archive.name}: damaged archive: {error}")
    return spans, problems


def find_member_fault(member: tarfile.TarInfo, length: int, seen: Container[str]) -> str:
    """Why a member is refused; empty for one that is fine."""
    if not _is_inside(member.name):
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


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _plain_file(folder: Path, name: str) -> Span | None:
    if not _is_inside(name):
        return None
    path = folder / name
    if not _is_file(path) or not path.resolve().is_relative_to(folder.resolve()):
        return None
    return Span(path)


def _is_file(path: Path) -> bool:
    """False also for names no file can have, such as one of 300 bytes."""
    try:
        return path.is_file()
    except OSError:
        return False


def _decode(data: bytes, where: str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not valid JSON: {error}", "see docs/data-format.md") from error
