"""Takes in a data set of any of the three layouts without unpacking or copying it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from janus4o import files
from janus4o.errors import DataError, ImageError, RecipeChanged
from janus4o.images import open_image
from janus4o.rows import FAMILIES, IMPORTED_FILE, ROWS_FILE, Rows, open_rows, pictures_of


@dataclass(frozen=True, slots=True)
class Import:
    """What a data set holds.

    Attributes:
        rows: whole rows by family; `pictures` those they name, each once.
        several_sources: edit rows with more than one input image.
        problems: everything wrong, one line each; rows with such pictures are left out.
    """

    path: Path
    rows: dict[str, int]
    pictures: int
    several_sources: int
    problems: tuple[str, ...]
    digest: str


def import_dataset(
    path: str | Path,
    folder: str | Path | None = None,
    *,
    decode: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Import:
    """Checks a data set and, with `folder`, makes that run folder use it where it lies.

    Args:
        path: a folder in the published layout, of Parquet files or of WebDataset tars; or one such file.
        decode: also decode every picture; those that fail are listed.
        progress: called with (pictures decoded, pictures).

    Raises:
        DataError: there is no data set, or not one whole row.
        RecipeChanged: `folder` already has a data set of its own, or another one.
    """
    path = Path(path).resolve()
    rows = open_rows(path)
    problems = list(rows.problems)
    names = list(dict.fromkeys(name for row in rows for name in pictures_of(row)))
    if decode:
        problems += _undecodable(rows, names, progress)
    if not rows:
        first = f"; the first problem: {problems[0]}" if problems else ""
        raise DataError(f"{str(path)!r} has no whole row{first}", "see docs/data-format.md")
    if folder is not None:
        _link(path, Path(folder))
    edits = sum(row.is_edit for row in rows)
    return Import(
        path,
        dict(zip(FAMILIES, (len(rows) - edits, edits), strict=True)),
        len(names),
        sum(len(row.input_image) > 1 for row in rows),
        tuple(problems),
        rows.digest,
    )


def _undecodable(
    rows: Rows, names: list[str], progress: Callable[[int, int], None] | None
) -> list[str]:
    problems = []
    for done, name in enumerate(names, 1):
        try:
            open_image(rows.read(name))
        except (ImageError, DataError) as error:
            problems.append(f"picture {name!r}: {error.message}")
        if progress is not None:
            progress(done, len(names))
    return problems


def _link(path: Path, folder: Path) -> None:
    with files.lock(folder):
        link = folder / IMPORTED_FILE
        content = json.dumps({"path": str(path)}).encode()
        if (folder / ROWS_FILE).exists() or (link.exists() and link.read_bytes() != content):
            raise RecipeChanged(
                f"{str(folder)!r} already has another data set", "give another folder"
            )
        link.parent.mkdir(exist_ok=True)
        files.write_atomic(link, content)
