"""Pictures drawn to be looked at: `samples/` and `sweeps/` by `run`, `progress/` by `train`.

Every picture says in its own text chunks what was asked, with what, and what the judge said of it;
the keys are those of `report.drawn`, which reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from janus4o.cli import console
from janus4o.files import new_folder

if TYPE_CHECKING:
    from PIL.Image import Image

    from janus4o.evaluate.question import Question
    from janus4o.recipe import Recipe

SWEPT_TASKS = ("two_object", "counting", "position", "add", "recolour")
"""Text-to-image tasks are drawn at every guidance, editing tasks at every semantic weight."""
SWEPT_GUIDANCE = (0.0, 1.0, 2.0, 5.0)
"""From no guidance at all (the prompt is not seen) to the scale of the Janus-4o model card."""
SWEPT_WEIGHTS = (0.0, 0.5, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One picture to be drawn; `stem` is its file name without ending."""

    question: Question
    guidance: float
    semantic_weight: float
    stem: str


def draw_samples(recipe: Recipe, checkpoint: Path) -> None:
    """One picture of every task of the validation questions, into `samples/<step>/`.

    Drawn before the guidance is chosen, with the middle of the scales the recipe tries.
    """
    from janus4o.report.drawn import SAMPLES_FOLDER

    how = recipe.evaluate
    guidance, weight = _middle(how.guidance), _middle(how.semantic_weights)
    wanted = [_Wanted(one, guidance, weight, one.task) for one in _questions(recipe)]
    _draw(recipe.folder / SAMPLES_FOLDER / checkpoint.name, checkpoint, wanted)


def draw_sweeps(recipe: Recipe, checkpoint: Path, summary: dict[str, Any]) -> None:
    """The same few questions at every guidance or semantic weight, into `sweeps/<step>/`.

    Args:
        summary: scores/summary.json; edits are drawn with the guidance chosen there.
    """
    from janus4o.report.drawn import SWEEPS_FOLDER

    chosen = summary["meta"]["guidance"]["tuned"]
    questions = {one.task: one for one in _questions(recipe)}
    wanted = []
    for task in SWEPT_TASKS:
        one = questions[task]
        if one.source is None:
            wanted += [_Wanted(one, s, 0.0, f"{task}-{s:g}") for s in SWEPT_GUIDANCE]
        else:
            s = float(chosen["edit"]["guidance"])
            wanted += [_Wanted(one, s, s2, f"{task}-{s2:g}") for s2 in SWEPT_WEIGHTS]
    _draw(recipe.folder / SWEEPS_FOLDER / checkpoint.name, checkpoint, wanted)


def draw_progress(recipe: Recipe, checkpoint: Path, device: str) -> None:
    """One picture of each of `train.samples`, into `progress/<step>/`.

    The checkpoint is loaded anew beside the network that is trained, so that it draws what it will
    draw; each prompt has the same seed at every step.
    """
    from janus4o.cli import pictures
    from janus4o.generate.options import GenerateOptions
    from janus4o.images import save_png
    from janus4o.report.drawn import PROGRESS_FOLDER

    folder = recipe.folder / PROGRESS_FOLDER / checkpoint.name
    if folder.is_dir():
        return
    model = pictures.load(str(checkpoint), device, "auto")
    prompts, guidance = recipe.train.samples, model.model.guidance
    seeds = range(len(prompts))
    drawn = model.generate_with(prompts, GenerateOptions(guidance=guidance), seeds=seeds)
    with _whole(folder) as unfinished:
        for number, (prompt, one) in enumerate(zip(prompts, drawn, strict=True)):
            facts = {
                "prompt": prompt,
                "seed": str(number),
                "model": str(checkpoint),
                "guidance": f"{guidance:g}",
            }
            save_png(one.image, unfinished / f"{number:02}.png", facts)


def _questions(recipe: Recipe) -> list[Question]:
    """The first validation question of every task."""
    from janus4o.evaluate.exam import sketch_questions

    return sketch_questions("validation", 1, recipe.evaluate.seed, recipe.teachers.size[0])


def _draw(folder: Path, checkpoint: Path, wanted: Sequence[_Wanted]) -> None:
    """Draws, judges and keeps; the folder appears whole or not at all."""
    if folder.is_dir():
        console.note(f"already in {folder}")
        return
    import janus4o
    from janus4o.evaluate.verdict import judge_answers
    from janus4o.generate.options import GenerateOptions
    from janus4o.images import save_png
    from janus4o.sketch.judge import SketchJudge

    model = janus4o.load(checkpoint)
    # What has the same settings is drawn together; each picture depends on its own seed alone.
    settings = {(one.question.kind, one.guidance, one.semantic_weight): None for one in wanted}
    groups = [
        [w for w in wanted if (w.question.kind, w.guidance, w.semantic_weight) == setting]
        for setting in settings
    ]
    wanted = [one for group in groups for one in group]
    pictures: list[Image] = []
    with console.progress(len(wanted), "draw", "pictures") as progress:
        for group in groups:
            options = GenerateOptions(
                guidance=group[0].guidance, semantic_weight=group[0].semantic_weight
            )
            questions = [one.question for one in group]
            seeds = [question.seed for question in questions]
            edits = [([q.source], q.prompt) for q in questions if q.source is not None]
            made = (
                model.edit_with(edits, options, seeds=seeds)
                if edits
                else model.generate_with([q.prompt for q in questions], options, seeds=seeds)
            )
            pictures += [one.image for one in made]
            progress.update(len(pictures))
    verdicts = judge_answers(SketchJudge(), [one.question for one in wanted], pictures, 8)
    with _whole(folder) as unfinished:
        for one, picture, verdict in zip(wanted, pictures, verdicts, strict=True):
            question = one.question
            facts = {
                "task": question.task,
                "prompt": question.prompt,
                "seed": str(question.seed),
                "model": str(checkpoint),
                "guidance": f"{one.guidance:g}",
                "verdict": "passed" if verdict.passed else "failed",
                "reason": verdict.reason,
            }
            if question.source is not None:
                facts["semantic_weight"] = f"{one.semantic_weight:g}"
                facts["source"] = f"{question.task}-source.png"
                save_png(question.source, unfinished / facts["source"])
            save_png(picture, unfinished / f"{one.stem}.png", facts)
    passed = sum(verdict.passed for verdict in verdicts)
    console.note(f"{len(pictures)} pictures in {folder}, {passed} as asked")


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder beside, which takes its place in the end."""
    import shutil

    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = new_folder(folder.parent, folder.name)
    try:
        yield unfinished
        unfinished.chmod(0o755)  # made for its owner alone
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
