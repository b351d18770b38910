"""Judged answers and their pictures. The only home of the keys of items.jsonl."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from janus4o.errors import DataError
from janus4o.evaluate.question import HeldOut, Kind, Question
from janus4o.evaluate.verdict import Verdict
from janus4o.files import write_atomic


@dataclass(frozen=True, slots=True)
class Item:
    """One judged answer.

    Attributes:
        model: "base" or "tuned".
        reason: the judge's words; empty when nothing is wrong.
        picture: the answer's file below the scores folder.
        source: the edited picture's file below the scores folder; None for text-to-image.
    """

    model: str
    kind: Kind
    task: str
    number: int
    prompt: str
    seed: int
    held_out: HeldOut
    passed: bool
    reason: str
    picture: str
    source: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "kind": self.kind.value,
            "task": self.task,
            "number": self.number,
            "prompt": self.prompt,
            "seed": self.seed,
            "held_out": self.held_out.value,
            "passed": self.passed,
            "reason": self.reason,
            "picture": self.picture,
            "source": self.source,
        }


def item_from_json(data: Any, where: str) -> Item:
    """Reads one line of items.jsonl; raises DataError naming `where`."""
    try:
        return Item(
            model=str(data["model"]),
            kind=Kind(data["kind"]),
            task=str(data["task"]),
            number=int(data["number"]),
            prompt=str(data["prompt"]),
            seed=int(data["seed"]),
            held_out=HeldOut(data["held_out"]),
            passed=bool(data["passed"]),
            reason=str(data["reason"]),
            picture=str(data["picture"]),
            source=None if data["source"] is None else str(data["source"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where} is not a scored item: {error}", "delete the scores folder and score again"
        ) from None


def read_items(folder: Path) -> list[Item]:
    """All items scored so far in `folder`, in the order they were written; raises DataError."""
    path = folder / "items.jsonl"
    if not path.exists():
        return []
    items = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{path} line {number}"
        try:
            items.append(item_from_json(json.loads(line), where))
        except json.JSONDecodeError as error:
            raise DataError(f"{where} is not JSON", "delete the scores folder") from error
    return items


def write_items(folder: Path, items: Sequence[Item]) -> None:
    """Writes items.jsonl whole, so that it never holds half a model."""
    lines = [json.dumps(item.to_json(), ensure_ascii=False) for item in items]
    write_atomic(folder / "items.jsonl", ("\n".join(lines) + "\n").encode())


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
