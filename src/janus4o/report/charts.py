"""Geometry of the charts. The template draws them; nothing here knows colours or markup.

Plots are 1000 units wide and high and stretched by the page, so positions are also shares of a
thousand; text never is inside a stretched drawing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNITS = 1000.0
MOST_POINTS = 240
"""Points a curve is drawn with; longer curves are averaged down."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis: `at` in percent from the left or from the bottom."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Curve:
    """One line.

    Attributes:
        points: "x,y x,y …" in plot units, y downwards, as SVG's polyline takes them.
        last: label of the last value.
    """

    name: str
    points: str
    last: str


@dataclass(frozen=True, slots=True)
class LineChart:
    """Curves over a common axis."""

    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a list: `share` in percent of the longest."""

    label: str
    value: str
    share: float


def line_chart(
    curves: Mapping[str, Sequence[tuple[float, float]]], from_zero: bool = False
) -> LineChart | None:
    """Places curves of (x, y) points; None where there are not two points to join.

    Args:
        from_zero: whether the y axis starts at zero.
    """
    finite = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for name, points in curves.items()
    }
    drawn = {name: _thin(points) for name, points in finite.items() if len(points) > 1}
    if not drawn:
        return None
    xs = [x for points in drawn.values() for x, _ in points]
    ys = [y for points in drawn.values() for _, y in points]
    x_low, x_high = min(xs), max(xs)
    if 0 < x_low < 0.05 * x_high:
        x_low = 0.0  # steps count from 1; an axis from 0 has round ticks
    y_steps = _steps(0.0 if from_zero else min(ys), max(ys), 5)
    y_low, y_high = y_steps[0], y_steps[-1]

    def place(x: float, y: float) -> str:
        across = (x - x_low) / ((x_high - x_low) or 1) * UNITS
        down = (y_high - y) / (y_high - y_low) * UNITS
        return f"{across:.1f},{down:.1f}"

    return LineChart(
        tuple(
            Curve(name, " ".join(place(x, y) for x, y in points), _number(points[-1][1]))
            for name, points in drawn.items()
        ),
        tuple(
            Tick(100 * (x - x_low) / ((x_high - x_low) or 1), f"{x:,.0f}")
            for x in _steps(x_low, x_high, 6, least=1.0)
            if x_low <= x <= x_high
        ),
        tuple(Tick(100 * (y - y_low) / (y_high - y_low), _number(y)) for y in y_steps),
    )


def bars(counts: Mapping[str, float], labels: Mapping[str, str] | None = None) -> tuple[Bar, ...]:
    """Bars in the order given; `labels` replace the printed values."""
    most = max(counts.values(), default=0.0) or 1.0
    return tuple(
        Bar(name, (labels or {}).get(name, f"{count:,.0f}"), 100 * count / most)
        for name, count in counts.items()
    )


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS` points, each the mean of its neighbours; first and last x are kept."""
    if len(points) <= MOST_POINTS:
        return list(points)
    edges = [round(k * len(points) / MOST_POINTS) for k in range(MOST_POINTS + 1)]
    thin = []
    for start, stop in itertools.pairwise(edges):
        part = points[start:stop]
        thin.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
    thin[0] = (points[0][0], thin[0][1])
    thin[-1] = (points[-1][0], thin[-1][1])
    return thin


def _steps(low: float, high: float, about: int, least: float = 0.0) -> list[float]:
    """Round numbers that enclose low … high, about so many and no closer than `least`."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = max((high - low) / about, least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


def _number(value: float) -> str:
    """Short and readable: "1.4", "0.02", "5e-6"."""
    if value == 0:
        return "0"
    if abs(value) < 1e-2:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
