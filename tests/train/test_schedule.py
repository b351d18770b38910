"""The learning rate rises, peaks once, and ends where the recipe says."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus4o.recipe import Train
from janus4o.train import presets
from janus4o.train.schedule import rate_at, total_steps

CORRECTED = presets.resolve(Train(rate=1.0))
OFFICIAL = presets.resolve(Train(rate=1.0, preset="official"))


@given(st.integers(1, 400), st.floats(0, 1), st.floats(0, 1))
def test_corrected_never_wastes_an_update_and_ends_at_the_minimum(steps, warmup, least):
    settings = replace(CORRECTED, warmup=warmup, min_rate=least)
    rates = [rate_at(step, steps, settings) for step in range(steps)]
    rise = int(warmup * steps)
    assert rates[0] > 0 or (least == 0 and steps == 1)
    assert all(a < b for a, b in pairwise(rates[:rise]))
    assert all(a >= b for a, b in pairwise(rates[rise:]))
    assert max(rates) <= 1.0
    if rise < steps:
        assert rates[-1] == pytest.approx(least)


def test_official_starts_at_zero_and_reaches_the_peak_after_the_rise():
    rates = [rate_at(step, 100, OFFICIAL) for step in range(100)]
    assert rates[:6] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[-1] > OFFICIAL.min_rate


def test_the_published_run_has_2162_steps():
    assert total_steps(OFFICIAL, 92_256) == 2162


def test_given_steps_win_and_there_is_always_one():
    assert total_steps(replace(CORRECTED, steps=7), 92_256) == 7
    assert total_steps(CORRECTED, 3) == 1
