"""Which judged answers the page shows, base beside tuned.

The first of every task are shown because they are first, not because they are good; then failures of
the tuned model among the rest, so that what it cannot do is as easy to see as what it can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from janus4o.report.failures import kinds_of_failure
from janus4o.report.pictures import embed
from janus4o.scored import Item

FIRST = 4
FAILURES = 4
"""Cards of each sort in one task."""

ReadPicture = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class Shown:
    """One answer; `picture` is a data URI, or None where the file is gone."""

    model: str
    picture: str | None
    passed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Card:
    """One question with the answers of the models; `source` is what was to be edited."""

    prompt: str
    source: str | None
    answers: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class TaskGallery:
    """Cards of one task.

    Attributes:
        first: the first questions, unselected.
        failures: questions after those that the last model failed.
        asked, failed: of the last model, over all its questions.
        reasons: kinds of its failures with their counts, see `failures`.
    """

    task: str
    first: tuple[Card, ...]
    failures: tuple[Card, ...]
    asked: int
    failed: int
    reasons: tuple[tuple[str, int], ...]


def galleries(items: Sequence[Item], read: ReadPicture) -> tuple[TaskGallery, ...]:
    """One gallery a task, in the order of the items."""
    models = [m for m in ("base", "tuned") if any(item.model == m for item in items)]
    if not models:
        return ()
    found = []
    for task in dict.fromkeys(item.task for item in items):
        answers = {(i.model, i.number): i for i in items if i.task == task}
        last = sorted(number for model, number in answers if model == models[-1])
        failed = [number for number in last if not answers[models[-1], number].passed]
        first = last[:FIRST]
        failures = [number for number in failed if number not in first][:FAILURES]
        found.append(
            TaskGallery(
                task,
                tuple(_card(models, answers, number, read) for number in first),
                tuple(_card(models, answers, number, read) for number in failures),
                len(last),
                len(failed),
                kinds_of_failure(answers[models[-1], number].reason for number in failed),
            )
        )
    return tuple(found)


def _card(
    models: Sequence[str], answers: dict[tuple[str, int], Item], number: int, read: ReadPicture
) -> Card:
    items = [answers[model, number] for model in models if (model, number) in answers]
    source = items[-1].source
    return Card(
        items[-1].prompt,
        embed(read(source)) if source else None,
        tuple(Shown(i.model, embed(read(i.picture)), i.passed, i.reason) for i in items),
    )
