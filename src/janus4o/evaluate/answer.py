"""The pictures a model answered with, and what the judge made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from janus4o.evaluate.question import Question
from janus4o.evaluate.verdict import Verdict
from janus4o.scored import Item


def save_answers(
    model: str,
    questions: Sequence[Question],
    answers: Sequence[Image.Image],
    verdicts: Sequence[Verdict],
    folder: Path,
) -> list[Item]:
    """Saves the pictures, as small as they were made, and gives back the items that name them."""
    items = []
    for question, answer, verdict in zip(questions, answers, verdicts, strict=True):
        picture = f"pictures/{model}/{question.name}.png"
        _save(folder / picture, answer)
        source = None
        if question.source is not None:
            source = f"pictures/source/{question.name}.png"
            _save(folder / source, question.source)
        items.append(
            Item(
                model=model,
                kind=question.kind,
                task=question.task,
                number=question.number,
                prompt=question.prompt,
                seed=question.seed,
                held_out=question.held_out,
                passed=verdict.passed,
                reason=verdict.reason,
                picture=picture,
                source=source,
            )
        )
    return items


def _save(path: Path, image: Image.Image) -> None:
    # Not atomic on purpose: the file that says "finished" is written after all pictures.
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "PNG")
