"""A vision-language model as ImgEdit-Bench's judge, asked with the suite's own prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from janus4o.errors import DataError, ImageError
from janus4o.evaluate.asking import Progress, Question, ask
from janus4o.evaluate.evidence import Problem, read_object
from janus4o.evaluate.imgedit.edits import SCORE_NAMES, Edit, canonical
from janus4o.exchange import Picture, Writer, WriteRequest
from janus4o.images import MEDIA_TYPES, kind_of, open_image

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


def collect_replies(
    edits: Mapping[str, Edit],
    pictures: Mapping[str, Path],
    sources: Path,
    prompts: Mapping[str, str],
    judge: Writer,
    log: Path,
    concurrency: int = 4,
    progress: Progress = lambda done, total: None,
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Asks the judge about every edit that has a picture: first the original, then the edited one.

    Args:
        pictures: key → edited picture, as `find_pictures` gives them.
        sources: folder of the suite's source pictures.
        log: where replies are kept; a second run asks only what failed.

    Returns:
        Lines that `eval imgedit --replies` reads, and what is missing.

    Raises:
        Janus4oError: see `ask`.
    """
    problems: list[Problem] = []
    asked: list[Question] = []
    for key, path in pictures.items():
        edit = edits[key]
        text = prompts.get(canonical(edit.type))
        try:
            if text is None:
                raise DataError(f"no prompt for edit type {edit.type!r}", "")
            if not edit.source or not edit.prompt:
                raise DataError("the suite's file names neither source nor instruction", "")
            sent = (_load(_inside(sources, edit.source)), _load(path))
        except (ImageError, DataError) as error:
            problems.append(Problem(key, error.message))
            continue
        asked.append(Question(key, WriteRequest(text.replace(PLACE, edit.prompt), sent)))
    answers, unanswered = ask(judge, asked, log, concurrency, progress)
    lines = [
        {
            "id": key,
            "edit_type": edits[key].type,
            "source": edits[key].source,
            "reply": answer.text,
            "judge": answer.model,
        }
        for key, answer in answers.items()
    ]
    return lines, problems + unanswered


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"source {name!r} lies outside of {str(folder)!r}", "")
    return path


def _load(path: Path) -> Picture:
    """The file's own bytes, once they are known to be a whole picture."""
    open_image(path)
    data = path.read_bytes()
    return Picture(data, MEDIA_TYPES[kind_of(data)])
