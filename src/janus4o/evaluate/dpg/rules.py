"""DPG-Bench's score of one picture: answers, minus those whose ground is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from janus4o.errors import DataError
from janus4o.evaluate.dpg.mode import Mode
from janus4o.evaluate.dpg.questions import Question

YES = "yes"

Answers = Mapping[str, str]
"""Question text → answer, of one tile. Only the exact answer "yes" counts."""

Scores = dict[int, float]
"""Proposition id → 0 or 1."""


@dataclass(frozen=True, slots=True)
class PictureScore:
    """One scored picture.

    Attributes:
        tiles: score 0–1 of each tile.
        average: their mean.
        categories: (category, 0 or 1) of every answer that goes into the category scores.
    """

    tiles: tuple[float, ...]
    average: float
    categories: tuple[tuple[str, float], ...]


def score_picture(
    questions: Mapping[int, Question], tiles: Sequence[Answers], mode: Mode
) -> PictureScore:
    """Scores the tiles of one picture.

    The published category scores come from the last tile, before anything is set to zero; FIXED
    takes all tiles, after.

    Raises:
        DataError: an answer is missing, a parent is missing, or there is nothing to ask.
    """
    if not questions or not tiles:
        raise DataError("there is nothing to ask", "")
    scores = []
    given: list[Scores] = []
    settled: list[Scores] = []
    for number, answers in enumerate(tiles):
        try:
            answered = {i: float(answers[q.text] == YES) for i, q in questions.items()}
        except KeyError as error:
            raise DataError(f"tile {number} has no answer to {error.args[0]!r}", "") from None
        left = walk(questions, answered) if mode is not Mode.FIXED else settle(questions, answered)
        scores.append(sum(left.values()) / len(left))
        given.append(answered)
        settled.append(left)
    counted = settled if mode is Mode.FIXED else given[-1:]
    categories = tuple(
        (question.category, tile[i]) for tile in counted for i, question in questions.items()
    )
    return PictureScore(tuple(scores), sum(scores) / len(scores), categories)


def walk(questions: Mapping[int, Question], answered: Scores) -> Scores:
    """Sets questions to zero in csv order, as the published code does.

    A zero reaches only the children that come later in the file, and a missing parent is noticed
    only where no earlier parent has settled the matter.

    Raises:
        DataError: a parent is missing.
    """
    scores = dict(answered)
    for i, question in questions.items():
        for parent in question.parents:
            if parent == 0:
                continue
            if parent not in scores:
                raise DataError(f"question {i} names question {parent}, which is missing", "")
            if scores[parent] == 0:
                scores[i] = 0.0
                break
    return scores


def settle(questions: Mapping[int, Question], answered: Scores) -> Scores:
    """Sets to zero whatever depends, at any distance, on a question answered no."""
    scores = dict(answered)
    while (after := walk(questions, scores)) != scores:
        scores = after
    return scores
