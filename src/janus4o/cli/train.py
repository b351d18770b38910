"""`janus4o train`: fine-tuning, going on where it stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus4o.cli import console

if TYPE_CHECKING:
    from janus4o.recipe import Recipe
    from janus4o.train.codes import Codes
    from janus4o.train.loop import Result
    from janus4o.train.metrics import Metrics


def command(
    recipe: Annotated[Path, typer.Argument(help="The recipe (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as train.steps=200.")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Where to start: sketch-base, random, a folder or a hub id; default model.init."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Fine-tune on RECIPE's codes. Goes on from the newest checkpoint of the run."""
    from janus4o.recipe import load

    read = load(recipe, overrides)
    result = train(read, init or read.model.init, device)
    if as_json:
        console.json({"checkpoint": str(result.checkpoint), "problems": list(result.problems)})
    else:
        console.say(str(result.checkpoint))


def train(recipe: Recipe, init: str, device: str = "auto") -> Result:
    """The stage itself, in the recipe's run folder."""
    # Threads that wait without spinning: twice as fast where another process wants a core too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from contextlib import ExitStack

    from janus4o import files
    from janus4o.cli.samples import draw_progress
    from janus4o.model.device import move, pick_device
    from janus4o.recipe import keep
    from janus4o.train.codes import codes_folder, open_codes
    from janus4o.train.learnt import to_bfloat16
    from janus4o.train.loop import train as train_model
    from janus4o.train.presets import resolve, resolve_fit
    from janus4o.train.ranks import join, local_device, noticing
    from janus4o.train.start import start_model

    settings = resolve(recipe.train)
    place = pick_device(local_device(device))
    with ExitStack() as held:
        ranks = held.enter_context(join(place))
        if ranks.is_first:
            held.enter_context(files.lock(recipe.folder))
        with noticing(ranks):
            ranks.from_first(None)  # the others wait until the folder is ours
        halved = settings.weights == "bf16"
        model = start_model(init, resolve_fit(recipe), recipe.train.seed, stored=halved)
        codes = open_codes(codes_folder(recipe.folder / "codes", model))
        _check_fresh(codes, recipe.folder)
        if halved:
            to_bfloat16(model)  # before it is moved: a GPU may not hold it in float32
        move(model.network, place)
        with console.progress(None, "train", "steps") as progress:

            def show(metrics: Metrics, steps: int) -> None:
                if (
                    progress.total is None
                ):  # from its first step on the run is trained by this recipe
                    keep(recipe.starting_from(init), recipe.folder, "model", "train")
                progress.total = steps
                losses = {"t2i loss": metrics.t2i_loss, "edit loss": metrics.edit_loss}
                shown = {name: value for name, value in losses.items() if value is not None}
                progress.update(metrics.step, **shown)
                if metrics.spike:
                    console.warn(
                        f"step {metrics.step}: the loss jumped to {metrics.loss:.3g}; "
                        f"most of it {metrics.spike[0]}; spikes.jsonl has more"
                    )

            def draw(checkpoint: Path, step: int) -> None:
                draw_progress(recipe, checkpoint, str(place))

            result = train_model(
                settings,
                model,
                codes,
                recipe.folder,
                on_step=show,
                sample=draw if recipe.train.samples else None,
                ranks=ranks,
            )
    for problem in result.problems[:3]:
        console.warn(problem)
    if len(result.problems) > 3:
        console.warn(f"and {len(result.problems) - 3} more rows left out")
    return result


def _check_fresh(codes: Codes, folder: Path) -> None:
    """Codes of rows that have changed since must not be trained on unnoticed."""
    from janus4o.errors import DataError
    from janus4o.rows import open_rows

    try:
        digest = open_rows(folder).digest
    except DataError:
        return  # codes may travel without the pictures they were made from
    if digest != codes.digest:
        raise DataError(
            f"the data set of {str(folder)!r} has changed since it was encoded",
            "run `janus4o encode` again",
        )
