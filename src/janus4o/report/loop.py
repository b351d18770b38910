"""The loop in one picture: eight stations with what this very run made at each.

Positions are in the units of the drawing, `WIDTH` × `HEIGHT` a station. The template draws them twice,
for wide and for narrow pages.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from janus4o.errors import DataError
from janus4o.report.charts import LineChart
from janus4o.report.evidence import Evidence
from janus4o.report.gallery import TaskGallery
from janus4o.report.pictures import embed
from janus4o.report.score_table import ScoreTable

WIDTH, HEIGHT = 226, 164
LETTERS = 28
"""Letters that fit into a line of a station."""


@dataclass(frozen=True, slots=True)
class Meter:
    """A bar of a station, `share` 0–1; `before` is where it started, where that is known."""

    label: str
    share: float
    before: float | None = None


@dataclass(frozen=True, slots=True)
class Station:
    """One step of the loop.

    Attributes:
        link: the section of the page that says more.
        text: lines inside, at most three.
        pictures: data URIs, drawn from left to right.
        grid: cells a side drawn over the picture; 0 for none.
        curve: points in plot units (see `charts`).
        caption: one line below.
        done: whether the run has come so far.
    """

    title: str
    link: str
    caption: str
    text: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    grid: int = 0
    curve: str = ""
    meters: tuple[Meter, ...] = ()
    done: bool = True


def stations(
    run: Evidence,
    galleries: Sequence[TaskGallery],
    tables: Sequence[ScoreTable],
    loss: LineChart | None,
) -> tuple[Station, ...]:
    """The eight stations, in order; what the run has not made yet is said in the caption."""
    row, picture = _example(run)
    attributes = row.provenance.attributes if row and row.provenance else {}
    return (
        Station("Ask for", "asked", "drawn from the taxonomy", _wishes(attributes), done=bool(row)),
        Station(
            "Write",
            "asked",
            f"by {row.provenance.writer}" if row and row.provenance else _NOT_YET,
            _wrap(f"“{row.input_prompt}”", 3) if row else (),
            done=bool(row),
        ),
        Station(
            "Paint",
            "data",
            f"by {row.provenance.painter}" if row and row.provenance else _NOT_YET,
            pictures=(picture,) if picture else (),
            done=bool(row),
        ),
        _checked(run),
        _encoded(run, picture),
        _trained(run, loss),
        _drawn(galleries),
        _scored(tables),
    )


_NOT_YET = "not yet"


def _example(run: Evidence) -> tuple[Any, str | None]:
    """A text-to-image row that shows much: the first with two categories, else the first."""
    rows = [row for row in run.rows or () if not row.is_edit and row.provenance]
    several = (row for row in rows if len(row.provenance.attributes.get("objects") or ()) > 1)  # type: ignore[union-attr]
    row = next(several, rows[0] if rows else None)
    if row is None or run.rows is None:
        return None, None
    try:
        return row, embed(run.rows.read(row.output_image))
    except DataError:
        return row, None


def _wishes(attributes: dict[str, Any]) -> tuple[str, ...]:
    objects = [o for o in attributes.get("objects") or () if isinstance(o, dict)]
    wishes = [
        " ".join(str(part) for part in (o.get("count", 1), "×", o.get("colour"), o.get("category")) if part)
        for o in objects
    ]  # fmt: skip
    rest = [str(attributes[key]) for key in ("composition", "background") if attributes.get(key)]
    lines = [*wishes[:2], *([" · ".join(rest)] if rest else [])]
    return tuple(textwrap.shorten(line, LETTERS, placeholder="…") for line in lines)


def _checked(run: Evidence) -> Station:
    title, link = "Check", "data"
    if run.rows is None:
        return Station(title, link, _NOT_YET, done=False)
    kept = len(run.rows)
    away = sum(run.reasons.values())
    meters = [Meter(f"{kept:,} rows kept", kept / ((kept + away) or 1))]
    if away:
        meters.append(Meter(f"{away:,} left out", away / (kept + away)))
    caption = f"{len(run.rows.problems):,} unreadable pictures"
    return Station(title, link, caption, meters=tuple(meters))


def _encoded(run: Evidence, picture: str | None) -> Station:
    title, link = "Encode", "training"
    tokens, codebook = run.codes.get("tokens"), run.codes.get("codebook")
    if not isinstance(tokens, int):
        return Station(title, link, _NOT_YET, done=False)
    words = f"{tokens:,} codes" + (f" of {codebook:,}" if isinstance(codebook, int) else "")
    grid = round(tokens**0.5)
    return Station(
        title,
        link,
        f"each picture: {words}",
        pictures=(picture,) if picture else (),
        grid=grid if grid <= 24 else 0,
    )


def _trained(run: Evidence, loss: LineChart | None) -> Station:
    title, link = "Train", "training"
    if not run.metrics:
        return Station(title, link, _NOT_YET, done=False)
    steps = int(run.metrics[-1].get("step", len(run.metrics)))
    return Station(
        title, link, f"{steps:,} steps; the loss", curve=loss.curves[0].points if loss else ""
    )


def _drawn(galleries: Sequence[TaskGallery]) -> Station:
    title, link = "Generate, edit", "answers"
    shown = [g.first[0] for g in galleries if g.first and g.first[0].answers[-1].picture]
    pictures = [card.answers[-1].picture for card in shown if card.source is None][:1]
    edits = [card for card in shown if card.source is not None]
    if edits:
        pictures += [edits[0].source, edits[0].answers[-1].picture]
    found = tuple(picture for picture in pictures if picture)
    if not found:
        return Station(title, link, _NOT_YET, done=False)
    caption = "drawn; before and after an edit" if edits else "drawn from a prompt"
    return Station(title, link, caption, pictures=found)


def _scored(tables: Sequence[ScoreTable]) -> Station:
    title, link = "Judge", "scores"
    if not tables:
        return Station(title, link, _NOT_YET, done=False)
    meters = []
    for table in tables:
        scores = table.mean.scores
        base = scores.get("base")
        tuned = scores["tuned"].value
        meters.append(
            Meter(f"{table.title} {100 * tuned:.0f} %", tuned, base.value if base else None)
        )
    return Station(title, link, "held-out questions passed", meters=tuple(meters))


def _wrap(text: str, lines: int) -> tuple[str, ...]:
    wrapped = textwrap.wrap(text, LETTERS) or [""]
    if len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], textwrap.shorten(wrapped[lines - 1] + " …", LETTERS, placeholder="…")]  # fmt: skip
        if not wrapped[-1].endswith("…"):
            wrapped[-1] += " …"
    return tuple(line[: LETTERS + 2] for line in wrapped)
