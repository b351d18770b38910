"""Questions and stored answers in, a score per picture, category and run out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from janus4o.errors import DataError
from janus4o.evaluate.comparable import doubt
from janus4o.evaluate.dpg.mode import Mode
from janus4o.evaluate.dpg.questions import NEEDED, VERSION, Questions, Row, read_questions
from janus4o.evaluate.dpg.rules import Answers, PictureScore, score_picture
from janus4o.evaluate.evidence import Problem, hash_set, read_lines, read_object
from janus4o.evaluate.score_file import Score, interval_to_json
from janus4o.evaluate.statistics import clustered

TILES = 4
"""A picture is a 2×2 grid at most: top-left, top-right, bottom-left, bottom-right."""


@dataclass(frozen=True, slots=True)
class Run:
    """One scored set of pictures.

    Attributes:
        score: 0–100; None where no picture was scored.
        pictures: file → its score, in listing order.
        groups, categories: published level 1 and level 2 scores, 0–100.
        failed: files that were not scored.
    """

    mode: Mode
    questions: Questions = field(repr=False)
    score: float | None
    pictures: dict[str, PictureScore] = field(repr=False)
    groups: dict[str, float]
    categories: dict[str, float]
    failed: tuple[str, ...]
    problems: tuple[Problem, ...] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The form of the golden cases."""
        return {
            "dpg_score": self.score,
            "per_image": {
                file: {"scores": list(one.tiles), "average": one.average}
                for file, one in self.pictures.items()
            },
            "l1": self.groups,
            "l2": self.categories,
            "failed": list(self.failed),
        }


def item_of(file: str) -> str:
    """The item a file name stands for: all before its first dot."""
    return file.partition(".")[0]


def score_run(
    rows: Sequence[Row],
    files: Sequence[str],
    answers: Mapping[str, Any],
    tiles: int,
    mode: Mode,
) -> Run:
    """Scores the pictures `files` from stored answers.

    Args:
        answers: file → one object {question: answer} a tile.
        tiles: how many tiles of each picture count, 1–4.

    Raises:
        DataError: `tiles` is not 1–4.
    """
    if not 1 <= tiles <= TILES:
        raise DataError(f"{tiles} tiles a picture: 1 to {TILES} were expected", "see --pic-num")
    questions = read_questions(rows, mode)
    problems = list(questions.problems)
    if questions.stopped:
        problems.append(Problem("csv", f"the original stops: {questions.stopped}"))
    pictures: dict[str, PictureScore] = {}
    failed = []
    for file in files:
        try:
            asked = _questions_of(questions, item_of(file))
            pictures[file] = score_picture(asked, _tiles(answers.get(file), tiles), mode)
        except DataError as error:
            failed.append(file)
            if not questions.stopped:
                extra = item_of(file) not in questions.items | questions.unusable
                problems.append(Problem(file, error.message, unscored=not extra))
    there = {item_of(file) for file in files}
    problems += [Problem(i, "no picture") for i in questions.items if i not in there]
    level2: dict[str, list[float]] = {}
    level1: dict[str, list[float]] = {}
    for one in pictures.values():
        for category, value in one.categories:
            level2.setdefault(category, []).append(value)
            level1.setdefault(category.partition("-")[0].strip(), []).append(value)
    return Run(
        mode=mode,
        questions=questions,
        score=_total(pictures, mode),
        pictures=pictures,
        groups={name: float(np.mean(level1[name]) * 100) for name in sorted(level1)},
        categories={name: float(np.mean(level2[name]) * 100) for name in sorted(level2)},
        failed=tuple(failed),
        problems=tuple(problems),
    )


