"""How many distinct object categories a prompt asks for.

The paper draws k from 1..100 with weight exp(-λ(k-1)) and does not state λ. Here λ is explicit
(`category_decay` in the recipe), the law is renormalised over its support, and a teacher that can
only be asked for fewer categories shortens the support: `mass_cut` says how much that changes.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MAX_CATEGORIES = 100


@lru_cache(maxsize=64)
def probabilities(decay: float, largest: int = MAX_CATEGORIES) -> NDArray[np.float64]:
    """P(k) for k = 1..largest, float64 [largest]; proportional to exp(-decay·(k-1))."""
    if not 1 <= largest <= MAX_CATEGORIES:
        raise ValueError(f"largest must be 1..{MAX_CATEGORIES}, not {largest}")
    weights = np.exp(-decay * np.arange(largest, dtype=np.float64))
    law: NDArray[np.float64] = weights / weights.sum()
    law.flags.writeable = False
    return law


def mean(decay: float, largest: int = MAX_CATEGORIES) -> float:
    """The expected number of categories; 1/(1-exp(-decay)) were the support unbounded."""
    return float(probabilities(decay, largest) @ np.arange(1, largest + 1))


def mass_cut(decay: float, largest: int) -> float:
    """How much of the probability over 1..100 lies above `largest`, 0–1."""
    return math.fsum(probabilities(decay)[largest:])


def draw(rng: np.random.Generator, decay: float, largest: int = MAX_CATEGORIES) -> int:
    """One k in 1..largest."""
    cumulative = np.cumsum(probabilities(decay, largest))
    return min(int(np.searchsorted(cumulative, rng.random(), side="right")) + 1, largest)
