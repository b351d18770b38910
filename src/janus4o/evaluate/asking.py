"""Questions about pictures, put to any writer that sees, and every answer kept as it comes.

The log is appended to answer by answer under a hash of all that was sent, so that a run that is
stopped goes on where it was, a second run asks only what has no answer yet, and scoring asks nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from PIL import Image

from janus4o.errors import Janus4oError
from janus4o.evaluate.evidence import Problem, read_lines, write_lines
from janus4o.exchange import Picture, Refusal, Writer, WriteRequest
from janus4o.images import save_png

Progress = Callable[[int, int], None]
"""(questions answered, questions in all)."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `id` names it in what is listed."""

    id: str
    request: WriteRequest

    def key(self, writer: str) -> str:
        """Hash of everything that is sent and of who is asked."""
        pictures = [hashlib.sha256(one.data).hexdigest() for one in self.request.pictures]
        parts = [writer, self.request.prompt, pictures, self.request.seed]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and the model's name as the server reported it."""

    text: str
    model: str


def ask(
    writer: Writer,
    questions: Sequence[Question],
    log: Path,
    concurrency: int = 4,
    progress: Progress = lambda done, total: None,
) -> tuple[dict[str, Answer], list[Problem]]:
    """Answers by question id, out of the log where they are there already.

    A refusal is kept, for asking again would be paid again. What brought no answer at all is
    listed and asked again by the next run.

    Raises:
        Janus4oError: the writer says that no call can succeed (a wrong key, an empty account). What
            was answered before is in the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = _read_log(log)
    problems: list[Problem] = []
    with log.open("a", encoding="utf-8") as file:
        asker = _Asker(writer, kept, file, problems, progress, len(questions))
        asyncio.run(asker.ask_all(questions, concurrency))
    answers = {}
    for question in questions:
        line = kept.get(question.key(writer.name))
        if line is None:
            continue
        if line.get("refusal"):
            problems.append(Problem(question.id, f"refused: {line['refusal']}"))
        else:
            answers[question.id] = Answer(str(line["text"]), str(line["model"]))
    return answers, problems


def as_picture(image: Image.Image) -> Picture:
    """A picture as it is sent: PNG, nothing else changed."""
    return Picture(save_png(image))


class _Asker:
    """One run's calls."""

    def __init__(
        self,
        writer: Writer,
        kept: dict[str, dict[str, Any]],
        file: TextIO,
        problems: list[Problem],
        progress: Progress,
        total: int,
    ) -> None:
        self._writer, self._kept, self._file = writer, kept, file
        self._problems, self._progress, self._total = problems, progress, total
        self._done = 0

    async def ask_all(self, questions: Sequence[Question], concurrency: int) -> None:
        gate = asyncio.Semaphore(concurrency)
        # Equal questions about equal pictures are asked once.
        once = {question.key(self._writer.name): question for question in questions}
        await asyncio.gather(*(self._ask(gate, key, question) for key, question in once.items()))

    async def _ask(self, gate: asyncio.Semaphore, key: str, question: Question) -> None:
        if key not in self._kept:
            async with gate:
                try:
                    reply = await self._writer.write(question.request)
                except Janus4oError:
                    raise
                except Exception as error:  # whatever the network made it trip over
                    self._problems.append(Problem(question.id, f"no answer: {error}"))
                    return
            line: dict[str, Any] = {"key": key, "id": question.id, "model": reply.model}
            if isinstance(reply, Refusal):
                line["refusal"] = f"{reply.category}: {reply.message}"
            else:
                line["text"] = reply.text
            self._kept[key] = line
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
        self._done += 1
        self._progress(self._done, self._total)


def _read_log(log: Path) -> dict[str, dict[str, Any]]:
    """Key → line; a line that was cut off is taken away, so that the next one starts fresh."""
    if not log.exists() or log.stat().st_size == 0:
        return {}
    lines, problems = read_lines(log)
    whole = [
        line.data
        for line in lines
        if {"key", "id", "model"} <= line.data.keys()
        and ("text" in line.data) != ("refusal" in line.data)
    ]
    if problems or len(whole) < len(lines):
        write_lines(log, whole)
    return {str(data["key"]): data for data in whole}
