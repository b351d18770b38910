"""`janus4o eval board`: score files beside published rows, on the terminal or as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus4o.cli import console
from janus4o.errors import UsageError

if TYPE_CHECKING:
    from janus4o.boards import Duel, Table
    from janus4o.evaluate.board import Entry
    from janus4o.report.votes import Votes


def board(
    scores: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]SCORES...", help="Score files, each with its system's name."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a page with every item here.")
    ] = None,
    evidence: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of evidence, where it does not lie beside its score file."),
    ] = None,
    pictures: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]DIR", help="A system's pictures, in the benchmark's layout."),
    ] = None,
    sources: Annotated[
        list[Path] | None, typer.Option(help="Folder of the pictures that were edited.")
    ] = None,
    arenas: Annotated[
        list[Path] | None,
        typer.Option("--arena", help="A contest's folder whose votes were counted (--report)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the tables as JSON.")] = False,
) -> None:
    """Set score files beside published rows, never two scales in one table.

    A score joins published rows only where its networks, options and prompts are the official ones;
    every other stands apart and says why. The page shows each picture with what was said about it.
    """
    from janus4o.evaluate.board import read_entry, tables
    from janus4o.evaluate.references import read_references
    from janus4o.evaluate.versus import duels

    entries = [read_entry(Path(path), name) for name, path in map(_named, scores)]
    seen: set[tuple[str, ...]] = set()
    for entry in entries:
        if (entry.system, *entry.key) in seen:
            raise UsageError(
                f"two score files of {entry.system!r} scored in the same way",
                "name the systems: NAME=FILE",
            )
        seen.add((entry.system, *entry.key))
    found, matches = tables(entries, read_references()), duels(entries, evidence or [])
    votes = [_votes(folder) for folder in arenas or []]
    if as_json:
        from dataclasses import asdict

        console.json(
            {
                "tables": [asdict(table) for table in found],
                "duels": [asdict(duel) for duel in matches],
            }
        )
    else:
        for table in found:
            _say(table)
        _say_duels(matches)
    if out is not None:
        folders = evidence or [], pictures or [], sources or []
        _write(out, entries, (found, matches, votes), folders, as_json)


def _write(
    out: Path,
    entries: Sequence[Entry],
    found: tuple[Sequence[Table], Sequence[Duel], Sequence[Votes]],
    folders: tuple[Sequence[Path], Sequence[str], Sequence[Path]],
    quiet: bool,
) -> None:
    from janus4o.evaluate.exhibits import show
    from janus4o.report.board import write_board

    evidence, pictures, sources = folders
    systems = {entry.system for entry in entries}
    of: dict[str, list[Path]] = {system: [] for system in systems}
    for name, path in map(_named, pictures):
        if (not name and len(systems) > 1) or (name and name not in systems):
            raise UsageError(
                f"--pictures {path!r} belongs to {name or 'no system'!r}",
                f"--pictures NAME=DIR, NAME one of {', '.join(sorted(systems))}",
            )
        if not Path(path).is_dir():
            raise UsageError(f"--pictures {path!r} is not a folder", "check the path")
        of[name or next(iter(systems))].append(Path(path))
    showings = [show(entry, evidence, of[entry.system], sources) for entry in entries]
    for showing in showings:
        if showing.missing:
            console.warn(f"{showing.system}, {showing.benchmark}: {showing.missing}")
    count = sum(len(showing.exhibits) for showing in showings)
    with console.progress(count, "draw", "items") as progress:
        tables, matches, votes = found
        write_board(out, tables, showings, progress.update, matches, votes)
    (console.note if quiet else console.say)(str(out))


def _named(text: str) -> tuple[str, str]:
    """ "NAME=PATH" or "PATH" → (name or empty, path). A path that is there is a path."""
    name, equals, path = text.partition("=")
    return ("", text) if not equals or Path(text).exists() else (name, path)


def _votes(folder: Path) -> Votes:
    from janus4o.errors import DataError
    from janus4o.report.votes import read_arena

    votes = read_arena(folder)
    if votes is None:
        raise DataError(
            f"{str(folder)!r} holds no counted votes",
            f"janus4o eval arena --out {folder} --report",
        )
    return votes


def _say_duels(duels: Sequence[Duel]) -> None:
    rows: list[tuple[Any, ...]] = []
    for duel in duels:
        who, value = f"{duel.system} − {duel.other}", duel.difference
        if value is None:
            rows.append((duel.benchmark, who, duel.missing, "", "", ""))
            continue
        difference, low, high = (
            f"{number:+.{duel.digits}f}"
            for number in (value.score, value.low or 0, value.high or 0)
        )
        p = f"{duel.p_value:.2g}"
        rows.append((duel.benchmark, who, difference, f"{low} to {high}", p, value.n))
    if rows:
        console.table(("two systems", "", "difference", "95 %", "p", "prompts"), rows)


def _say(table: Table) -> None:
    rows: list[tuple[Any, ...]] = []
    for row in table.rows:
        value = row.value
        score = f"{value.score:.{table.digits}f}"
        limits = (
            f"{value.low:.{table.digits}f}–{value.high:.{table.digits}f}"
            if value.low is not None and value.high is not None
            else ""
        )
        who = f"{row.system} (ours)" if row.ours else row.system
        said = "" if row.ours else row.caveat
        rows.append((who, score, limits, row.source, said))
    console.table(("system", "score", "95 %", "source", ""), rows, table.title)
    console.say(table.note)
    console.say()
