"""The score table of the page, out of scores/summary.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from janus4o.errors import DataError

KINDS = {"t2i": "Text to image", "edit": "Editing"}
MODELS = ("base", "tuned")


@dataclass(frozen=True, slots=True)
class Score:
    """A score with its 95 % interval, all 0–1; `n` is None for a mean over tasks."""

    value: float
    low: float
    high: float
    n: int | None = None


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One task, or the mean over the tasks of its kind.

    Attributes:
        held_out: "scene", "wording and seed", or empty.
        scores: model name → score.
        change: "gained"/"lost" where tuned and base differ beyond chance, else "same"; empty where
            they were not compared.
    """

    task: str
    held_out: str
    scores: dict[str, Score]
    change: str = ""


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Rows of one kind; the last row of it is the mean."""

    title: str
    rows: tuple[ScoreRow, ...]
    mean: ScoreRow


def score_tables(summary: Mapping[str, Any]) -> tuple[ScoreTable, ...]:
    """One table a kind that was scored; raises DataError where summary.json lacks its keys."""
    try:
        return tuple(_table(summary, kind) for kind in KINDS if summary["tuned"][kind])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"scores/summary.json lacks {error}", "delete it and run `janus4o eval` again"
        ) from error


def _table(summary: Mapping[str, Any], kind: str) -> ScoreTable:
    meta = summary.get("meta", {})
    differences = meta.get("tuned_minus_base", {})
    models = [model for model in MODELS if summary[model][kind]]
    rows = tuple(
        ScoreRow(
            task,
            str(meta.get("held_out", {}).get(task, "")),
            {
                model: Score(entry["score"], entry["low"], entry["high"], entry["n"])
                for model in models
                if (entry := summary[model][kind].get(task))
            },
            _change(differences.get(task)),
        )
        for task in summary["tuned"][kind]
    )
    means = {}
    for model in models:
        value = summary[model][f"{kind}_mean"]
        interval = meta.get("mean_intervals", {}).get(model, {}).get(f"{kind}_mean")
        low, high = (interval["low"], interval["high"]) if interval else (value, value)
        means[model] = Score(value, low, high)
    return ScoreTable(KINDS[kind], rows, ScoreRow("mean", "", means))


def _change(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return ""
    if difference["low"] > 0:
        return "gained"
    return "lost" if difference["high"] < 0 else "same"
