"""`janus4o replay`: makes a run's data set again from the replies it recorded."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus4o.cli import console

if TYPE_CHECKING:
    from janus4o.synth.runner import Tally


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, synthesis finished.")],
    out: Annotated[
        Path | None, typer.Option(help="Keep what is made in this folder; default: keep nothing.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Run the pipelines of RUN again, answered from its journal: no key, no network, no cost.

    Ends with exit code 0 where the rows are the same to the byte, 3 where a reply is not recorded or a
    row differs.
    """
    from janus4o.cli.teachers import hire
    from janus4o.errors import DataError
    from janus4o.recipe import load
    from janus4o.synth.replay import check_replayable, replay
    from janus4o.synth.shared import open_store
    from janus4o.teachers.recorded import RecordedTeacher

    check_replayable(run)
    recipe = load(run / "recipe.yaml")
    staff = hire(recipe, asking=False)
    store = open_store(run)
    try:
        teacher = RecordedTeacher(run, store.attempts(), staff.painter.max_categories)
    finally:
        store.close()
    with ExitStack() as stack:
        if out is None:
            # Beside the run: pictures are as many again, and /tmp may be small.
            made = tempfile.TemporaryDirectory(prefix=".replay-", dir=run.absolute().parent)
            folder = Path(stack.enter_context(made))
        elif out.resolve() == run.resolve():
            raise DataError(f"{str(out)!r} is the run itself", "give another folder")
        else:
            folder = out
        progress = stack.enter_context(console.progress(None, "replay", "rows"))

        def show(tally: Tally) -> None:
            progress.total = tally.total
            progress.update(tally.done)

        done = replay(recipe, run, folder, teacher, teacher, staff.inspector, show)
    if as_json:
        console.json({**asdict(done), "folder": str(out) if out else None, "same": True})
        return
    where = f" in {out}" if out else ""
    console.say(f"{done.rows:,} rows{where} from {done.calls:,} recorded replies: the same bytes")
