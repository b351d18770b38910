"""Judged answers of models under test: scores/items.jsonl, and the only home of its keys.

`evaluate` writes them, `report` shows them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from janus4o.errors import DataError
from janus4o.files import write_atomic


class Kind(StrEnum):
    """The two halves of a score table; the values are the keys of summary.json."""

    TEXT_TO_IMAGE = "t2i"
    EDIT = "edit"


class HeldOut(StrEnum):
    """How a question was kept out of the training data."""

    BY_SCENE = "scene"
    BY_WORDING = "wording and seed"


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
