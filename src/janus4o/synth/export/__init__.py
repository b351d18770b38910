"""Writes a data set for others: the published layout, Parquet or WebDataset, with card and figures.

The same rows and pictures always give the same bytes, the card's dates and costs apart; pictures are the
stored bytes, untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from janus4o import files
from janus4o.audited import AUDIT_FILE, read_audit
from janus4o.errors import DataError
from janus4o.records import Row
from janus4o.rows import CROISSANT_FILE, FAMILIES, Rows, open_rows
from janus4o.synth.checking.registry import Finding
from janus4o.synth.checking.run import read_checks
from janus4o.synth.export import (
    card,
    croissant,
    figures,
    folder,
    pairs,
    parquet,
    sharegpt,
    webdataset,
)
from janus4o.synth.export.parts import Part

Form = Literal["sharegpt", "parquet", "webdataset", "pairs"]
FORMS = {"sharegpt": sharegpt, "parquet": parquet, "webdataset": webdataset, "pairs": pairs}


@dataclass(frozen=True, slots=True)
class Export:
    """What was written: rows and parts by family, and the problems of what was exported."""

    folder: Path
    rows: dict[str, int]
    parts: dict[str, int]
    problems: tuple[str, ...]


def export(
    source: str | Path,
    out: str | Path,
    form: Form = "sharegpt",
    *,
    provenance: bool = False,
    passed: bool = False,
    part_bytes: int | None = None,
) -> Export:
    """Exports a run folder, or anything else `open_rows` reads.

    A kill or a full disk leaves whole files or none; the same call then begins again.

    Args:
        out: made if absent; an earlier export there is replaced.
        provenance: keep each row's `provenance` beside the published keys, with what was checked.
        passed: leave out rows that `janus4o check` said no to.
        part_bytes: a part is closed when it holds this much; default what suits the form.

    Raises:
        DataError: `source` holds no data set, `out` holds something else, no row passed, or no row has a
            rejected picture to make a pair with.
        FolderBusy: another process writes to `out`.
        Refused: a package is missing.
    """
    rows, out = open_rows(source), Path(out)
    if out.resolve() in (
        rows.folder.resolve(),
        rows.folder.resolve().parent,
        Path(source).resolve(),
    ):
        raise DataError(f"{str(out)!r} is the data set itself", "give another folder")
    chosen = _chosen(rows, Path(source), passed)
    if form == "pairs":
        chosen = pairs.of(chosen, source)
    layout = FORMS[form]
    limit = part_bytes or layout.PART_BYTES
    making = card.read_making(Path(source))
    folder.check(out)
    with files.lock(out):
        folder.clear(out)
        parts: dict[str, list[Part]] = {}
        counts: dict[str, int] = {}
        for family in FAMILIES:
            members = [row for row in chosen if row.is_edit == (family == FAMILIES[1])]
            counts[family] = sum(map(pairs.number, members)) if form == "pairs" else len(members)
            parts[family] = layout.write(rows, members, out, family, provenance, limit)
        drawn = figures.draw(chosen, making.targets)
        if drawn:
            (out / folder.FIGURES_FOLDER).mkdir(exist_ok=True)
        for name, data in drawn.items():
            files.write_atomic(out / folder.FIGURES_FOLDER / name, data)
        audited = read_audit(Path(source) / AUDIT_FILE, rows.digest)
        problems = len(rows.problems)
        text = card.write(chosen, making, form, parts, list(drawn), problems, audited)
        files.write_atomic(out / folder.CARD_FILE, folder.marked(text))
        things = "preference pairs" if form == "pairs" else "synthetic rows"
        words = f"{sum(counts.values()):,} {things} for generating and editing pictures"
        listing = croissant.describe(making.name, form, parts, words, provenance)
        files.write_atomic(out / CROISSANT_FILE, listing)
    pieces = {f: sum(not one.name.endswith(".json") for one in made) for f, made in parts.items()}
    return Export(out, counts, pieces, (*rows.problems, *making.problems))


def _chosen(rows: Rows, source: Path, passed: bool) -> Sequence[Row]:
    """The rows to be exported, each with what `janus4o check` found, if it has looked at them."""
    found = read_checks(source, rows.digest)
    if found is None:
        if passed:
            raise DataError(f"{str(source)!r} was not checked as it is", f"janus4o check {source}")
        return rows
    if passed and not found.passed:
        raise DataError(f"not one row of {str(source)!r} passed", f"see janus4o status {source}")
    return [
        _with_checks(row, said)
        for row, said in zip(rows, found.findings, strict=True)
        if not passed or all(one.passed for one in said.values())
    ]


def _with_checks(row: Row, said: dict[str, Finding]) -> Row:
    if row.provenance is None:
        return row
    results = {name: {"figure": one.figure, "passed": one.passed} for name, one in said.items()}
    checks = {**row.provenance.checks, **results}
    return row.model_copy(
        update={"provenance": row.provenance.model_copy(update={"checks": checks})}
    )
