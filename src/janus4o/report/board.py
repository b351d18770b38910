"""The page of a leaderboard: tables, bars, and every item with why it lost points.

Thumbnails lie in a folder beside the page and are fetched as they come into view, so that thousands of
pictures open at once. All text is escaped; the page's policy lets only its own script run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from janus4o.boards import Duel, Exhibit, Showing, Table
from janus4o.errors import BadInput, ImageError
from janus4o.files import write_atomic
from janus4o.images import open_image, read_size
from janus4o.report import templates
from janus4o.report.page import chance, title_of
from janus4o.report.votes import Votes

SIDE = 320
"""Longest side of a thumbnail in pixels."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture of the page: relative address (empty where damaged) and the size of its original."""

    url: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Card:
    """An exhibit with its thumbnails."""

    item: Exhibit
    sources: tuple[Thumbnail, ...]
    pictures: tuple[Thumbnail, ...]


def write_board(
    path: Path,
    tables: Sequence[Table],
    showings: Sequence[Showing],
    progress: Progress | None = None,
    duels: Sequence[Duel] = (),
    votes: Sequence[Votes] = (),
) -> None:
    """Writes the page and, where there are pictures, `<page>_pictures/` beside it.

    Thumbnails that are there already are not made again.

    Raises:
        BadInput: the page cannot be written there.
    """
    done = 0

    def card(item: Exhibit) -> Card:
        nonlocal done
        made = Card(
            item,
            tuple(_thumbnail(path, one) for one in item.sources),
            tuple(_thumbnail(path, one) for one in item.pictures),
        )
        done += 1
        if progress is not None:
            progress(done)
        return made

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        cards = [[card(item) for item in showing.exhibits] for showing in showings]
        write_atomic(
            path, _render(tables, showings, cards, duels, votes).encode("utf-8", "replace")
        )
    except OSError as error:
        raise BadInput(
            f"the page {str(path)!r} cannot be written: {error.strerror}", "name another --out"
        ) from error


def _thumbnail(page: Path, picture: Path) -> Thumbnail:
    """Made where it is not there; its name says of which file in which state it is."""
    folder = page.with_name(f"{page.stem}_pictures")
    try:
        state = picture.stat()
        key = f"{picture.resolve()} {state.st_size} {state.st_mtime_ns} {SIDE}"
        place = folder / f"{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:20]}.jpg"
        if place.is_file():
            return Thumbnail(f"{folder.name}/{place.name}", *read_size(picture))
        image = open_image(picture)
    except (ImageError, OSError):
        return Thumbnail("", 1, 1)
    width, height = image.size
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    folder.mkdir(exist_ok=True)
    _save(image, place)
    return Thumbnail(f"{folder.name}/{place.name}", width, height)


def _save(image: Image.Image, place: Path) -> None:
    from io import BytesIO

    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=82)
    write_atomic(place, buffer.getvalue(), durable=False)


def _render(
    tables: Sequence[Table],
    showings: Sequence[Showing],
    cards: Sequence[Sequence[Card]],
    duels: Sequence[Duel],
    votes: Sequence[Votes],
) -> str:
    environment = templates.environment()
    environment.filters["title_of"] = title_of
    environment.filters["chance"] = chance
    script = resources.files("janus4o.report").joinpath("board.js").read_text("utf-8")
    tags = sorted({item.tag for showing in showings for item in showing.exhibits})
    benchmarks = list(dict.fromkeys(table.benchmark for table in tables))
    bars = [table for table in tables if any(row.ours for row in table.rows) and table.parts]
    counts: dict[str, int] = {"lost": 0, "unscored": 0, "full": 0}
    for showing in showings:
        for item in showing.exhibits:
            counts[item.state] += 1
    context: dict[str, Any] = {
        "tables": tables,
        "benchmarks": benchmarks,
        "bars": bars,
        "duels": duels,
        "votes": votes,
        "shown": list(zip(showings, cards, strict=True)),
        "tags": tags,
        "counts": counts,
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    return environment.get_template("board.html.j2").render(context)
