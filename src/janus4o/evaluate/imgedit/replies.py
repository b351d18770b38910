"""A judge's reply, read: to the letter of the published parser, or with care."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from janus4o.errors import DataError
from janus4o.evaluate.imgedit.edits import SCORE_NAMES, canonical
from janus4o.evaluate.imgedit.mode import Mode

LOWEST, HIGHEST = 1, 5


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reply says.

    Attributes:
        scores: as counted; empty where nothing could be read.
        average: their mean, rounded to two places as the published code does; None if unreadable.
        capped: whether a score was lowered to the first one.
        why: why nothing could be read; empty otherwise.
    """

    scores: tuple[int, ...]
    average: float | None
    capped: bool = False
    why: str = ""


def read_reply(reply: object, edit_type: str | None, mode: Mode) -> Reading:
    """Reads one stored reply; what is no text, such as a stored error, is unreadable."""
    if not isinstance(reply, str):
        said = f": {reply['error']}" if isinstance(reply, dict) and "error" in reply else ""
        return Reading((), None, why=f"the judge gave no reply{said}")
    try:
        if mode is Mode.OFFICIAL:
            scores = read_official(reply)
            if not scores:
                return Reading((), None, why="the published parser finds no score")
            return Reading(tuple(scores), _average(scores))
        scores = read_strict(reply, edit_type)
    except DataError as error:
        return Reading((), None, why=error.message)
    limited = [min(score, scores[0]) for score in scores]
    return Reading(tuple(limited), _average(limited), capped=limited != scores)


def read_official(reply: str) -> list[int]:
    """Every line of the form "anything: digits", whatever its name and size.

    Raises:
        DataError: digits that are no number (such as ²), which stop the published code.
    """
    scores = []
    for line in reply.splitlines():
        parts = line.strip().split(": ")
        if len(parts) == 2 and parts[1].isdigit():
            try:
                scores.append(int(parts[1]))
            except ValueError:
                raise DataError(f"{parts[1]!r} stops the published parser", "") from None
    return scores


def read_strict(reply: str, edit_type: str | None) -> list[int]:
    """The three named scores of an edit type, whole numbers from 1 to 5, before the cap.

    Markup, bullets, "4/5", "4.", "4 (good)" and replies on one line are read. Other lines, such as an
    overall score, are not looked at.

    Raises:
        DataError: the type is unknown, a score is missing, off the scale, or there twice with
            different values (a reply that repeats what a picture told the judge to say).
    """
    names = SCORE_NAMES.get(canonical(edit_type or ""))
    if names is None:
        raise DataError(f"unknown edit type {edit_type!r}", "")
    return [_find(reply, name) for name in names]


def _find(reply: str, name: str) -> int:
    found = {_number(match, name) for match in _pattern(name).finditer(reply)}
    if not found:
        raise DataError(f"no score for {name!r}", "")
    if len(found) > 1:
        said = " and ".join(map(str, sorted(found)))
        raise DataError(f"{name!r} is scored {said}", "")
    return found.pop()


def _number(match: re.Match[str], name: str) -> int:
    text, of, upto = match["number"], match["of"], match["upto"]
    value = float(text)
    whole = value.is_integer() and LOWEST <= value <= HIGHEST
    if not whole or upto or (of and float(of) != HIGHEST):
        said = match["number"] + (f"/{of}" if of else "") + (f"-{upto}" if upto else "")
        raise DataError(f"{name!r} is scored {said}, not {LOWEST} to {HIGHEST}", "")
    return int(value)


@cache
def _pattern(name: str) -> re.Pattern[str]:
    words = r"\s+".join("(?:&|and)" if w == "&" else re.escape(w) for w in name.split())
    mark = r"[\s*_`\"'“”]*"
    return re.compile(
        rf"(?<![^\W_]){words}{mark}(?:\bscores?\b{mark})?(?:\([^()\n]*\){mark})?"
        rf"(?:[:：=|]|[-–—](?=\s)|->|→){mark}"
        r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?![0-9])[*_`]*"
        r"(?:\s*(?:/|out\s+of)\s*(?P<of>[0-9]+(?:\.[0-9]+)?)"
        r"|\s?(?:[-–—~]|to)\s?(?P<upto>[0-9]+))?",
        re.IGNORECASE,
    )


def _average(scores: Sequence[int]) -> float:
    return round(sum(scores) / len(scores), 2)
