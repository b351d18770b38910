"""The benchmarks' own scores of base and tuned, out of scores/suite/suite.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from janus4o.errors import DataError

SUITE_FOLDER, SUITE_FILE = "suite", "suite.json"
STYLES = {
    "GenEval": ("GenEval", "share of pictures, mean of six tags"),
    "DPG-Bench": ("DPG", "points of 100 for the questions a prompt takes apart into"),
    "ImgEdit-Bench Basic": ("ImgEdit", "marks from 1 to 5, mean of the kinds of edit"),
}
"""Benchmark → its short name, and what its number is."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A score on its benchmark's scale with its 95 % limits."""

    score: float
    low: float
    high: float
    n: int
    unscored: int


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One benchmark.

    Attributes:
        cells: model → score.
        difference: tuned minus base, prompt by prompt; None where they were not compared.
        change: "gained", "lost" or "same" (within chance); empty where they were not compared.
    """

    title: str
    what: str
    unit: str
    digits: int
    cells: dict[str, Cell]
    difference: tuple[float, float, float] | None
    p_value: float | None
    change: str


def suite_rows(suite: Mapping[str, Any]) -> tuple[SuiteRow, ...]:
    """The rows of suite.json; raises DataError where it lacks its keys."""
    try:
        return tuple(_row(row) for row in suite["rows"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"scores/{SUITE_FOLDER}/{SUITE_FILE} lacks {error}",
            "delete it and run `janus4o eval sketch` again",
        ) from error


def _row(row: Mapping[str, Any]) -> SuiteRow:
    title, what = STYLES.get(row["benchmark"], (str(row["benchmark"]), ""))
    cells = {
        str(model): Cell(
            float(of["score"]), float(of["low"]), float(of["high"]), int(of["n"]), of["unscored"]
        )
        for model, of in row["models"].items()
    }
    against = next((of["against"] for of in row["models"].values() if of["against"]), None)
    difference = change = p_value = None
    if against is not None:
        difference = against["difference"], against["low"], against["high"]
        p_value = float(against["p_value"])
        change = "gained" if difference[1] > 0 else "lost" if difference[2] < 0 else "same"
    return SuiteRow(
        title=f"{title}-style",
        what=what,
        unit=str(row["unit"]),
        digits=3 if row["scale"] == [0, 1] else 2,
        cells=cells,
        difference=difference,
        p_value=p_value,
        change=change or "",
    )
