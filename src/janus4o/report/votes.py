"""What an arena's `report.json` says, as a page shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus4o.errors import DataError

ARENA_FOLDER, REPORT_FILE = "arena", "report.json"
OUTCOMES = ("win", "tie", "lose")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A share of the votes with its 95 % limits, all 0–1."""

    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pair:
    """`system` against `other` on one question; outcomes in the order of `OUTCOMES`."""

    system: str
    other: str
    outcomes: tuple[Outcome, ...]
    votes: int
    items: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Poll:
    """One question of the arena.

    Attributes:
        strengths: system → Bradley–Terry points; empty for two systems.
        alpha, same: agreement of raters; None where no pair has two.
    """

    question: str
    pairs: tuple[Pair, ...]
    strengths: dict[str, Outcome]
    alpha: float | None
    same: float | None


@dataclass(frozen=True, slots=True)
class Votes:
    """A contest's outcome.

    Attributes:
        asked: name and size of the set of items.
        people, scripted: how many raters were people, and the names of those that were not.
        again: (votes on repeats that were answered alike, repeats) over all raters and questions.
        problems: lines that do not count, as text.
    """

    systems: tuple[str, ...]
    asked: str
    items: int
    votes: int
    polls: tuple[Poll, ...]
    people: int
    scripted: tuple[str, ...]
    again: tuple[int, int]
    problems: tuple[str, ...]


def read_arena(folder: Path) -> Votes | None:
    """The report of a contest folder; None where nobody has counted its votes yet.

    Raises:
        DataError: the report is not in its form.
    """
    path = folder / REPORT_FILE
    if not path.is_file():
        return None
    try:
        return _votes(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{str(path)!r} is no report of an arena: {error}",
            "write it again with `janus4o eval arena --report`",
        ) from error


def _votes(data: Mapping[str, Any]) -> Votes:
    raters = data["raters"]
    scripted = tuple(str(name) for name, of in raters.items() if of.get("scripted"))
    again = [of[question] for of in raters.values() for question in data["questions"]]
    return Votes(
        systems=tuple(map(str, data["systems"])),
        asked=str(data["prompt_set"]["name"]),
        items=int(data["prompt_set"]["n"]),
        votes=int(data["n"]),
        polls=tuple(_poll(of) for of in data["questions"].values()),
        people=len(raters) - len(scripted),
        scripted=scripted,
        again=(sum(of["repeated_alike"] for of in again), sum(of["repeats"] for of in again)),
        problems=tuple(f"{one['where']}: {one['what']}" for one in data["problems"]),
    )


def _poll(data: Mapping[str, Any]) -> Poll:
    alike = data["agreement"]
    return Poll(
        question=str(data["question"]),
        pairs=tuple(
            Pair(
                str(one["system"]),
                str(one["against"]),
                tuple(_outcome(one[name]) for name in OUTCOMES),
                int(one["votes"]),
                int(one["items"]),
                float(one["p_value"]),
            )
            for one in data["pairs"]
        ),
        strengths={str(name): _outcome(of) for name, of in (data["strengths"] or {}).items()},
        alpha=None if alike["alpha"] is None else float(alike["alpha"]),
        same=None if alike["same"] is None else float(alike["same"]),
    )


def _outcome(data: Mapping[str, Any]) -> Outcome:
    return Outcome(float(data["score"]), float(data["low"]), float(data["high"]))
