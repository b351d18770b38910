"""Who sees what, when and on which side: chance, but the same chance every time."""

from __future__ import annotations

import random
from dataclasses import dataclass

from janus4o.evaluate.arena.contest import Contest

REPEATED = 0.1
"""Share of a rater's trials that come a second time, sides swapped, to see whether they agree with
themselves."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One question on the screen. `left` and `right` are tokens; `repeat` is never shown."""

    item: str
    left: str
    right: str
    repeat: bool = False


def order(contest: Contest, seat: str) -> list[Trial]:
    """All trials of one seat: every match once, in its own order and on its own sides, and repeats.

    Repeats are of matches of the first half and come in the second.

    Args:
        seat: names the order; a rater of the served page has the seat of their name.
    """
    rng = random.Random(f"{contest.seed} {seat}")
    trials = []
    # Sorting by `random()`: the one sequence Python promises never to change.
    shuffled = [match for _, match in sorted((rng.random(), m) for m in contest.matches())]
    for item, one, two in shuffled:
        left, right = (one, two) if rng.random() < 0.5 else (two, one)
        trials.append(Trial(item, left, right))
    n = len(trials)
    again = max(1, round(REPEATED * n)) if n >= 4 else 0
    first_half = sorted((rng.random(), place) for place in range(n // 2))[:again]
    second_half = trials[n // 2 :]
    for _, place in first_half:
        trial = trials[place]
        at = 1 + int(rng.random() * len(second_half))
        second_half.insert(at, Trial(trial.item, trial.right, trial.left, repeat=True))
    return trials[: n // 2] + second_half
