"""Wilson's interval of a share, which tells scores and audits how much to believe of a count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its two-sided confidence limits."""

    score: float
    low: float
    high: float


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a proportion.

    With n = 0 nothing is known: the score is NaN and the interval is 0–1.

    Raises:
        ValueError: unless 0 ≤ successes ≤ n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    return Interval(successes / n, *wilson_limits(successes / n, n, confidence))


def wilson_limits(p: float, n: float, confidence: float) -> tuple[float, float]:
    """Both ends for a share `p` of `n` answers, which need not be a whole number."""
    z = quantile(confidence)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if p == 0 else max(0.0, centre - half)
    high = 1.0 if p == 1 else min(1.0, centre + half)
    return low, high


def quantile(confidence: float) -> float:
    """Of the normal distribution, for a two-sided interval."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)
