"""Intervals for scores that are counts of passes.

Everything here is closed-form and two-sided: the same counts give the same interval everywhere.
A score of 0 or 1 still gets a width, which a normal approximation would deny it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from janus4o.intervals import CONFIDENCE as CONFIDENCE
from janus4o.intervals import Interval as Interval
from janus4o.intervals import wilson as wilson
from janus4o.intervals import wilson_limits


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of answers to the same questions.

    Attributes:
        difference: second minus first, with its interval (Newcombe's paired score interval).
        gained: questions only the second passed.
        lost: questions only the first passed.
        p_value: exact McNemar test, two-sided, that gains and losses are equally likely.
    """

    difference: Interval
    gained: int
    lost: int
    p_value: float

    @property
    def kept(self) -> bool:
        """Whether the data leave room for "nothing was lost": the interval reaches zero."""
        return self.difference.high >= 0.0


def mean(parts: Sequence[Interval]) -> Interval:
    """Unweighted mean of independent proportions, each task counting once.

    The limits combine the parts' own limits by the square-and-add rule (MOVER), which for a
    single part gives that part back and never leaves 0–1.

    Raises:
        ValueError: no parts.
    """
    if not parts:
        raise ValueError("the mean of no scores")
    k = len(parts)
    score = sum(part.score for part in parts) / k
    below = math.sqrt(sum((part.score - part.low) ** 2 for part in parts)) / k
    above = math.sqrt(sum((part.high - part.score) ** 2 for part in parts)) / k
    return Interval(score, max(0.0, score - below), min(1.0, score + above))


def clustered(
    scores: Sequence[float],
    clusters: Iterable[Hashable],
    low: float = 0.0,
    high: float = 1.0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Mean of scores that are not independent: answers to one prompt resemble each other.

    The standard error is that of the clusters' sums (G/(G − 1) corrected). It is turned into the
    sample size that independent pass-or-fail answers would need for it, and that into Wilson's
    interval, so that the limits stay on the scale and a perfect score keeps a width. Where the
    clusters do not differ at all, or there is one only, each counts as one answer.

    Args:
        clusters: what each score belongs to, in the same order.
        low, high: ends of the scale.

    Raises:
        ValueError: no scores, or a score off the scale.
    """
    sums: dict[Hashable, list[float]] = {}
    for score, cluster in zip(scores, clusters, strict=True):
        if not low <= score <= high:
            raise ValueError(f"a score of {score} on a scale of {low}–{high}")
        sums.setdefault(cluster, []).append((score - low) / (high - low))
    n, groups = len(scores), len(sums)
    if n == 0:
        raise ValueError("the mean of no scores")
    p = min(max(math.fsum(itertools.chain(*sums.values())) / n, 0.0), 1.0)
    squares = math.fsum((math.fsum(v) - p * len(v)) ** 2 for v in sums.values())
    variance = squares / n**2 * groups / (groups - 1) if groups > 1 else 0.0
    size = p * (1 - p) / variance if variance > 1e-18 and 0 < p < 1 else float(groups)
    bottom, top = wilson_limits(p, size, confidence)
    return Interval(math.fsum(scores) / n, low + bottom * (high - low), low + top * (high - low))


def compare(
    first: Sequence[bool], second: Sequence[bool], confidence: float = CONFIDENCE
) -> Comparison:
    """Compares two sets of answers to the same questions, question by question.

    Raises:
        ValueError: different lengths, or no questions.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} answers against {len(second)}")
    n = len(first)
    if n == 0:
        raise ValueError("a comparison of no answers")
    both = sum(a and b for a, b in zip(first, second, strict=True))
    lost = sum(a and not b for a, b in zip(first, second, strict=True))
    gained = sum(b and not a for a, b in zip(first, second, strict=True))
    difference = _paired_difference(both, lost, gained, n - both - lost - gained, confidence)
    return Comparison(difference, gained, lost, mcnemar(gained, lost))


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p-value of `gained` against `lost` under a fair coin."""
    total = gained + lost
    tail = sum(math.comb(total, k) for k in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / (1 << total))


def _paired_difference(
    both: int, lost: int, gained: int, neither: int, confidence: float
) -> Interval:
    """Newcombe (1998), method 10: Wilson limits joined with the continuity-corrected φ."""
    n = both + lost + gained + neither
    one, two = wilson(both + gained, n, confidence), wilson(both + lost, n, confidence)
    margins = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    product = float(both * neither - lost * gained)
    if product > 0:
        product = max(product - n / 2, 0.0)
    phi = product / math.sqrt(margins) if margins else 0.0
    d = one.score - two.score
    below = _join(one.score - one.low, two.high - two.score, phi)
    above = _join(one.high - one.score, two.score - two.low, phi)
    return Interval(d, max(-1.0, d - below), min(1.0, d + above))


def _join(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))
