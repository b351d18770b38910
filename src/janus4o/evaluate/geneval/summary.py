"""GenEval's score: the official text, and the same numbers with intervals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from janus4o.errors import DataError
from janus4o.evaluate.evidence import Problem, read_lines
from janus4o.evaluate.score_file import interval_to_json
from janus4o.evaluate.statistics import Interval, clustered, mean


@dataclass(frozen=True, slots=True)
class Result:
    """One judged picture.

    Attributes:
        prompt_key: the metadata as text; pictures of one prompt share it.
    """

    tag: str
    prompt_key: str
    correct: bool


@dataclass(frozen=True, slots=True)
class TagScore:
    """Share of correct pictures of one tag, its interval clustered by prompt."""

    interval: Interval
    correct: int
    n: int
    prompts: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Scores 0–1. `overall` is the unweighted mean over tags, the number papers print."""

    overall: Interval
    tags: dict[str, TagScore]
    images: TagScore
    prompts_any: Interval


def summarise(results: Sequence[Result]) -> Summary:
    """Scores judged pictures; raises DataError when there is none."""
    if not results:
        raise DataError("no picture was scored", "see the problems listed")
    tags = {tag: _score([r for r in results if r.tag == tag]) for tag in _tags(results)}
    solved = _any_correct(results)
    overall = mean([score.interval for score in tags.values()])
    return Summary(
        overall=overall,
        tags=tags,
        images=_score(results),
        prompts_any=clustered([float(any_) for any_ in solved], range(len(solved))),
    )


def official_text(results: Sequence[Result]) -> str:
    """What the published summary script prints for these results, byte for byte.

    Raises:
        DataError: there is no result.
    """
    if not results:
        raise DataError("there are no results to sum up", "see the problems listed")
    solved = _any_correct(results)
    lines = [
        "Summary",
        "=======",
        f"Total images: {len(results)}",
        f"Total prompts: {len(solved)}",
        f"% correct images: {_share(r.correct for r in results):.2%}",
        f"% correct prompts: {_share(solved):.2%}",
        "",
        "Task breakdown",
        "==============",
    ]
    shares = []
    for tag in _tags(results):
        verdicts = [r.correct for r in results if r.tag == tag]
        shares.append(_share(verdicts))
        lines.append(f"{tag:<16} = {shares[-1]:.2%} ({sum(verdicts)} / {len(verdicts)})")
    lines += ["", f"Overall score (avg. over tasks): {np.mean(shares):.5f}"]
    return "\n".join(lines) + "\n"


def read_results(path: Path) -> tuple[list[Result], list[Problem]]:
    """Reads an official results file, ours or anyone's; lines that are none are listed."""
    lines, problems = read_lines(path)
    results = []
    seen: dict[str, str] = {}
    for line in lines:
        tag, key, correct = (line.data.get(name) for name in ("tag", "metadata", "correct"))
        if not isinstance(tag, str) or not isinstance(key, str) or correct not in (0, 1):
            what = "is not a result: tag, metadata (texts) and correct (true or false) are needed"
            problems.append(Problem(line.where, what))
            continue
        results.append(Result(tag, key, bool(correct)))
        name = line.data.get("filename")
        if isinstance(name, str) and seen.setdefault(name, line.where) != line.where:
            what = f"{name!r} was on {seen[name]} already; counted again, as the original does"
            problems.append(Problem(line.where, what, unscored=False))
    return results, problems


def official_line(
    filename: str, tag: str, prompt: str, result: Result, reason: str, details: Any
) -> str:
    """One line of an official results file, escaped as pandas does."""
    row = {
        "filename": filename,
        "tag": tag,
        "prompt": prompt,
        "correct": result.correct,
        "reason": reason,
        "metadata": result.prompt_key,
        "details": json.dumps(details),
    }
    return json.dumps(row, separators=(",", ":")).replace("/", "\\/")


def summary_to_json(summary: Summary, comparable: bool) -> dict[str, Any]:
    """What a score file says of the scores; every line says whether it may stand beside others."""

    def entry(interval: Interval, score: TagScore | None = None) -> dict[str, Any]:
        counts = {} if score is None else _counts(score)
        return {**interval_to_json(interval), **counts, "comparable": comparable}

    return {
        "overall": entry(summary.overall),
        "tags": {tag: entry(score.interval, score) for tag, score in summary.tags.items()},
        "images": entry(summary.images.interval, summary.images),
        "prompts_with_any_correct": entry(summary.prompts_any),
    }


def by_prompt(results: Sequence[Result]) -> dict[str, tuple[str, float]]:
    """Prompt → its tag and the share of its pictures that are correct."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.prompt_key, []).append(result)
    return {key: (same[0].tag, _share(r.correct for r in same)) for key, same in groups.items()}


def _counts(score: TagScore) -> dict[str, int]:
    return {"correct": score.correct, "n": score.n, "prompts": score.prompts}


def _score(results: Sequence[Result]) -> TagScore:
    keys = [r.prompt_key for r in results]
    interval = clustered([float(r.correct) for r in results], keys)
    return TagScore(interval, sum(r.correct for r in results), len(results), len(set(keys)))


def _tags(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.tag for result in results))


def _any_correct(results: Sequence[Result]) -> list[bool]:
    solved: dict[str, bool] = {}
    for result in results:
        solved[result.prompt_key] = solved.get(result.prompt_key, False) or result.correct
    return list(solved.values())


def _share(verdicts: Iterable[bool]) -> float:
    values = list(verdicts)
    return sum(values) / len(values)
