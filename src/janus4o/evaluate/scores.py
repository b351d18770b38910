"""Scores one model: picks its guidance on the validation questions, then asks the test questions once.

The model comes in as two callables and the judge as anything that speaks `exchange`, so this works
for our own checkpoints, for a teacher behind an API and for the perfect and blind models of the tests.
A finished model is remembered in its file (`base.json`, `tuned.json`) under a hash of everything the
answers depend on, and is not asked again while that hash stays the same.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from janus4o.errors import DataError
from janus4o.evaluate.answer import save_answers
from janus4o.evaluate.candidate import Candidate, Progress, Setting, answer
from janus4o.evaluate.question import Question
from janus4o.evaluate.statistics import Interval, mean, wilson
from janus4o.evaluate.verdict import judge_answers
from janus4o.exchange import Judge
from janus4o.files import write_atomic
from janus4o.scored import Item, Kind, read_items, write_items

PROTOCOL = 1
"""Raised when answers of equal inputs would be scored differently; it is part of the hash."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to score.

    Attributes:
        guidance: scales s tried on the validation questions.
        semantic_weights: weights s2 tried with each of them, for edits.
        batch: samples asked for at once.
        concurrency: verdicts in flight.
    """

    guidance: tuple[float, ...] = (1.0, 2.0, 3.0)
    semantic_weights: tuple[float, ...] = (0.0, 1.0)
    batch: int = 128
    concurrency: int = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """Mean validation score of one setting."""

    setting: Setting
    score: float


@dataclass(frozen=True, slots=True)
class TaskScore:
    """Passes of one task out of `n` questions, with the 95 % Wilson interval."""

    score: float
    n: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ModelScores:
    """Scores of one model.

    Attributes:
        inputs: hash of everything the answers depend on.
        tasks: kind → task → score, in the order the questions came.
        means: kind → unweighted mean of its tasks.
        settings: kind → the setting chosen on the validation questions.
        trials: kind → every setting tried; empty where there was nothing to choose.
        seconds: wall time of validation, test and verdicts.
    """

    name: str
    inputs: str
    tasks: dict[Kind, dict[str, TaskScore]]
    means: dict[Kind, Interval]
    settings: dict[Kind, Setting]
    trials: dict[Kind, tuple[Trial, ...]]
    seconds: float


def score(
    candidate: Candidate,
    validation: Sequence[Question],
    test: Sequence[Question],
    judge: Judge,
    options: Options,
    folder: Path,
    progress: Progress = lambda what, done, total: None,
) -> ModelScores:
    """Scores one model and writes its answers, or gives back what an equal call wrote before.

    Args:
        validation: questions to choose guidance with; needed only where there is a choice.
        test: the questions that count, asked once.
        folder: gets `<name>.json`, `items.jsonl` and `pictures/`.

    Raises:
        ValueError: no test questions, or a choice of guidance without validation questions.
        DataError: the folder holds files that are not ours.
    """
    if not test:
        raise ValueError("no test questions")
    inputs = _fingerprint(candidate, validation, test, judge, options)
    finished = _read_finished(folder, candidate.name)
    if finished is not None and finished.inputs == inputs:
        return finished

    started = time.monotonic()
    settings: dict[Kind, Setting] = {}
    trials: dict[Kind, tuple[Trial, ...]] = {}
    items: list[Item] = []
    for kind in Kind:
        asked = [question for question in test if question.kind is kind]
        if not asked:
            continue
        rehearsed = [question for question in validation if question.kind is kind]
        trials[kind] = _try_settings(candidate, kind, rehearsed, judge, options, progress)
        settings[kind] = (
            # max keeps the first of equals: the settings come weakest first.
            max(trials[kind], key=lambda trial: trial.score).setting
            if trials[kind]
            else _settings(kind, options)[0]
        )
        what = f"{candidate.name}: test, {kind.value}"
        answers = answer(candidate, asked, settings[kind], options.batch, what, progress)
        verdicts = judge_answers(judge, asked, answers, options.concurrency)
        items += save_answers(candidate.name, asked, answers, verdicts, folder)

    scores = ModelScores(
        name=candidate.name,
        inputs=inputs,
        tasks={kind: _tally(items, kind) for kind in settings},
        means={kind: mean(_intervals(items, kind)) for kind in settings},
        settings=settings,
        trials=trials,
        seconds=round(time.monotonic() - started, 1),
    )
    others = [item for item in read_items(folder) if item.model != candidate.name]
    write_items(folder, [*others, *items])
    write_atomic(folder / f"{candidate.name}.json", _to_bytes(scores))
    return scores


def pictures_wanted(
    validation: Sequence[Question], test: Sequence[Question], options: Options
) -> int:
    """How many pictures `score` asks a model for."""
    total = len(test)
    for kind in {question.kind for question in test}:
        settings = len(_settings(kind, options))
        if settings > 1:
            total += settings * sum(question.kind is kind for question in validation)
    return total


def _settings(kind: Kind, options: Options) -> list[Setting]:
    scales = sorted(set(options.guidance))
    if kind is Kind.TEXT_TO_IMAGE:
        return [Setting(scale) for scale in scales]
    weights = sorted(set(options.semantic_weights))
    return [Setting(scale, weight) for scale, weight in itertools.product(scales, weights)]


def _try_settings(
    candidate: Candidate,
    kind: Kind,
    questions: Sequence[Question],
    judge: Judge,
    options: Options,
    progress: Progress,
) -> tuple[Trial, ...]:
    """Mean validation score of every setting; nothing where there is only one."""
    settings = _settings(kind, options)
    if len(settings) == 1:
        return ()
    if not questions:
        raise ValueError(f"{len(settings)} settings for {kind.value} and no validation questions")
    trials = []
    for setting in settings:
        what = f"{candidate.name}: validation, {kind.value}, {setting}"
        answers = answer(candidate, questions, setting, options.batch, what, progress)
        verdicts = judge_answers(judge, questions, answers, options.concurrency)
        by_task: dict[str, list[bool]] = {}
        for question, verdict in zip(questions, verdicts, strict=True):
            by_task.setdefault(question.task, []).append(verdict.passed)
        rates = [sum(passes) / len(passes) for passes in by_task.values()]
        trials.append(Trial(setting, sum(rates) / len(rates)))
    return tuple(trials)


def _tally(items: Sequence[Item], kind: Kind) -> dict[str, TaskScore]:
    tasks = dict.fromkeys(item.task for item in items if item.kind is kind)
    tally = {}
    for task in tasks:
        passes = [item.passed for item in items if item.kind is kind and item.task == task]
        interval = wilson(sum(passes), len(passes))
        tally[task] = TaskScore(interval.score, len(passes), interval.low, interval.high)
    return tally


def _intervals(items: Sequence[Item], kind: Kind) -> list[Interval]:
    return [Interval(task.score, task.low, task.high) for task in _tally(items, kind).values()]


def _fingerprint(
    candidate: Candidate,
    validation: Sequence[Question],
    test: Sequence[Question],
    judge: Judge,
    options: Options,
) -> str:
    parts = {
        "protocol": PROTOCOL,
        "model": candidate.digest,
        "judge": judge.name,
        "guidance": sorted(set(options.guidance)),
        "semantic_weights": sorted(set(options.semantic_weights)),
        "validation": [question.fingerprint() for question in validation],
        "test": [question.fingerprint() for question in test],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _to_bytes(scores: ModelScores) -> bytes:
    return (json.dumps(asdict(scores), indent=1) + "\n").encode()


def _read_finished(folder: Path, name: str) -> ModelScores | None:
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return ModelScores(
            name=data["name"],
            inputs=data["inputs"],
            tasks={
                Kind(kind): {task: TaskScore(**value) for task, value in tasks.items()}
                for kind, tasks in data["tasks"].items()
            },
            means={Kind(kind): Interval(**value) for kind, value in data["means"].items()},
            settings={Kind(kind): Setting(**value) for kind, value in data["settings"].items()},
            trials={
                Kind(kind): tuple(Trial(Setting(**t["setting"]), t["score"]) for t in trials)
                for kind, trials in data["trials"].items()
            },
            seconds=data["seconds"],
        )
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is not a score file of ours", "delete it and score again"
        ) from error
