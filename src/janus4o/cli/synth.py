"""`janus4o synth`: asks the teachers for the rows of a recipe, going on where it stopped."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus4o.cli import console
from janus4o.cli.backend import BackendOption
from janus4o.cluster import Backend

if TYPE_CHECKING:
    from janus4o.cli.teachers import Staff
    from janus4o.recipe import Recipe
    from janus4o.synth.runner import Outcome, Tally


ForkOption = Annotated[
    Path | None,
    typer.Option(
        "--fork",
        metavar="FOLDER",
        help="Leave the recipe's run folder as it is and go on in FOLDER, with what still holds.",
    ),
]


def command(
    recipe: Annotated[Path, typer.Argument(help="The recipe (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as synthesis.editing.count=100.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many further rows.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, help="US dollars; stop before spending more.")
    ] = None,
    fork: ForkOption = None,
    backend: BackendOption = Backend.PLAIN,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Make the data set of RECIPE in its run folder.

    What is there already is kept and paid for once; a finished data set is left alone. Ctrl-C lets
    what is in flight end, a second one stops at once; run it again to go on.
    """
    changes = list(overrides or [])
    if budget is not None:
        changes.append(f"synthesis.budget_usd={budget}")
    outcome = synthesize(read_recipe(recipe, changes, fork), limit, backend)
    tally, spend = outcome.tally, outcome.spend
    if as_json:
        console.json(
            {
                "folder": str(outcome.folder),
                "seconds": round(outcome.seconds, 3),
                "accepted": tally.accepted,
                "made": tally.made,
                "calls": tally.calls,
                "ends": tally.ends,
                "spend": asdict(spend),
            }
        )
        return
    rows = ", ".join(f"{count:,} {name}" for name, count in tally.accepted.items())
    console.say(f"{rows} rows in {outcome.folder} ({tally.made:,} new, ${spend.cost_usd:.2f})")


def read_recipe(path: Path, overrides: list[str] | None, fork: Path | None) -> Recipe:
    """The recipe to be carried out: in its own run folder, or in one forked from that."""
    from janus4o.recipe import load

    recipe = load(path, overrides)
    if fork is None:
        return recipe
    from janus4o.synth.fork import fork as begin

    forked, same = begin(recipe, fork)
    console.note(
        f"forked into {fork}: "
        + ("pictures, rows and codes are taken over" if same else "every sample is asked for anew")
    )
    return forked


def synthesize(
    recipe: Recipe, limit: int | None = None, backend: Backend = Backend.PLAIN
) -> Outcome:
    """The stage itself, in the recipe's run folder."""
    from janus4o.cli.teachers import hire
    from janus4o.errors import BudgetStop, Interrupted, Janus4oError, Refused
    from janus4o.files import lock
    from janus4o.synth.runner import run
    from janus4o.synth.shared import is_shared

    with (
        closing(hire(recipe, backend=backend)) as staff,
        lock(recipe.folder, shared=is_shared(recipe.folder, recipe.store)),
    ):
        try:
            with console.progress(None, "synth", "rows") as progress:

                def show(tally: Tally) -> None:
                    progress.total = tally.total
                    away = sum(tally.ends.values())
                    refused = sum(n for end, n in tally.ends.items() if end.startswith("refused"))
                    spent = f"${tally.spent_usd:.2f}"
                    if tally.done and tally.spent_usd:
                        spent += f" of about ${tally.spent_usd / tally.done * tally.total:.2f}"
                    told = {"left out": away, "spent": spent}
                    if tally.in_batches:
                        told["in batches"] = tally.in_batches
                    progress.update(tally.done, **({"refused": refused} if refused else {}), **told)

                outcome = run(
                    recipe,
                    recipe.folder,
                    staff.writer,
                    staff.painter,
                    show,
                    inspector=staff.inspector,
                    judge=staff.judge,
                    limit=limit,
                )
        except (BudgetStop, Interrupted, Refused):
            with suppress(Janus4oError):  # where the store cannot be used, that is what is told
                _sum_up(recipe, staff)
            raise
        _sum_up(recipe, staff)
    return outcome


def _sum_up(recipe: Recipe, staff: Staff) -> None:
    """Writes synthesis.json, for the report: what was wanted, what became of it, what it cost."""
    from janus4o.files import write_atomic
    from janus4o.report.evidence import SYNTHESIS_FILE
    from janus4o.synth.setting import setting_of
    from janus4o.synth.shared import open_store
    from janus4o.synth.status import status
    from janus4o.synth.targets import targets

    path = recipe.folder / SYNTHESIS_FILE
    setting = setting_of(recipe, staff.painter, staff.inspector)
    store = open_store(recipe.folder, recipe.store)
    try:
        with store.alone("summary"):
            found = {"targets": targets(setting), **status(recipe.folder).to_json()}
            del found["workers"]  # those of now
            data = (json.dumps(found, indent=2) + "\n").encode()
            if not path.is_file() or path.read_bytes() != data:
                write_atomic(path, data)
    finally:
        store.close()
