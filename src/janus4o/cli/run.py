"""`janus4o run`: the whole loop, stage by stage."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus4o.cli import console
from janus4o.cli.backend import BackendOption
from janus4o.cli.synth import ForkOption, read_recipe
from janus4o.cluster import Backend

if TYPE_CHECKING:
    from janus4o.recipe import Recipe

STAGES = ("synthesize", "encode", "train", "sample", "score", "sweep", "report")


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    fork: ForkOption = None,
    backend: BackendOption = Backend.PLAIN,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print scores, times and paths as JSON.")
    ] = False,
) -> None:
    """Synthesize, encode, fine-tune, draw samples, score, sweep guidance and report.

    What is finished is not done again; after a stop the same command goes on.
    """
    # Threads that wait without spinning: twice as fast where another process wants a core too.
    # Before anything imports torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from janus4o.cli import eval as scoring
    from janus4o.files import lock

    read = read_recipe(recipe, overrides, fork)
    begun = time.monotonic()
    with lock(read.folder):
        announce(read)
        summary, page = run(read, backend)
    seconds, memory = time.monotonic() - begun, peak_memory()
    if as_json:
        console.json(
            {
                "scores": summary,
                "report": str(page),
                "stages": read_timings(read.folder),
                "seconds": round(seconds, 1),
                "peak_memory_bytes": memory,
            }
        )
        return
    console.say()
    scoring.show(summary)
    console.note(f"{console.duration(seconds)}, peak memory {memory / 1e9:.1f} GB")
    console.say(f"report: {page}")
    newest = max((read.folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    console.note(f'next: janus4o generate "a red circle" --model {newest}')


def announce(recipe: Recipe) -> None:
    """What will be done, what it costs and where it goes, before anything happens."""
    from janus4o.cli.teachers import hire
    from janus4o.synth.plan import cost
    from janus4o.synth.setting import setting_of

    t2i, edits = recipe.synthesis.text_to_image.count, recipe.synthesis.editing.count
    steps = recipe.train.steps
    console.note(
        f"{recipe.name}: {t2i:,} text-to-image and {edits:,} edit rows, "
        + (f"{steps:,} training steps" if steps else f"{recipe.train.epochs:g} passes of training")
        + f", {recipe.evaluate.prompts_per_task:,} questions a task; in {recipe.folder}"
    )
    staff, budget = hire(recipe, asking=False), recipe.synthesis.budget_usd
    setting = setting_of(recipe, staff.painter, staff.inspector)
    most, likely = cost(recipe, setting, staff.writer, staff.painter, staff.judge)
    what = console.cost(likely, most)
    limit = "" if budget is None else f"; it stops before ${budget:,.2f}"
    console.note(f"cost: {what}{limit}. Ctrl-C stops it, the same command goes on.")


def run(recipe: Recipe, backend: Backend = Backend.PLAIN) -> tuple[dict[str, Any], Path]:
    """All stages in the recipe's run folder; returns scores/summary.json and the report's path."""
    from janus4o.cli import samples
    from janus4o.cli.encode import encode
    from janus4o.cli.eval import score_run
    from janus4o.cli.synth import synthesize
    from janus4o.cli.train import train
    from janus4o.report.page import build

    folder = recipe.folder
    with stage(folder, "synthesize", "dataset/rows.jsonl"):
        synthesize(recipe, backend=backend)
    with stage(folder, "encode", "codes/*/*"):
        encode(recipe, recipe.model.init, backend=backend)
    with stage(folder, "train", "checkpoints/*"):
        trained = train(recipe, recipe.model.init)
    with stage(folder, "sample", "samples/*"):
        samples.draw_samples(recipe, trained.checkpoint)
    with stage(folder, "score", "scores/items.jsonl"):
        summary = score_run(recipe, str(trained.checkpoint))
    with stage(folder, "sweep", "sweeps/*"):
        samples.draw_sweeps(recipe, trained.checkpoint, summary)
    # Not a timed stage: the page shows the times, and the same run gives the same page.
    _head("report")
    return summary, build(folder)


@contextmanager
def stage(folder: Path, name: str, made: str) -> Iterator[None]:
    """Names the stage, and adds the time it took to those of earlier runs, also when it stops.

    Args:
        made: pattern of files the stage writes; where it wrote none it had nothing to do, and the
            time it took to see that is not counted.
    """
    _head(name)
    begun, clock = time.time(), time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - clock
        worked = any(path.stat().st_mtime >= begun for path in folder.glob(made))
        if worked:
            timings = read_timings(folder)
            timings[name] = round(timings.get(name, 0.0) + seconds, 1)
            _write_timings(folder, timings)
        console.note(
            f"{name}: {console.duration(seconds)}{'' if worked else ', nothing was left to do'}"
        )


def _head(name: str) -> None:
    console.heading(f"{STAGES.index(name) + 1}/{len(STAGES)} {name}")


def read_timings(folder: Path) -> dict[str, float]:
    """Stage → seconds over all runs of this folder."""
    from janus4o.report.evidence import TIMINGS_FILE

    path = folder / TIMINGS_FILE
    if not path.is_file():
        return {}
    timings: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return timings


def peak_memory() -> int:
    """The most memory this process ever had, bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _write_timings(folder: Path, timings: dict[str, float]) -> None:
    from janus4o.files import write_atomic
    from janus4o.report.evidence import TIMINGS_FILE

    write_atomic(folder / TIMINGS_FILE, (json.dumps(timings, indent=2) + "\n").encode())
