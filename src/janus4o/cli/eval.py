"""`janus4o eval`: scores of a run's base and tuned model, and how the cli wires them.

Only here do the model that draws, the exam that asks and the judge that decides meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus4o.cli import arena as arena_verb
from janus4o.cli import benchmarks, console, pictures
from janus4o.cli.board import board as show_board
from janus4o.cli.reproduce import reproduce as reproduce_verb
from janus4o.errors import DataError
from janus4o.model.hub import SKETCH_BASE, SKETCH_BASE_FOLDER

if TYPE_CHECKING:
    from PIL import Image

    from janus4o.evaluate.candidate import Candidate
    from janus4o.generate.api import Janus
    from janus4o.recipe import Recipe

SCORES_FOLDER = "scores"
RANDOM = "random"

app = typer.Typer(no_args_is_help=True, help="Score a model on held-out prompts and edits.")


@app.callback()
def _verbs() -> None:
    """Score a model on held-out prompts and edits."""


geneval = app.command("geneval")(benchmarks.geneval)
dpg = app.command("dpg")(benchmarks.dpg)
imgedit = app.command("imgedit")(benchmarks.imgedit)
board = app.command("board")(show_board)
arena = app.command("arena")(arena_verb.arena)
reproduce = app.command("reproduce")(reproduce_verb)


@app.command("sketch")
def score_sketch(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The run's recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Scored as tuned; default the run's newest checkpoint."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json.")] = False,
) -> None:
    """Score base and tuned on GenEval's six tasks and every learnable edit of the sketch world.

    One sample a prompt, judged by the exact detector; guidance is chosen on validation prompts.
    Finished scores of the same model and recipe are not computed again.
    """
    from janus4o.recipe import load

    summary = score_run(load(recipe, overrides), model)
    if as_json:
        console.json(summary)
    else:
        show(summary)


def score_run(recipe: Recipe, model: str | None = None) -> dict[str, Any]:
    """Scores a run's base and tuned model into its scores folder; returns summary.json.

    Args:
        model: what is scored as tuned; None takes the run's newest checkpoint.

    Raises:
        DataError: there is no checkpoint yet.
        CheckpointError: a model cannot be read.
        FolderBusy: another process works in the run folder.
    """
    from janus4o.evaluate.exam import sketch_questions
    from janus4o.evaluate.scores import Options, pictures_wanted, score
    from janus4o.evaluate.suite import write_suite
    from janus4o.evaluate.summary import how_made, write_summary
    from janus4o.files import lock
    from janus4o.recipe import keep
    from janus4o.sketch.judge import SketchJudge

    how, judge = recipe.evaluate, SketchJudge()
    options = Options(guidance=tuple(how.guidance), semantic_weights=tuple(how.semantic_weights))
    with lock(recipe.folder):
        tuned = model or str(newest_checkpoint(recipe.folder))
        folder = recipe.folder / SCORES_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        validation, test = (
            sketch_questions(split, n, how.seed, recipe.teachers.size[0])
            for split, n in (
                ("validation", how.validation_per_task),
                ("test", how.prompts_per_task),
            )
        )
        scores = {}
        for name, where in (("base", recipe.model.init), ("tuned", tuned)):
            with _Progress(name, pictures_wanted(validation, test, options)) as progress:
                scores[name] = score(
                    candidate(name, where, recipe.train.seed),
                    validation,
                    test,
                    judge,
                    options,
                    folder,
                    progress,
                )
        keep(recipe, recipe.folder, "evaluate")
        summary = write_summary(
            folder, scores["base"], scores["tuned"], judge.name, "test", how.seed
        )
        write_suite(folder, {name: how_made(one, how.seed) for name, one in scores.items()})
        return summary


def show(summary: dict[str, Any]) -> None:
    """The score table on stdout."""
    rows: list[tuple[Any, ...]] = []
    for kind, title in (("t2i", "text to image"), ("edit", "editing")):
        for task, tuned in summary["tuned"][kind].items():
            base = summary["base"][kind][task]
            interval = f"{tuned['low']:.3f}–{tuned['high']:.3f}"
            held_out = summary["meta"]["held_out"][task]
            rows.append((task, base["score"], tuned["score"], interval, tuned["n"], held_out))
        if summary["tuned"][kind]:
            means = (summary[name][f"{kind}_mean"] for name in ("base", "tuned"))
            rows.append((f"mean, {title}", *means, "", "", ""))
    console.table(("task", "base", "tuned", "tuned 95 %", "n", "new by"), rows)
    kept = summary["meta"]["kept"]
    if kept["tasks"]:
        verdict = "kept" if kept["passed"] else "NOT kept"
        console.say(f"what the base could do ({', '.join(kept['tasks'])}): {verdict}")


def newest_checkpoint(folder: Path) -> Path:
    """The checkpoint of the highest step; DataError where there is none."""
    found = [
        path
        for path in (folder / "checkpoints").glob("*")
        if path.name.isdecimal() and (path / "config.json").is_file()
    ]
    if not found:
        raise DataError(
            f"{str(folder)!r} holds no checkpoint to score",
            "run `janus4o train` first, or name one with --model",
        )
    return max(found, key=lambda path: int(path.name))


def candidate(name: str, where: str, seed: int = 0) -> Candidate:
    """A model as the scorer wants it; it is loaded when it is first asked for a picture.

    Args:
        where: sketch-base, a folder, a hub id, or `random` with its `seed`.
    """
    from janus4o.evaluate.candidate import Candidate

    model = _Model(where, seed)
    digest = digest_of(SKETCH_BASE) if where == RANDOM else digest_of(where)
    return Candidate(
        name, f"random {seed} {digest}" if where == RANDOM else digest, model.draw, model.edit
    )


def digest_of(where: str) -> str:
    """Hash of a model's files; of its name where it is not on this disk."""
    folder = SKETCH_BASE_FOLDER if where == SKETCH_BASE else Path(where)
    digest = hashlib.sha256(b"" if folder.is_dir() else where.encode())
    if folder.is_dir():
        for path in sorted(
            path for kind in ("json", "safetensors", "bin") for path in folder.glob(f"*.{kind}")
        ):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class _Model:
    """Speaks the scorer's two protocols with a Janus that is loaded late."""

    def __init__(self, where: str, seed: int) -> None:
        self._where = where
        self._seed = seed

    @cached_property
    def _janus(self) -> Janus:
        if self._where != RANDOM:
            return pictures.load(self._where, "auto", "auto")
        from janus4o.generate.api import Janus
        from janus4o.train.start import start_model

        return Janus(start_model(RANDOM, "crop", self._seed))

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], guidance: float
    ) -> list[Image.Image]:
        janus = self._janus
        from janus4o.generate.options import GenerateOptions

        made = janus.generate_with(prompts, GenerateOptions(guidance=guidance), seeds=seeds)
        return [one.image for one in made]

    def edit(
        self,
        sources: Sequence[Image.Image],
        instructions: Sequence[str],
        seeds: Sequence[int],
        guidance: float,
        semantic_weight: float,
    ) -> list[Image.Image]:
        janus = self._janus
        from janus4o.generate.options import GenerateOptions

        requests = [([source], text) for source, text in zip(sources, instructions, strict=True)]
        options = GenerateOptions(guidance=guidance, semantic_weight=semantic_weight)
        return [one.image for one in janus.edit_with(requests, options, seeds=seeds)]


class _Progress:
    """One line for all a model is asked, saying which part of it is going on.

    Nothing is shown for a model whose scores are already there.
    """

    def __init__(self, name: str, total: int) -> None:
        self._name = name
        self._total = total
        self._stack = ExitStack()
        self._shown: console.Progress | None = None
        self._before = 0  # pictures of the parts that are finished

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._shown is None:
            label = f"score {self._name}"
            self._shown = self._stack.enter_context(
                console.progress(self._total, label, "pictures")
            )
        finished = self._before + done
        part = {} if finished == self._total else {"now": what.partition(": ")[2]}
        self._shown.update(finished, **part)
        if done == total:
            self._before += total
