"""scores/summary.json: base beside tuned, with what a reader needs to believe it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from janus4o.evaluate.scores import PROTOCOL, ModelScores
from janus4o.evaluate.statistics import Comparison, compare
from janus4o.files import write_atomic
from janus4o.scored import Item, Kind, read_items

BASE_ABILITIES = ("single_object", "colors")
"""What the base could do before fine-tuning, and must still do after."""


def write_summary(
    folder: Path, base: ModelScores, tuned: ModelScores, judge: str, split: str, seed: int
) -> dict[str, Any]:
    """Writes summary.json out of two scored models; the same scores give the same bytes.

    Args:
        folder: the scores folder both were scored into.
        judge: the judge's name and version.
        split: which questions were asked.
        seed: where the questions and samples drew their randomness from.

    Returns:
        The object written, scores 0–1, means unweighted.
    """
    items = read_items(folder)
    comparisons = compare_items(items)
    kept = {task: comparisons[task] for task in BASE_ABILITIES if task in comparisons}
    summary = {
        "base": _table(base),
        "tuned": _table(tuned),
        "meta": {
            "judge": judge,
            "protocol": PROTOCOL,
            "split": split,
            "seed": seed,
            "samples_per_prompt": 1,
            "confidence": 0.95,
            "held_out": {item.task: item.held_out.value for item in items},
            "guidance": {scores.name: _guidance(scores) for scores in (base, tuned)},
            "mean_intervals": {
                scores.name: {
                    f"{kind}_mean": {"low": _short(m.low), "high": _short(m.high)}
                    for kind, m in scores.means.items()
                }
                for scores in (base, tuned)
            },
            "tuned_minus_base": {task: _difference(c) for task, c in comparisons.items()},
            "kept": {
                "tasks": list(kept),
                "passed": all(comparison.kept for comparison in kept.values()),
            },
            "seconds": {scores.name: scores.seconds for scores in (base, tuned)},
            "inputs": {scores.name: scores.inputs for scores in (base, tuned)},
        },
    }
    write_atomic(folder / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def how_made(scores: ModelScores, seed: int) -> dict[str, Any]:
    """What a score file says of a model's pictures."""
    settings = {kind.value: asdict(setting) for kind, setting in scores.settings.items()}
    return {"inputs": scores.inputs, "settings": settings, "seed": seed, "n": 1}


def compare_items(items: Sequence[Item]) -> dict[str, Comparison]:
    """Tuned against base, task by task, on the questions both answered."""
    passed = {(item.model, item.task, item.number): item.passed for item in items}
    comparisons = {}
    for task in dict.fromkeys(item.task for item in items):
        both = [
            number
            for model, other, number in passed
            if model == "base" and other == task and ("tuned", task, number) in passed
        ]
        if both:
            comparisons[task] = compare(
                [passed["base", task, number] for number in both],
                [passed["tuned", task, number] for number in both],
            )
    return comparisons


def _table(scores: ModelScores) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for kind in Kind:
        tasks = scores.tasks.get(kind, {})
        table[kind.value] = {
            task: {key: _short(value) for key, value in asdict(score).items()}
            for task, score in tasks.items()
        }
        table[f"{kind}_mean"] = _short(scores.means[kind].score) if tasks else None
    return table


def _guidance(scores: ModelScores) -> dict[str, Any]:
    return {
        kind.value: {
            **asdict(setting),
            "validation": [
                {**asdict(trial.setting), "score": _short(trial.score)}
                for trial in scores.trials[kind]
            ],
        }
        for kind, setting in scores.settings.items()
    }


def _difference(comparison: Comparison) -> dict[str, Any]:
    interval = comparison.difference
    return {
        "difference": _short(interval.score),
        "low": _short(interval.low),
        "high": _short(interval.high),
        "gained": comparison.gained,
        "lost": comparison.lost,
        "p_value": _short(comparison.p_value),
        "kept": comparison.kept,
    }


def _short(value: float) -> float:
    """Six decimals say more than any count here can; integers stay integers."""
    return value if isinstance(value, int) else round(value, 6)
