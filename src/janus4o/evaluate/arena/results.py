"""What the votes say: who wins how often, how sure that is, and whether the raters agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus4o.errors import Refused
from janus4o.evaluate.arena.contest import Contest, set_hash, starter_items
from janus4o.evaluate.arena.order import Trial
from janus4o.evaluate.arena.votes import QUESTIONS, Vote
from janus4o.evaluate.evidence import Problem, hash_file, problems_to_json
from janus4o.evaluate.score_file import interval_to_json
from janus4o.evaluate.statistics import CONFIDENCE, clustered, mcnemar

TIE = ""
"""The winner of a tied vote."""
ROUNDS = 400
PRIOR = 0.5
"""Tied votes added to each pair, so that a system that never wins still has a finite strength."""

Ballot = tuple[str, str, str, str, str]
"""(rater, item, system, other system, winner or TIE), the systems in the contest's order."""


def report(
    contest: Contest,
    votes: Sequence[tuple[Vote, Trial]],
    files: Sequence[Path],
    problems: Sequence[Problem],
) -> dict[str, Any]:
    """The score file: what was asked of whom, over what, and the results."""
    is_starter = set(contest.items) <= set(starter_items())
    asked = "the starter set (ours, not the paper's)" if is_starter else "the user's own"
    return {
        "format": 1,
        "benchmark": "arena",
        "contest": contest.id,
        "systems": contest.systems,
        "seed": contest.seed,
        "prompt_set": {"name": asked, "sha256": set_hash(contest), "n": len(contest.items)},
        "evidence": [{"file": path.name, "sha256": hash_file(path)} for path in files],
        "n": len(votes),
        "unit": "votes, repeats included",
        "confidence": CONFIDENCE,
        **results(contest, votes),
        "problems": problems_to_json(problems),
    }


def results(contest: Contest, votes: Sequence[tuple[Vote, Trial]]) -> dict[str, Any]:
    """Everything the report says, by question and by rater.

    Repeats count for agreement with oneself only; what was skipped counts for nothing.
    """
    questions = {}
    for question in QUESTIONS:
        ballots = [b for v, t in votes if not t.repeat if (b := ballot(contest, v, question))]
        pairs = [
            compare(one, two, [b for b in ballots if b[2:4] == (one, two)])
            for one, two in combinations(contest.systems, 2)
        ]
        questions[question] = {
            "question": QUESTIONS[question],
            "pairs": [pair for pair in pairs if pair["votes"]],
            "agreement": agreement(ballots),
            "strengths": strengths(contest.systems, ballots) if len(contest.systems) > 2 else None,
        }
    return {"questions": questions, "raters": raters(contest, votes)}


def ballot(contest: Contest, vote: Vote, question: str) -> Ballot | None:
    """The vote with its sides taken off; None for a skipped one."""
    choice = getattr(vote, question)
    if choice == "skip":
        return None
    of = {side: contest.pictures[getattr(vote, side)].system for side in ("left", "right")}
    one, two = sorted(of.values(), key=contest.systems.index)
    return vote.rater, vote.item, one, two, of.get(choice, TIE)


def compare(one: str, two: str, ballots: Sequence[Ballot]) -> dict[str, Any]:
    """Win, tie and lose ratios of `one` against `two`, intervals clustered by item.

    The sign test asks of each item which system got more votes, so that many raters of one item
    are not taken for many items.
    """
    found: dict[str, Any] = {"system": one, "against": two, "votes": len(ballots)}
    items = [item for _, item, *_ in ballots]
    margins: Counter[str] = Counter()
    for _, item, _, _, winner in ballots:
        margins[item] += (winner == one) - (winner == two)
    for name, winner in (("win", one), ("tie", TIE), ("lose", two)):
        hits = [float(b[4] == winner) for b in ballots]
        found[name] = interval_to_json(clustered(hits, items)) if hits else None
    ahead, behind = (sum(m * side > 0 for m in margins.values()) for side in (1, -1))
    p_value = mcnemar(ahead, behind)
    return found | {"items": len(margins), "ahead": ahead, "behind": behind, "p_value": p_value}


