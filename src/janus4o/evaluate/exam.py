"""The sketch world's exam, as questions for the scorer: sources are drawn, nothing else changes."""

from __future__ import annotations

from janus4o.evaluate.question import Question
from janus4o.sketch import exam
from janus4o.sketch.edit import LEARNABLE_KINDS
from janus4o.sketch.render import picture

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
"""GenEval's task kinds under their official tags, in the order scores are shown."""


def sketch_questions(split: str, per_task: int, seed: int, size: int) -> list[Question]:
    """All questions of one split: the six tags, then every learnable editing kind.

    Args:
        split: "validation" or "test".
        size: side of the drawn sources, pixels.
    """
    asked = [
        question for tag in TAGS for question in exam.text_to_image(tag, per_task, seed, split)
    ]
    for kind in LEARNABLE_KINDS:
        asked += exam.editing(kind, per_task, seed, split)
    return [
        Question(
            task=one.task,
            number=one.number,
            prompt=one.prompt,
            seed=one.seed,
            held_out=one.held_out,
            source=None if one.source is None else picture(one.source, size),
        )
        for one in asked
    ]
