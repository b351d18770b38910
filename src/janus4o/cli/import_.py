"""`janus4o import`: takes in a data set where it lies: published layout, Parquet or WebDataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import console


def command(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="Folder with JSON and tars, Parquet files or WebDataset tars; or one of these files.",
        ),
    ],
    into: Annotated[
        Path | None,
        typer.Option(help="Run folder that shall use it: encode and train then read it there."),
    ] = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every picture and list those that fail.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found.")] = False,
) -> None:
    """Check a data set: published layout, Parquet or WebDataset. Nothing is unpacked, copied or
    changed in PATH.
    """
    from janus4o.synth.importer import import_dataset

    if decode:
        with console.progress(None, "decode", "pictures") as progress:

            def show(done: int, total: int) -> None:
                progress.total = total
                progress.update(done)

            found = import_dataset(path, into, decode=True, progress=show)
    else:
        found = import_dataset(path, into)
    for problem in found.problems[:10]:
        console.warn(problem)
    if as_json:
        console.json({**asdict(found), "path": str(found.path)})
        return
    if len(found.problems) > 10:
        console.warn(f"and {len(found.problems) - 10:,} more; --json lists them all")
    rows = ", ".join(f"{count:,} {family}" for family, count in found.rows.items())
    several = f", {found.several_sources:,} with several sources" if found.several_sources else ""
    console.say(f"{rows} rows{several}; {found.pictures:,} pictures in {found.path}")
    if into is not None:
        console.say(f"{into} uses it from now on")
