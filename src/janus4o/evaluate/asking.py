"""Questions about pictures, put to any writer that sees. Scoring asks nothing: it reads the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from janus4o.evaluate.evidence import Problem
from janus4o.exchange import Picture, Writer, WriteRequest
from janus4o.images import save_png
from janus4o.ledger.jobs import Job, Manner, call_all
from janus4o.ledger.journal import Attempt, Spend

Progress = Callable[[int], None]
"""Questions done, those answered before included."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `id` names it in what is listed."""

    id: str
    request: WriteRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and the model's name as the server reported it."""

    text: str
    model: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run of questions brought.

    Attributes:
        answers: by question id; a question that is not among them is among the problems.
        spend: of all runs with the same ledger.
    """

    answers: dict[str, Answer]
    problems: list[Problem]
    spend: Spend


def ask(
    writer: Writer,
    questions: Iterable[Question],
    ledger: Path,
    manner: Manner = Manner(),
    progress: Progress = lambda done: None,
) -> Asked:
    """Answers by question id, out of the ledger where they are there already.

    A refusal is kept, for asking again would be paid again. What brought no answer at all is
    listed and asked again by the next run.

    Raises:
        Janus4oError: see `call_all`. What was answered before is in the ledger.
    """
    answers: dict[str, Answer] = {}
    failed: dict[str, str] = {}
    done = 0
    order: list[str] = []

    def ended(job: Job, end: Attempt | str) -> None:
        nonlocal done
        done += 1
        if isinstance(end, str):
            failed[job.id] = end
        elif end.status == "refused":
            failed[job.id] = f"refused: {end.text}"
        else:
            answers[job.id] = Answer(end.text or "", end.model)
        progress(done)

    def jobs() -> Iterator[Job]:
        for question in questions:
            order.append(question.id)
            yield Job(question.id, question.request)

    spend = call_all(writer, jobs(), ledger, manner, ended)
    problems = [Problem(name, failed[name]) for name in order if name in failed]
    return Asked(answers, problems, spend)


def as_picture(image: Image.Image) -> Picture:
    """A picture as it is sent: PNG, nothing else changed."""
    return Picture(save_png(image))