def score_case(data: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    """Scores one line {id, rows, files, pic_num, answers}; raises DataError where it is none."""
    rows, files, answers = data.get("rows"), data.get("files"), data.get("answers")
    tiles = data.get("pic_num", 1)
    if not (isinstance(rows, list) and isinstance(files, list) and isinstance(answers, dict)):
        raise DataError("rows, files (lists) and answers (an object) are needed", "")
    if type(tiles) is not int or not all(isinstance(file, str) for file in files):
        raise DataError("pic_num must be a number and files texts", "")
    cells = []
    for row in rows:
        if not isinstance(row, dict) or any(row.get(column) is None for column in NEEDED):
            raise DataError(f"a row has not all of {', '.join(NEEDED)}", "")
        cells.append({key: str(value) for key, value in row.items()})
    run = score_run(cells, files, answers, tiles, mode)
    return {"id": data.get("id"), **run.to_json()}


def score_cases(path: Path, mode: Mode) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Scores a file of small runs, one a line; lines that are none are listed."""
    lines, problems = read_lines(path)
    scored = []
    for line in lines:
        try:
            scored.append(score_case(line.data, mode))
        except DataError as error:
            problems.append(Problem(line.where, error.message))
    return scored, problems


def read_answers(path: Path) -> dict[str, Any]:
    """Reads {file: [per tile {question: answer}]}; raises DataError where it is no object."""
    return read_object(path)


def tiles_in(answers: Mapping[str, Any]) -> int:
    """The largest number of tiles any picture has answers for, at most four."""
    counts = [len(tiles) for tiles in answers.values() if isinstance(tiles, list)]
    return min(max(counts, default=1), TILES) or 1


def score_file(run: Run, evidence: Sequence[Path], vqa: str = "", tiles: int = 1) -> Score:
    """What is written about a run; raises DataError where nothing was scored.

    Intervals are clustered by prompt. Only an official run with the official network stands beside
    published rows.
    """
    if run.score is None:
        why = run.questions.stopped or "no picture has answers to all its questions"
        raise DataError(f"nothing was scored: {why}", "see the problems listed")
    pictures = run.pictures
    items = [item_of(file) for file in pictures]
    averages, owners = [one.average for one in pictures.values()], items
    if run.mode is Mode.FIXED:
        means = _item_means(pictures)
        averages, owners = list(means.values()), list(means)
    interval = interval_to_json(clustered(averages, owners))
    overall = {name: value * 100 for name, value in interval.items()}
    networks, scored = {"vqa": vqa}, len(set(items))
    prompt_set = {
        "n": len(run.questions.items),
        "questions": run.questions.count,
        "sha256": run.questions.hash,
        "items_sha256": hash_set(run.questions.items),
    }
    return Score(
        benchmark="DPG-Bench",
        version=VERSION,
        mode=run.mode.value,
        evidence=evidence,
        prompt_set=prompt_set,
        networks=networks,
        doubt=doubt("DPG-Bench", networks, run.mode.value, prompt_set, scored, tiles),
        n=len(pictures),
        unit="pictures",
        scores={
            "scale": [0, 100],
            "tiles": tiles,
            "overall": {**overall, "score": run.score, "prompts": scored},
            "l1": _with_intervals(run, level=1),
            "l2": _with_intervals(run, level=2),
        },
        problems=run.problems,
    )


def by_prompt(run: Run) -> dict[str, tuple[str, float]]:
    """Item → its score 0–1; there is one group."""
    return {item: ("", score) for item, score in _item_means(run.pictures).items()}


def _questions_of(questions: Questions, item: str) -> Mapping[int, Any]:
    if item in questions.unusable:
        raise DataError(questions.unusable[item], "")
    if item not in questions.items:
        raise DataError(f"the csv asks nothing about {item!r}", "")
    return questions.items[item]


def _tiles(stored: Any, tiles: int) -> list[Answers]:
    if stored is None:
        raise DataError("no answers are stored", "")
    texts = isinstance(stored, list) and all(
        isinstance(tile, dict) and all(isinstance(v, str) for v in tile.values()) for tile in stored
    )
    if not texts:
        raise DataError("the answers are not one object of texts a tile", "")
    if len(stored) < tiles:
        raise DataError(f"answers to {len(stored)} tiles are stored, {tiles} count", "")
    return list(stored[:tiles])


def _total(pictures: Mapping[str, PictureScore], mode: Mode) -> float | None:
    if not pictures:
        return None
    if mode is Mode.FIXED:
        return float(np.mean(list(_item_means(pictures).values())) * 100)
    return float(np.mean([one.average for one in pictures.values()]) * 100)


def _item_means(pictures: Mapping[str, PictureScore]) -> dict[str, float]:
    by_item: dict[str, list[float]] = {}
    for file, one in pictures.items():
        by_item.setdefault(item_of(file), []).append(one.average)
    return {item: sum(values) / len(values) for item, values in by_item.items()}


def _with_intervals(run: Run, level: int) -> dict[str, Any]:
    values: dict[str, list[float]] = {}
    owners: dict[str, list[str]] = {}
    for file, one in run.pictures.items():
        for category, value in one.categories:
            name = category if level == 2 else category.partition("-")[0].strip()
            values.setdefault(name, []).append(value)
            owners.setdefault(name, []).append(item_of(file))
    table = {}
    for name, score in (run.categories if level == 2 else run.groups).items():
        interval = interval_to_json(clustered(values[name], owners[name]))
        limits = {key: limit * 100 for key, limit in interval.items()}
        table[name] = {**limits, "score": score, "n": len(values[name])}
    return table
