"""WebDataset: plain tars in which the members of one sample share the name before the first dot.

Of each sample `<key>.json` is the row, with the published keys; its pictures are members of the same
tar, named there in full.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from janus4o.errors import DataError
from janus4o.prompt import find_fault
from janus4o.records import Row, from_json
from janus4o.rows import archives
from janus4o.rows.places import FAMILIES, Rows, Span, pictures_of

LONGEST_JSON = 1_000_000
"""Bytes the row of one sample may take."""


def files_of(path: Path) -> list[Path]:
    """The tars of a folder, or the one given; text-to-image first, then edits, then others."""
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    return sorted(path.glob("*.tar"), key=family_order)


def family_order(file: Path) -> tuple[int, str]:
    """Sorts files of the first family first, then those of the second, then any others."""
    known = [number for number, family in enumerate(FAMILIES) if file.name.startswith(f"{family}-")]
    return (known[0] if known else len(FAMILIES), file.name)


def open_files(path: Path, files: list[Path], problems: list[str]) -> Rows:
    """Opens tars as one data set; what is wrong in them is added to `problems`.

    Raises:
        DataError: no sample has a row.
    """
    digest = hashlib.sha256()
    rows: list[Row] = []
    spans: dict[str, Span] = {}
    for archive in files:
        stat = archive.stat()
        digest.update(f"{archive.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        found = dict(archives.index(archive, problems))
        named: set[str] = set()
        for row in _rows(archive, found, problems):
            named.update(pictures_of(row))
            rows.append(_qualify(row, archive.name))
            digest.update(row.to_json_line().encode("utf-8", "surrogatepass"))
        for name, span in found.items():
            if not name.endswith(".json"):
                spans[f"{archive.name}/{name}"] = span
                if name not in named:
                    problems.append(f"{archive.name}: picture {name!r} belongs to no row")
    if not rows:
        first = f"; the first problem: {problems[0]}" if problems else ""
        raise DataError(
            f"{str(path)!r}: no tar has a sample with a row{first}", "see docs/data-format.md"
        )
    return Rows(path, rows, spans, problems, digest.hexdigest())


def _rows(archive: Path, found: dict[str, Span], problems: list[str]) -> Iterator[Row]:
    with archive.open("rb") as file:
        for name, span in found.items():
            if not name.endswith(".json"):
                continue
            size = span.size or 0
            if size > LONGEST_JSON:
                problems.append(f"{archive.name}: {name!r} is larger than a row can be")
                continue
            file.seek(span.offset)
            where = f"{archive.name}: {name!r}"
            try:
                row = from_json(json.loads(file.read(size)), where)
            except (DataError, ValueError, RecursionError) as error:
                said = (
                    error.message if isinstance(error, DataError) else f"{where}: no row: {error}"
                )
                problems.append(said)
                continue
            if fault := find_fault(row.input_prompt):
                problems.append(f"{where}: the prompt {fault.words}")
                continue
            yield row


def _qualify(row: Row, archive: str) -> Row:
    """Keys begin again in every tar of some data sets, so that names hold within their tar only."""
    return row.model_copy(
        update={
            "input_image": tuple(f"{archive}/{name}" for name in row.input_image),
            "output_image": f"{archive}/{row.output_image}",
        }
    )
