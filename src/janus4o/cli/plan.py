"""`janus4o plan`: what a recipe would ask for, call, cost, need and take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from janus4o.cli import console

TOO_SMALL = 300_000_000
"""Of a model with fewer parameters the data sheet of a GPU says nothing."""


def command(
    recipe: Annotated[Path, typer.Argument(help="The recipe (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as synthesis.editing.count=100.")
    ] = None,
    gpus: Annotated[
        int, typer.Option(min=1, help="GPUs that training is reckoned for, alike and together.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Reckon RECIPE without asking anybody anything: nothing is spent and nothing is written."""
    from janus4o.cli.teachers import hire, shutdowns
    from janus4o.recipe import load
    from janus4o.synth.plan import plan
    from janus4o.train.plan import GPUS, describe, find_shape, plan_training

    read = load(recipe, overrides)
    staff = hire(read, asking=False)
    made = plan(read, staff.writer, staff.painter, staff.inspector, staff.judge)
    training = plan_training(read, gpus)
    if as_json:
        console.json({**made.to_json(), "training": training and training.to_json()})
        return
    decay = read.synthesis.text_to_image.category_decay
    cost = console.cost(made.likely_usd, made.cost_usd)
    budget = "none" if made.budget_usd is None else f"${made.budget_usd:.2f}"
    rows: list[tuple[str, Any]] = [
        ("run folder", read.folder),
        ("teachers", f"{staff.writer.name} writes, {staff.painter.name} paints"),
        *((f"rows, {name}", f"{count:,}") for name, count in made.rows.items()),
        ("prompts", _shares(made.kinds)),
        ("edits", _shares(made.tasks)),
        (
            "object categories",
            f"1..{made.max_categories}, mean {made.mean_categories:.2f} "
            f"(λ = {decay:g}; over 1..100 the mean is {made.full_mean_categories:.2f}, "
            f"{made.mass_cut:.2%} of it is cut)",
        ),
        (
            "kept for the exam",
            f"{made.kept_out:.1%} of what is drawn; not asked for, costs no call",
        ),
        (
            "calls",
            f"{made.write_calls:,} to write, {made.paint_calls:,} to paint"
            + (f", {made.judge_calls:,} to judge" if staff.judge else "")
            + ", or a few more",
        ),
        ("cost", f"{cost}; budget {budget}"),
        *(("", f"put into the recipe: {line}") for line in made.prices_wanted),
        *(("", f"not there yet: the pictures of {key}") for key in made.pictures_wanted),
        *(("", warning) for warning in shutdowns(read)),
        ("time", f"about {console.duration(made.seconds)}"),
        ("disk", f"about {made.disk_bytes / 1e6:,.0f} MB for {made.pictures:,} pictures"),
    ]
    unknown = "no rows" if find_shape(read.model.init) else f"{read.model.init}: sizes unknown"
    rows += describe(training) if training else [("training", unknown)]
    console.table(("", ""), rows)
    if training and training.parameters > TOO_SMALL:
        several = f" × {gpus}" if gpus > 1 else ""
        console.table(
            ("training on", "fits", "samples/s", "hours", "reckoned at"),
            [
                (
                    f"{gpu.name}{several}",
                    "yes" if training.fits(gpu) else "no",
                    f"{training.samples / training.seconds(gpu):.3g}",
                    f"{training.seconds(gpu) / 3600:.3g}",
                    f"{gpu.share:.0%} of {gpu.peak / 1e12:g} TFLOP/s, not measured",
                )
                for gpu in GPUS
            ],
        )


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items()) or "none"
