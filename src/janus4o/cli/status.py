"""`janus4o status`: how far a run is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import console


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show how far the synthesis of RUN is, why samples came to nothing, and what was spent."""
    from janus4o.synth.status import status

    found = status(run)
    if as_json:
        console.json(found.to_json())
        return
    names = list(dict.fromkeys(state for counts in found.states.values() for state in counts))
    console.table(
        ("samples", *names),
        [(name, *(counts.get(s, 0) for s in names)) for name, counts in found.states.items()],
    )
    if found.reasons:
        console.say()
        console.table(("came to nothing", "samples"), list(found.reasons.items()))
    spend = found.spend
    console.say()
    unpriced = f", {spend.unpriced:,} answers of unknown price" if spend.unpriced else ""
    console.say(
        f"{spend.calls:,} calls ({spend.refused:,} refused, {spend.errors:,} without an answer), "
        f"{spend.input_tokens:,} + {spend.output_tokens:,} tokens, {spend.images:,} pictures, "
        f"${spend.cost_usd:.2f}{unpriced}"
    )
    if found.finished is None:
        console.say("the data set is not finished: run `janus4o synth` to go on")
    else:
        rows = ", ".join(f"{count:,} {name}" for name, count in found.finished.items())
        console.say(f"the data set is finished: {rows} rows")
