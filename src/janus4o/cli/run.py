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

if TYPE_CHECKING:
    from janus4o.recipe import Recipe

SAMPLES_FOLDER = "samples"


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print scores, times and paths as JSON.")
    ] = False,
) -> None:
    """Synthesize, encode, fine-tune, draw samples, score and report.

    What is finished is not done again; after a stop the same command goes on.
    """
    # Threads that wait without spinning: twice as fast where another process wants a core too.
    # Before anything imports torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from janus4o.cli import eval as scoring
    from janus4o.files import lock
    from janus4o.recipe import load

    read = load(recipe, overrides)
    begun = time.monotonic()
    with lock(read.folder):
        summary, page = run(read)
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


def run(recipe: Recipe) -> tuple[dict[str, Any], Path]:
    """All stages in the recipe's run folder; returns scores/summary.json and the report's path."""
    from janus4o.cli.encode import encode
    from janus4o.cli.eval import score_run
    from janus4o.cli.synth import synthesize
    from janus4o.cli.train import train
    from janus4o.report.page import build

    folder = recipe.folder
    with stage(folder, "synthesize", "dataset/rows.jsonl"):
        synthesize(recipe)
    with stage(folder, "encode", "codes/*/*"):
        encode(recipe, recipe.model.init)
    with stage(folder, "train", "checkpoints/*"):
        trained = train(recipe, recipe.model.init)
    with stage(folder, "sample", "samples/*"):
        draw_samples(recipe, trained.checkpoint)
    with stage(folder, "score", "scores/items.jsonl"):
        summary = score_run(recipe, str(trained.checkpoint))
    # Not a timed stage: the page shows the times, and the same run gives the same page.
    console.heading("report")
    return summary, build(folder)


@contextmanager
def stage(folder: Path, name: str, made: str) -> Iterator[None]:
    """Names the stage, and adds the time it took to those of earlier runs, also when it stops.

    Args:
        made: pattern of files the stage writes; where it wrote none it had nothing to do, and the
            time it took to see that is not counted.
    """
    console.heading(name)
    begun, clock = time.time(), time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - clock
        if any(path.stat().st_mtime >= begun for path in folder.glob(made)):
            timings = read_timings(folder)
            timings[name] = round(timings.get(name, 0.0) + seconds, 1)
            _write_timings(folder, timings)
        console.note(f"{name}: {console.duration(seconds)}")


def draw_samples(recipe: Recipe, checkpoint: Path) -> None:
    """One picture of every task of the validation questions, into `samples/<step>/`.

    Drawn before the guidance is chosen, with the middle of the scales the recipe tries.
    """
    folder = recipe.folder / SAMPLES_FOLDER / checkpoint.name
    if folder.is_dir():
        console.note(f"already in {folder}")
        return
    import shutil

    import janus4o
    from janus4o.evaluate.exam import sketch_questions
    from janus4o.files import new_folder
    from janus4o.generate.options import GenerateOptions
    from janus4o.images import save_png

    how = recipe.evaluate
    options = GenerateOptions(
        guidance=_middle(how.guidance), semantic_weight=_middle(how.semantic_weights)
    )
    questions = sketch_questions("validation", 1, how.seed, recipe.teachers.size[0])
    drawn = [one for one in questions if one.source is None]
    edited = [one for one in questions if one.source is not None]
    model = janus4o.load(checkpoint)
    made = model.generate_with(
        [one.prompt for one in drawn], options, seeds=[one.seed for one in drawn]
    )
    requests = [([one.source], one.prompt) for one in edited if one.source is not None]
    made += model.edit_with(requests, options, seeds=[one.seed for one in edited])
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = new_folder(folder.parent, folder.name)
    try:
        for question, one in zip([*drawn, *edited], made, strict=True):
            facts = {
                "prompt": one.prompt,
                "seed": str(one.seed),
                "model": str(checkpoint),
                "guidance": f"{options.guidance:g}",
            }
            path = unfinished / f"{question.task}.png"
            if question.source is not None:
                facts["semantic_weight"] = f"{options.semantic_weight:g}"
                save_png(question.source, path.with_stem(f"{question.task}-source"))
            save_png(one.image, path, facts)
        unfinished.chmod(0o755)  # made for its owner alone
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    console.note(f"{len(made)} pictures in {folder}")


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


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
