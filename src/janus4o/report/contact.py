"""Contact sheets: a fair sample of the data set, every n-th row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from janus4o.errors import DataError
from janus4o.records import Row
from janus4o.report.pictures import embed
from janus4o.rows import Rows

DRAWN = 48
EDITED = 24
"""Most rows of each kind on the page."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One row: its pictures as data URIs (None where one cannot be read) and its text."""

    caption: str
    sources: tuple[str | None, ...]
    picture: str | None


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """A sample of one kind of row out of `total`."""

    frames: tuple[Frame, ...]
    total: int


def contact_sheets(rows: Rows) -> tuple[ContactSheet, ContactSheet]:
    """Text-to-image rows, then edits with what they started from."""
    drawn = [row for row in rows if not row.is_edit]
    edits = [row for row in rows if row.is_edit]
    return _sheet(rows, drawn, DRAWN), _sheet(rows, edits, EDITED)


def _sheet(rows: Rows, some: Sequence[Row], most: int) -> ContactSheet:
    count = min(most, len(some))
    chosen = [some[k * len(some) // count] for k in range(count)]
    return ContactSheet(
        tuple(
            Frame(
                row.input_prompt,
                tuple(_embed(rows, name) for name in row.input_image),
                _embed(rows, row.output_image),
            )
            for row in chosen
        ),
        len(some),
    )


def _embed(rows: Rows, name: str) -> str | None:
    try:
        return embed(rows.read(name))
    except DataError:
        return None
