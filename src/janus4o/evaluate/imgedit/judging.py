"""A vision-language model as ImgEdit-Bench's judge, asked with the suite's own prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus4o.errors import DataError, ImageError
from janus4o.evaluate.asking import Progress, Question, ask
from janus4o.evaluate.evidence import Problem, read_object
from janus4o.evaluate.imgedit.edits import SCORE_NAMES, Edit, canonical, source_of
from janus4o.exchange import Picture, Writer, WriteRequest
from janus4o.images import MEDIA_TYPES, kind_of, open_image
from janus4o.ledger.jobs import Manner
from janus4o.ledger.journal import Spend

PLACE = "<edit_prompt>"


def read_judge_prompts(path: Path) -> dict[str, str]:
    """The suite's `prompts.json`, {edit type: text}; raises DataError where one is no text."""
    prompts: dict[str, str] = {}
    for kind, text in read_object(path).items():
        if not isinstance(text, str) or PLACE not in text:
            raise DataError(
                f"{path.name}: the prompt of {kind!r} has no {PLACE}", "give prompts.json"
            )
        prompts[canonical(kind)] = text
    missing = sorted(SCORE_NAMES.keys() - prompts.keys())
    if missing:
        raise DataError(f"{path.name} has no prompt for {', '.join(missing)}", "give prompts.json")
    return prompts


@dataclass(frozen=True, slots=True)
class Collected:
    """What a judge said of a folder of edited pictures.

    Attributes:
        lines: one an edit of the suite, as `eval imgedit --replies` reads them; what has no reply
            says why.
        problems: what is missing.
        spend: of all runs with the same ledger.
    """

    lines: list[dict[str, Any]]
    problems: list[Problem]
    spend: Spend


def collect_replies(
    edits: Mapping[str, Edit],
    pictures: Mapping[str, Path],
    sources: Path,
    prompts: Mapping[str, str],
    judge: Writer,
    ledger: Path,
    manner: Manner = Manner(),
    progress: Progress = lambda done: None,
) -> Collected:
    """Asks the judge about every edit that has a picture: first the original, then the edited one.

    Args:
        pictures: key → edited picture, as `find_pictures` gives them.
        sources: folder of the suite's source pictures.
        ledger: folder where replies are kept; a second run asks only what failed.

    Raises:
        Janus4oError: see `ask`.
    """
    problems: list[Problem] = []

    def asked() -> Iterator[Question]:  # edit by edit: all pictures are too much to hold
        for key, path in pictures.items():
            edit = edits[key]
            text = prompts.get(canonical(edit.type))
            try:
                if text is None:
                    raise DataError(f"no prompt for edit type {edit.type!r}", "")
                if not edit.source or not edit.prompt:
                    raise DataError("the suite's file names neither source nor instruction", "")
                sent = (_load(source_of(edit, sources)), _load(path))
            except (ImageError, DataError) as error:
                problems.append(Problem(key, error.message))
                continue
            yield Question(key, WriteRequest(text.replace(PLACE, edit.prompt), sent))

    said = ask(judge, asked(), ledger, manner, progress)
    problems += said.problems
    why = {problem.where: problem.what for problem in problems}
    lines = []
    for key, edit in edits.items():
        line: dict[str, Any] = {"id": key, "edit_type": edit.type, "source": edit.source}
        if (answer := said.answers.get(key)) is not None:
            line |= {"reply": answer.text, "judge": answer.model}
        else:  # as the published code stores it; the score lists it
            line["reply"] = {"error": why.get(key, "no picture of this edit")}
        lines.append(line)
    return Collected(lines, problems, said.spend)


def _load(path: Path) -> Picture:
    """The file's own bytes, once they are known to be a whole picture."""
    open_image(path)
    data = path.read_bytes()
    return Picture(data, MEDIA_TYPES[kind_of(data)])
