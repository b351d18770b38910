"""Intervals agree with the printed tables and keep what their names promise."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus4o.evaluate.statistics import Interval, clustered, compare, mcnemar, mean, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_limits(successes, n, low, high):
    interval = wilson(successes, n)
    assert interval.score == successes / n
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_mirrors_and_contains_its_score(counts):
    successes, n = counts
    interval = wilson(successes, n)
    mirrored = wilson(n - successes, n)
    assert interval.low == pytest.approx(1 - mirrored.high)
    assert 0 <= interval.low < interval.high <= 1
    if n:
        assert interval.low <= interval.score <= interval.high


def test_no_answers_means_nothing_is_known():
    interval = wilson(0, 0)
    assert math.isnan(interval.score)
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="5 successes of 4"):
        wilson(5, 4)


def test_the_mean_is_unweighted():
    assert mean([wilson(1, 1), wilson(0, 1000)]).score == 0.5


@given(st.integers(0, 40))
def test_the_mean_of_one_score_is_that_score(successes):
    part = wilson(successes, 40)
    whole = mean([part])
    assert (whole.score, whole.low, whole.high) == pytest.approx((part.score, part.low, part.high))


def test_the_mean_covers_the_truth_about_as_often_as_it_says():
    rng = random.Random(0)
    truth = [0.97, 0.9, 0.8, 0.6, 0.99, 0.75]
    hits = 0
    rounds = 600
    for _ in range(rounds):
        parts = [wilson(sum(rng.random() < p for _ in range(60)), 60) for p in truth]
        interval = mean(parts)
        hits += interval.low <= sum(truth) / len(truth) <= interval.high
    assert 0.92 <= hits / rounds <= 0.99


def test_more_tasks_narrow_the_mean():
    one = Interval(0.8, 0.7, 0.9)
    width = mean([one] * 4)
    assert width.high - width.low == pytest.approx(0.1)


def _answers(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    pairs = (
        [(True, True)] * both
        + [(True, False)] * first
        + [(False, True)] * second
        + [(False, False)] * neither
    )
    return [a for a, _ in pairs], [b for _, b in pairs]


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [  # Newcombe 1998, "Improved confidence intervals for the difference between ... paired data",
        # table III, method 10; his difference is first minus second
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((0, 12, 2, 36), 0.0569, 0.3404),
    ],
)
def test_the_paired_difference_gives_the_published_limits(table, low, high):
    first, second = _answers(*table)
    comparison = compare(second, first)  # ours is second minus first
    assert (round(comparison.difference.low, 4), round(comparison.difference.high, 4)) == (
        low,
        high,
    )


def test_mcnemar_is_the_sign_test_of_the_discordant_pairs():
    assert mcnemar(12, 2) == pytest.approx(2 * (1 + 14 + 91) / 2**14)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(3, 3) == 1.0


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(lambda t: sum(t) > 0))
def test_swapping_the_two_sides_swaps_the_signs(table):
    first, second = _answers(*table)
    there, back = compare(first, second), compare(second, first)
    assert (there.gained, there.lost) == (back.lost, back.gained)
    assert there.difference.low == pytest.approx(-back.difference.high)
    assert there.p_value == back.p_value


def test_a_clear_loss_is_not_called_kept():
    first, second = _answers(60, 30, 2, 8)
    assert not compare(first, second).kept
    assert compare(second, first).kept
    assert compare(first, first).kept


def test_answers_to_other_questions_cannot_be_compared():
    with pytest.raises(ValueError, match="2 answers against 1"):
        compare([True, False], [True])


@given(st.integers(0, 60))
def test_clusters_of_one_give_nearly_wilson(successes):
    scores = [1.0] * successes + [0.0] * (60 - successes)
    ours, plain = clustered(scores, range(60)), wilson(successes, 60)
    assert ours.score == pytest.approx(plain.score)
    assert ours.low == pytest.approx(plain.low, abs=0.003)
    assert ours.high == pytest.approx(plain.high, abs=0.003)


def test_copies_of_an_answer_add_nothing():
    answers = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    copied = [score for score in answers for _ in range(4)]
    once = clustered(answers, range(7))
    four = clustered(copied, [i // 4 for i in range(28)])
    assert (four.score, four.low, four.high) == pytest.approx((once.score, once.low, once.high))
    apart = clustered(copied, range(28))
    assert apart.high - apart.low < 0.7 * (four.high - four.low)


def test_a_perfect_score_of_few_prompts_keeps_its_width():
    interval = clustered([1.0] * 12, [i // 4 for i in range(12)])
    assert interval.high == 1.0
    assert interval.low == pytest.approx(wilson(3, 3).low)


def test_another_scale_is_only_a_scale():
    scores, clusters = [0.2, 0.9, 0.4, 0.6], [0, 0, 1, 2]
    unit = clustered(scores, clusters)
    five = clustered([1 + 4 * s for s in scores], clusters, 1, 5)
    assert five.score == pytest.approx(1 + 4 * unit.score)
    assert (five.low, five.high) == pytest.approx((1 + 4 * unit.low, 1 + 4 * unit.high))
    with pytest.raises(ValueError, match="on a scale"):
        clustered([6], [0], 1, 5)


def test_clustered_limits_cover_the_truth_about_as_often_as_they_say():
    rng = random.Random(1)
    hits, rounds = 0, 500
    for _ in range(rounds):
        # Prompts differ in difficulty: their mean is 0.7, four answers each.
        prompts = [rng.betavariate(1.4, 0.6) for _ in range(80)]
        scores = [float(rng.random() < p) for p in prompts for _ in range(4)]
        interval = clustered(scores, [i // 4 for i in range(320)])
        hits += interval.low <= 0.7 <= interval.high
    assert 0.92 <= hits / rounds <= 0.98
