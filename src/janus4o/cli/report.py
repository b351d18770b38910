"""`janus4o report`: one page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import console


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; default report.html in the folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print where it is as JSON.")] = False,
) -> None:
    """Write one self-contained page about a run: what was asked for, made, learnt and scored.

    It shows what is finished and says what is not yet; run it again at any time.
    """
    from janus4o.report.page import build

    path = build(run, out)
    if as_json:
        console.json({"report": str(path), "bytes": path.stat().st_size})
    else:
        console.say(str(path))
