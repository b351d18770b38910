"""Two systems on the same prompts: is one better, or was it luck?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist, variance

import numpy as np
from numpy.typing import NDArray

from janus4o.errors import DataError
from janus4o.evaluate.evidence import Problem, hash_file
from janus4o.evaluate.score_file import Score
from janus4o.evaluate.statistics import CONFIDENCE, Interval

Scores = Mapping[str, tuple[str, float]]
"""Prompt → (its group, its score). A benchmark's overall score is the mean of its groups' means."""

ROUNDS = 9_999
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Difference:
    """This system minus the other, over the prompts both have a score for.

    Attributes:
        interval: the difference of the overall scores with its 95 % limits.
        p_value: two-sided sign-flip test: how often chance alone, swapping the systems prompt by
            prompt, gives a difference as large.
        prompts: how many were compared.
        only_here, only_there: prompts one of them lacks.
    """

    interval: Interval
    p_value: float
    prompts: int
    only_here: int
    only_there: int


def difference(
    here: Scores, there: Scores, seed: int = 0, weights: Mapping[str, float] | None = None
) -> Difference:
    """Compares two systems prompt by prompt, keeping the weight of each group.

    Args:
        weights: prompt → its weight within its group, as many as it has pictures; None where all
            prompts have equally many.

    Raises:
        DataError: no prompt is in both.
    """
    both = [prompt for prompt in here if prompt in there]
    if not both:
        raise DataError("the two systems have no prompt in common", "score the same prompts")
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for prompt in both:
        group, score = here[prompt]
        values, shares = groups.setdefault(group, ([], []))
        values.append(score - there[prompt][1])
        shares.append(1.0 if weights is None else weights[prompt])
    k = len(groups)
    # A group of one prompt says nothing of its own spread: the pooled one stands in.
    every = [value for values, _ in groups.values() for value in values]
    pooled = variance(every) if len(every) > 1 else 0.0
    d = spread = 0.0
    parts: list[float] = []
    for values, shares in groups.values():
        n, whole = len(values), math.fsum(shares)
        shares = [share / whole for share in shares]
        own = [share * value for share, value in zip(shares, values, strict=True)]
        middle = math.fsum(own)
        squares = ((s * (v - middle)) ** 2 for s, v in zip(shares, values, strict=True))
        spread += math.fsum(squares) * n / (n - 1) if n > 1 else pooled
        d += middle / k
        parts += [value / k for value in own]
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(spread) / k
    weighted = np.array(parts)
    p_value = _sign_flips(weighted, seed)
    interval = Interval(d, d - half, d + half)
    return Difference(interval, p_value, len(both), len(here) - len(both), len(there) - len(both))


def with_difference(score: Score, found: Difference, other: Path, scale: float = 1.0) -> Score:
    """The score file with what was compared."""
    against = {
        "file": other.name,
        "sha256": hash_file(other),
        "difference": found.interval.score * scale,
        "low": found.interval.low * scale,
        "high": found.interval.high * scale,
        "p_value": found.p_value,
        "prompts": found.prompts,
    }
    missing = found.only_here + found.only_there
    what = f"{missing} prompts are scored in one of the two only and are not compared"
    problems = [*score.problems, *([Problem(other.name, what, False)] if missing else [])]
    return replace(score, against=against, problems=problems)


def _sign_flips(weighted: NDArray[np.float64], seed: int) -> float:
    """Share of random swaps, the observed one included, that differ at least as much."""
    observed = abs(weighted.sum()) - 1e-12
    rng = np.random.default_rng(seed)
    extreme = 1
    for start in range(0, ROUNDS, CHUNK):
        rows = min(CHUNK, ROUNDS - start)
        signs = rng.integers(0, 2, (rows, len(weighted)), np.int8) * 2 - 1
        extreme += int((abs(signs @ weighted) >= observed).sum())
    return extreme / (ROUNDS + 1)
