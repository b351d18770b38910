"""Charts show every value inside their axes, and thin curves without moving them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus4o.report.charts import MOST_POINTS, bars, line_chart

VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)


def points_of(curve):
    return [tuple(float(v) for v in pair.split(",")) for pair in curve.points.split()]


@given(st.lists(VALUES, min_size=2, max_size=600))
def test_everything_drawn_is_inside_the_plot(values):
    chart = line_chart({"loss": list(enumerate(values))})
    drawn = points_of(chart.curves[0])
    assert len(drawn) == min(len(values), MOST_POINTS)
    assert all(-0.1 <= x <= 1000.1 and -0.1 <= y <= 1000.1 for x, y in drawn)
    assert all(0 <= tick.at <= 100.001 for tick in (*chart.x_ticks, *chart.y_ticks))
    assert len(chart.y_ticks) >= 2


def test_a_higher_value_is_drawn_higher():
    chart = line_chart({"loss": [(1, 3.0), (2, 1.0)]})
    (_, first), (_, second) = points_of(chart.curves[0])
    assert first < second


def test_curves_share_their_axis():
    chart = line_chart({"a": [(1, 0.0), (2, 1.0)], "b": [(1, 1.0), (2, 0.0)]})
    a, b = (points_of(curve) for curve in chart.curves)
    assert a[1][1] == b[0][1]


def test_thinning_keeps_the_mean():
    values = [math.sin(k / 50) for k in range(MOST_POINTS * 4)]
    thin = points_of(
        line_chart({"a": list(enumerate(values)), "b": [(0, 1.0), (959, -1.0)]}).curves[0]
    )
    top = 500 * (1 - sum(values) / len(values))
    assert sum(y for _, y in thin) / len(thin) == pytest.approx(top, abs=2)


@pytest.mark.parametrize("curves", [{}, {"a": []}, {"a": [(1, 2.0)]}, {"a": [(1, math.nan)] * 3}])
def test_nothing_to_join_is_no_chart(curves):
    assert line_chart(curves) is None


def test_a_constant_still_has_an_axis():
    chart = line_chart({"rate": [(1, 0.0), (2, 0.0)]}, from_zero=True)
    assert chart.y_ticks[0].label == "0"


def test_what_is_counted_has_whole_ticks():
    chart = line_chart({"came": [(1, 60.0), (2, 30.0), (3, 10.0)]})
    assert [tick.label for tick in chart.x_ticks] == ["1", "2", "3"]


def test_the_longest_bar_is_full():
    assert [bar.share for bar in bars({"a": 2, "b": 4})] == [50, 100]
    assert bars({}) == ()
