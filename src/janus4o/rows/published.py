"""The published layout: two JSON arrays, pictures in tars or as plain files beside them.

`text_to_image.json` and `text_and_image_to_image.json`, pictures in `text_to_image_part_{i}.tar` and
`text_and_image_to_image_part_{i}.tar`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from janus4o.errors import DataError
from janus4o.prompt import find_fault
from janus4o.records import Row, from_json
from janus4o.rows import archives, listing
from janus4o.rows.places import FAMILIES, Rows, Span, is_file, is_inside, pictures_of


def open_published(folder: Path) -> Rows:
    """Raises DataError where an array or a row of it cannot be understood."""
    digest = hashlib.sha256()
    problems = listing.faults(folder)
    rows: list[Row] = []
    spans: dict[str, Span] = {}
    for family in FAMILIES:
        left_out: set[str] = set()
        path = folder / f"{family}.json"
        if not path.is_file():
            continue
        data = path.read_bytes()
        digest.update(data)
        found: dict[str, Span] = {}
        for archive in sorted(folder.glob(f"{family}_part_*.tar")):
            for name, there in archives.index(archive, problems):
                if found.setdefault(name, there) is not there:
                    problems.append(f"{archive.name}: member {name!r} occurs twice")
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


def _plain_file(folder: Path, name: str) -> Span | None:
    if not is_inside(name):
        return None
    path = folder / name
    if not is_file(path) or not path.resolve().is_relative_to(folder.resolve()):
        return None
    return Span(path)


def _decode(data: bytes, where: str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not valid JSON: {error}", "see docs/data-format.md") from error
