"""`janus4o export`: a data set for others, with its card, figures and list of files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import console


class Format(StrEnum):
    SHAREGPT = "sharegpt"
    PARQUET = "parquet"
    WEBDATASET = "webdataset"
    PAIRS = "pairs"


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a data set.")],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="sharegpt: two JSON arrays and tars; parquet: pictures inside, for `datasets`; "
            "webdataset: sharded tars; pairs: chosen beside rejected, for preference training.",
        ),
    ] = Format.SHAREGPT,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; default export/<format> in RUN.")
    ] = None,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Keep how each row came to be beside its keys.")
    ] = False,
    passed: Annotated[
        bool, typer.Option("--passed", help="Leave out rows that `janus4o check` said no to.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written.")] = False,
) -> None:
    """Write RUN's data set, its card, figures and croissant.json. The same rows give the same bytes."""
    from janus4o.synth.export import export

    done = export(
        run, out or run / "export" / form.value, form.value, provenance=provenance, passed=passed
    )
    for problem in done.problems[:10]:
        console.warn(problem)
    if as_json:
        console.json(
            {
                "folder": str(done.folder),
                "rows": done.rows,
                "parts": done.parts,
                "problems": done.problems,
            }
        )
        return
    if len(done.problems) > 10:
        console.warn(f"and {len(done.problems) - 10:,} more; --json lists them all")
    rows = ", ".join(f"{count:,} {family}" for family, count in done.rows.items())
    things = "pairs" if form is Format.PAIRS else "rows"
    console.say(f"{rows} {things} in {done.folder}")