def agreement(ballots: Iterable[Ballot]) -> dict[str, Any]:
    """Krippendorff's nominal alpha, which takes any number of raters a match.

    `alpha` is None where no match has two raters, or where all votes are the same.
    """
    units: dict[tuple[str, ...], list[str]] = {}
    for _, *match, winner in ballots:
        units.setdefault(tuple(match), []).append("tie" if winner == TIE else _side(match, winner))
    shared = [Counter(of) for of in units.values() if len(of) > 1]
    totals: Counter[str] = sum(shared, Counter())
    n = totals.total()
    # Each value of a unit of m is paired with the m − 1 others, each pair weighing 1/(m − 1).
    agreed = sum(sum(k * (k - 1) for k in of.values()) / (of.total() - 1) for of in shared)
    expected = sum(k * (k - 1) for k in totals.values())
    alpha = None
    if n and expected < n * (n - 1):
        alpha = 1 - (1 - agreed / n) / (1 - expected / (n * (n - 1)))
    return {"alpha": alpha, "same": agreed / n if n else None, "matches": len(shared), "votes": n}


def _side(match: Sequence[str], winner: str) -> str:
    return "first" if winner == match[1] else "second"


def strengths(systems: Sequence[str], ballots: Sequence[Ballot]) -> dict[str, Any]:
    """Bradley–Terry on the scale of chess (400 points: ten to one; mean 1000), ties half a win.

    Limits are percentiles over contests drawn again item by item.
    """
    items = sorted({item for _, item, *_ in ballots})
    place = {name: i for i, name in enumerate(systems)}
    wins = np.zeros((len(items), len(systems), len(systems)))
    for _, item, one, two, winner in ballots:
        a, b, at = place[one], place[two], items.index(item)
        wins[at, a, b] += 1.0 if winner == one else 0.5 if winner == TIE else 0.0
        wins[at, b, a] += 1.0 if winner == two else 0.5 if winner == TIE else 0.0
    rng = np.random.default_rng(0)
    draws = [
        bradley_terry(wins[rng.integers(0, len(items), len(items))].sum(0))
        for _ in range(ROUNDS if items else 0)
    ]
    score = bradley_terry(wins.sum(0))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail], axis=0) if draws else (score, score)
    return {
        name: {"score": float(score[i]), "low": float(low[i]), "high": float(high[i])}
        for name, i in place.items()
    }


def bradley_terry(wins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Strengths from `wins[i, j]`, how often i beat j, by I-LSR (Maystre and Grossglauser 2015).

    Raises:
        Refused: choix is not installed.
    """
    smoothed = wins + PRIOR / 2 * (1 - np.eye(len(wins)))
    points: NDArray[np.float64] = 1000 + 400 / math.log(10) * library().ilsr_pairwise_dense(
        smoothed
    )
    return points


def library() -> Any:
    """choix; raises Refused where it is not installed."""
    try:
        import choix
    except ImportError:
        raise Refused(
            "to rank three systems or more takes the package choix, which is not installed",
            "pip install 'janus4o[eval]'",
        ) from None
    return choix


def raters(
    contest: Contest, votes: Sequence[tuple[Vote, Trial]]
) -> dict[str, dict[str, Mapping[str, Any] | float | int | str]]:
    """Rater → rule (empty for a person), votes, repeats answered alike, share of left among decided votes, seconds a vote."""
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(vote.rater for vote, _ in votes):
        own = [(vote, trial) for vote, trial in votes if vote.rater == name]
        of: dict[str, Any] = {
            "votes": sum(not trial.repeat for _, trial in own),
            "scripted": own[0][0].scripted,
            "seconds": median(vote.ms for vote, _ in own) / 1000,
        }
        for question in QUESTIONS:
            firsts = {
                b[1:4]: b for v, t in own if not t.repeat if (b := ballot(contest, v, question))
            }
            again = [b for v, t in own if t.repeat if (b := ballot(contest, v, question))]
            both = [b == firsts[b[1:4]] for b in again if b[1:4] in firsts]
            sides = Counter(getattr(vote, question) for vote, _ in own)
            decided = sides["left"] + sides["right"]
            of[question] = {
                "skipped": sides["skip"],
                "ties": sides["tie"],
                "left": sides["left"] / decided if decided else None,
                "repeats": len(both),
                "repeated_alike": sum(both),
            }
        found[name] = of
    return found
