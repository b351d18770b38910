"""`janus4o fsck`: whether everything a run says it has is there and whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import console
from janus4o.errors import DataError


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Mend what can be mended without losing anything sound."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every finding as JSON.")] = False,
) -> None:
    """Read every picture of RUN and name those that are missing, corrupt or nobody's."""
    from janus4o.synth.fsck import MENDING, fsck

    with console.progress(None, "fsck", "pictures") as progress:

        def show(done: int, total: int) -> None:
            progress.total = total
            progress.update(done)

        found = fsck(run, repair=repair, progress=show)
    if as_json:
        console.json(asdict(found))
    elif found.findings:
        console.table(
            ("", "file", ""), [(one.kind, one.file, one.detail) for one in found.findings]
        )
        if repair:
            for kind in dict.fromkeys(one.kind for one in found.findings):
                console.say(f"{kind}: {MENDING[kind]}")
    else:
        console.say(f"{found.pictures:,} pictures of {found.samples:,} samples, nothing wrong")
    if found.findings and not repair:
        counts = Counter(one.kind for one in found.findings)
        words = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
        raise DataError(f"{str(run)!r}: {words}", f"mend it with `janus4o fsck --repair {run}`")
