"""`janus4o view`: a data set as pages of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import console

SHOWN_PROBLEMS = 3


def command(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a data set.")],
    checks: Annotated[
        Path | None,
        typer.Option(help="Folder with the checks.jsonl of a data set that is no run."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 lets others in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes any free one.")] = 8766,
) -> None:
    """Look at a data set in the browser: before and after, filters, checks, what was refused and why.

    Changes nothing; stop it with Ctrl-C. Reads a run folder, finished or not, the published layout,
    Parquet and WebDataset.
    """
    from janus4o.serve.viewer.album import open_album
    from janus4o.serve.viewer.server import Server

    with Server(host, port) as server:  # first, so that a port that is taken is said at once
        album = open_album(path, checks)
        for problem in album.rows.problems[:SHOWN_PROBLEMS]:
            console.warn(problem)
        if len(album.rows.problems) > SHOWN_PROBLEMS:
            console.warn(f"and {len(album.rows.problems) - SHOWN_PROBLEMS:,} more, see the page")
        server.show(album, path)
        lost = f" and {len(album) - len(album.rows):,} samples that came to nothing"
        console.note(f"{len(album.rows):,} rows{lost if len(album) > len(album.rows) else ''}")
        console.say(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.note("stopped")
