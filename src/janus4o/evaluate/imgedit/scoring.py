"""Stored replies in, averages per edit, type and suite out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus4o.errors import DataError
from janus4o.evaluate.comparable import doubt
from janus4o.evaluate.evidence import Problem, read_lines, read_object
from janus4o.evaluate.imgedit.edits import VERSION, Edit, edits_hash
from janus4o.evaluate.imgedit.mode import Mode
from janus4o.evaluate.imgedit.replies import HIGHEST, LOWEST, Reading, read_reply
from janus4o.evaluate.score_file import Score
from janus4o.evaluate.statistics import Interval, clustered, mean

BENCHMARK = "ImgEdit-Bench Basic"


@dataclass(frozen=True, slots=True)
class Judged:
    """One edit with its reply, read. Edits of one source picture are not independent.

    `judge` is the model as the line names it; empty where it does not.
    """

    edit: Edit
    reading: Reading
    judge: str = ""

    @property
    def cluster(self) -> str:
        return self.edit.source or self.edit.key

    def to_json(self) -> dict[str, Any]:
        reading = self.reading
        return {
            "id": self.edit.key,
            "scores": list(reading.scores),
            "average": reading.average,
        }


@dataclass(frozen=True, slots=True)
class Means:
    """The published numbers, rounded as published.

    Attributes:
        items: key → average, of what could be read.
        types: edit type → mean.
        macro: mean of the rounded type means, the leaderboard's way; None without any.
        micro: mean of the items, the way of other tables.
    """

    items: dict[str, float]
    types: dict[str, float]
    macro: float | None
    micro: float | None


def judge_lines(path: Path, mode: Mode) -> tuple[list[Judged], list[Problem]]:
    """Reads lines of {id, edit_type, reply}; what is unreadable is listed and kept."""
    lines, problems = read_lines(path)
    judged: list[Judged] = []
    seen: set[str] = set()
    for line in lines:
        key, kind = line.data.get("id"), line.data.get("edit_type")
        if not isinstance(key, str | int) or isinstance(key, bool) or "reply" not in line.data:
            problems.append(Problem(line.where, "'id' or 'reply' is missing"))
            continue
        if not isinstance(kind, str | None):
            problems.append(Problem(line.where, "'edit_type' is no text"))
            continue
        if str(key) in seen:
            problems.append(Problem(line.where, f"repeats {key!r}"))
            continue
        seen.add(str(key))
        edit = Edit(str(key), kind or "", str(line.data.get("source", "")))
        reading = read_reply(line.data["reply"], kind, mode)
        judged.append(Judged(edit, reading, str(line.data.get("judge") or "")))
    return judged, problems + _unreadable(judged)


def judge_results(
    path: Path, edits: Mapping[str, Edit], mode: Mode
) -> tuple[list[Judged], list[Problem]]:
    """Reads an official result.json, {key: reply}, against the edits of the suite."""
    replies = read_object(path)
    judged = [
        Judged(edits[key], read_reply(reply, edits[key].type, mode))
        for key, reply in replies.items()
        if key in edits
    ]
    problems = [
        Problem(f"{path.name} {key!r}", "is no edit of the suite", unscored=False)
        for key in replies
        if key not in edits
    ]
    problems += [Problem(key, "has no reply") for key in edits if key not in replies]
    return judged, problems + _unreadable(judged)


def means(judged: Iterable[Judged]) -> Means:
    """Averages of averages, each rounded to two places where the published code rounds."""
    items: dict[str, float] = {}
    by_type: dict[str, list[float]] = {}
    for one in judged:
        if one.reading.average is not None:
            items[one.edit.key] = one.reading.average
            if one.edit.type:
                by_type.setdefault(one.edit.type, []).append(one.reading.average)
    types = {kind: _rounded(values) for kind, values in by_type.items()}
    return Means(
        items=items,
        types=types,
        macro=_rounded(list(types.values())) if types else None,
        micro=_rounded(list(items.values())) if items else None,
    )


def by_edit(judged: Iterable[Judged]) -> dict[str, tuple[str, float]]:
    """Key → its type and average, of what could be read."""
    return {
        one.edit.key: (one.edit.type, one.reading.average)
        for one in judged
        if one.reading.average is not None
    }


def score_file(
    judged: Sequence[Judged],
    problems: Sequence[Problem],
    evidence: Sequence[Path],
    mode: Mode,
    judge: str = "",
    prompt_set: Sequence[Edit] = (),
) -> Score:
    """What is written about a run; raises DataError where no reply could be read.

    Args:
        judge: used where the lines name none.
        prompt_set: all edits of the suite, where they are known.
    """
    done = means(judged)
    if done.micro is None:
        raise DataError("no reply could be read", "see the problems listed")
    read = [one for one in judged if one.reading.average is not None]
    # The official parser takes any number; its scale has no end.
    highest = max(HIGHEST, *done.items.values())
    scale = (LOWEST, HIGHEST) if mode is Mode.STRICT else (0, highest)
    of_type = {
        kind: _unit([one for one in read if one.edit.type == kind], scale) for kind in done.types
    }
    asked = list(prompt_set) or [one.edit for one in judged]
    capped = sum(one.reading.capped for one in read)
    judges = {"judge": ", ".join(sorted({one.judge or judge for one in judged} - {""}))}
    prompts = {"n": len(asked), "sha256": edits_hash(asked)}
    return Score(
        benchmark=BENCHMARK,
        version=VERSION,
        mode=mode.value,
        evidence=evidence,
        prompt_set=prompts,
        networks=judges,
        doubt=doubt(BENCHMARK, judges, mode.value, prompts, len(read)),
        n=len(read),
        unit="edits",
        scores={
            "scale": list(scale),
            "capped": capped,
            "macro": _entry(done.macro, _mean(of_type), scale, len(done.types)),
            "micro": _entry(done.micro, _unit(read, scale), scale, len(read)),
            "types": {
                kind: _entry(
                    done.types[kind],
                    interval,
                    scale,
                    sum(one.edit.type == kind for one in read),
                )
                for kind, interval in of_type.items()
            },
        },
        problems=problems,
    )


def _unreadable(judged: Iterable[Judged]) -> list[Problem]:
    return [
        Problem(one.edit.key, one.reading.why) for one in judged if one.reading.average is None
    ] + [
        Problem(one.edit.key, "names no edit type; it counts in micro only", unscored=False)
        for one in judged
        if one.reading.average is not None and not one.edit.type
    ]


def _unit(judged: Sequence[Judged], scale: tuple[float, float]) -> Interval:
    """Mean and limits, on a scale of 0–1."""
    low, high = scale
    values = [((one.reading.average or 0.0) - low) / (high - low) for one in judged]
    return clustered(values, [one.cluster for one in judged])


def _mean(of_type: Mapping[str, Interval]) -> Interval:
    return mean(list(of_type.values())) if of_type else Interval(0.0, 0.0, 1.0)


def _entry(
    score: float | None, unit: Interval, scale: tuple[float, float], n: int
) -> dict[str, float | int | None]:
    low, high = scale
    limits = [low + limit * (high - low) for limit in (unit.low, unit.high)]
    return {"score": score, "low": limits[0], "high": limits[1], "n": n}


def _rounded(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 2)
