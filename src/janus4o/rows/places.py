"""Rows together with the places their pictures are read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, overload

from janus4o.errors import DataError
from janus4o.records import Row

FAMILIES = ("text_to_image", "text_and_image_to_image")
"""How files of text-to-image rows and of edit rows are named in every layout."""
ROWS_FILE = Path("dataset") / "rows.jsonl"


class Place(Protocol):
    """Where one picture's bytes lie."""

    def read(self) -> bytes:
        """The bytes; raises OSError or DataError where they are gone."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a file; `size` None means the whole file."""

    file: Path
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return file.read() if self.size is None else file.read(self.size)


class Rows(Sequence[Row]):
    """Rows whose pictures are all there, each once, and a way to read the pictures.

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
        places: Mapping[str, Place],
        problems: list[str],
        digest: str,
    ) -> None:
        self.folder = folder
        self.digest = digest
        self._places = places
        absent = {name: None for r in rows for name in pictures_of(r) if name not in places}
        self.missing = tuple(absent)
        whole = [r for r in rows if all(name in places for name in pictures_of(r))]
        self._rows, twice = _each_once(whole)
        self.problems = (
            *problems,
            *(f"picture {name!r} is missing" for name in self.missing),
            *twice,
        )

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
        place = self._places.get(name)
        if place is None:
            raise DataError(f"{str(self.folder)!r} has no picture {name!r}", "see its rows")
        try:
            return place.read()
        except OSError as error:
            raise DataError(f"picture {name!r} cannot be read: {error}") from error


def pictures_of(row: Row) -> tuple[str, ...]:
    """All pictures a row names, sources first."""
    return (*row.input_image, row.output_image)


def _each_once(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """The rows without those whose id an earlier one has, and a line for each of these."""
    first: dict[str, int] = {}
    kept, twice = [], []
    for number, row in enumerate(rows):
        if row.provenance is not None:
            before = first.setdefault(row.provenance.id, number)
            if before != number:
                said = f"rows {before} and {number} have the same id {row.provenance.id!r}"
                twice.append(f"{said}: the later one is left out")
                continue
        kept.append(row)
    return kept, twice


def is_inside(name: str) -> bool:
    """Does a member name stay within its archive?"""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def is_file(path: Path) -> bool:
    """False also for names no file can have, such as one of 300 bytes."""
    try:
        return path.is_file()
    except OSError:
        return False
