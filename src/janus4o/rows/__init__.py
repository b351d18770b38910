"""Opens a data set where it lies: a run folder, the published layout, Parquet files or WebDataset tars.

Nothing is unpacked and nothing is written: archives are indexed in place, pictures are read one at a
time when they are wanted. What is wrong is listed and does not stop the rest.
"""

from __future__ import annotations

import json
from pathlib import Path

from janus4o.errors import DataError
from janus4o.rows import listing, own, parquet, published, webdataset
from janus4o.rows.listing import CROISSANT_FILE as CROISSANT_FILE
from janus4o.rows.own import blob_path as blob_path
from janus4o.rows.places import FAMILIES as FAMILIES
from janus4o.rows.places import ROWS_FILE as ROWS_FILE
from janus4o.rows.places import Rows as Rows
from janus4o.rows.places import pictures_of as pictures_of

IMPORTED_FILE = ROWS_FILE.with_name("imported.json")
"""In a run folder: where the data set lies that it uses instead of its own, {"path": …}."""


def open_rows(path: str | Path) -> Rows:
    """Opens a run folder, a folder in one of the three layouts, or one Parquet file or WebDataset tar.

    Raises:
        DataError: it is none of them, or its list of rows cannot be understood (named).
    """
    path = Path(path)
    link = path / IMPORTED_FILE
    if link.is_file():
        return _open_set(linked(link))
    if (path / ROWS_FILE).is_file():
        return own.open_run(path)
    return _open_set(path)


def linked(link: Path) -> Path:
    """Where the data set lies that an `imported.json` names; raises DataError where it does not."""
    try:
        said = json.loads(link.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{str(link)!r} is not valid JSON: {error}", "see docs/data-format.md"
        ) from error
    if not isinstance(said, dict) or not isinstance(said.get("path"), str):
        raise DataError(f"{str(link)!r} does not say where the data set lies", "import it again")
    return Path(said["path"])


def _open_set(path: Path) -> Rows:
    arrays = [(path / f"{family}.json").is_file() for family in FAMILIES]
    if any(arrays):
        if not all(arrays):  # an array comes after its tars: with both of them every row is there
            listing.check_finished(path)
        return published.open_published(path)
    if files := parquet.files_of(path):
        listing.check_finished(path)
        return parquet.open_files(path, files, listing.faults(path))
    if files := webdataset.files_of(path):
        listing.check_finished(path)
        return webdataset.open_files(path, files, listing.faults(path))
    raise DataError(
        f"{str(path)!r} holds no data set",
        "give a run folder that `janus4o synth` finished, or one with text_to_image.json, "
        "Parquet files or WebDataset tars",
    )
