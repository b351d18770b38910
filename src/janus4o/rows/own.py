"""The rows of a run folder: `dataset/rows.jsonl`, pictures under `blobs/`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from janus4o.errors import DataError
from janus4o.records import Row, from_json
from janus4o.rows.places import ROWS_FILE, Rows, Span, is_file, is_inside, pictures_of


def blob_path(folder: str | Path, name: str) -> Path:
    """Where a run folder keeps the picture of this name (`<sha256>.<ext>`)."""
    return Path(folder) / "blobs" / name[:2] / name


def open_run(folder: Path) -> Rows:
    """Raises DataError where a row cannot be understood."""
    digest, rows = hashlib.sha256(), []
    with (folder / ROWS_FILE).open("rb") as file:
        for number, line in enumerate(file, 1):
            digest.update(line)
            where = f"{folder / ROWS_FILE}, line {number}"
            try:
                data = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{where} is not valid JSON: {error}", "see docs/data-format.md"
                ) from error
            rows.append(from_json(data, where))
    places: dict[str, Span] = {}
    for name in {name for row in rows for name in (*pictures_of(row), *_rejected(row))}:
        path = blob_path(folder, name)
        if is_inside(name) and is_file(path):
            places[name] = Span(path)
    return Rows(folder, rows, places, [], digest.hexdigest())


def _rejected(row: Row) -> list[str]:
    """Pictures kept beside a row's own, which it can do without."""
    return [one.picture for one in row.provenance.rejected] if row.provenance else []
