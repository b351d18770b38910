"""The figures of a data set as PNG: shares per dimension, shares per task, the category-count curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from janus4o.asked import Distribution, figures
from janus4o.records import Row

WIDTH, LINE, GAP, LABEL, BAR = 880, 22, 46, 250, 480
INK, FAINT, CAME, WANTED = (34, 34, 34), (110, 110, 110), (70, 118, 180), (200, 80, 40)
GRID = (232, 232, 232)
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Of the curve's axis."""
NAMES = ("dimensions.png", "tasks.png", "categories.png")


def draw(
    rows: Sequence[Row], targets: Mapping[str, Mapping[str, float]] | None = None
) -> dict[str, bytes]:
    """File name → PNG; those there is nothing to draw for are left out.

    Args:
        rows: with provenance; others tell nothing.
        targets: as in synthesis.json; what was wanted is marked beside what came.
    """
    found = figures(rows, targets or {})
    drawn = {}
    if found.dimensions:
        drawn[NAMES[0]] = _bars(found.dimensions, "Shares per dimension")
    if found.tasks:
        drawn[NAMES[1]] = _bars(found.tasks, "Shares per task")
    if found.categories is not None:
        drawn[NAMES[2]] = _curve(found.categories)
    return drawn


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _bars(groups: Sequence[Distribution], title: str) -> bytes:
    """Lists of bars, each as long as its share; a mark stands where the recipe wanted it to end."""
    height = 60 + sum(GAP + LINE * len(one.values) for one in groups) + 30
    image = Image.new("RGB", (WIDTH, height), "white")
    draw = ImageDraw.Draw(image)
    draw.text((20, 16), title, INK, _font(22))
    y = 60
    marked = False
    for group in groups:
        draw.text((20, y + 14), group.title, INK, _font(16))
        y += GAP
        most = group.largest or 1.0
        for value in group.values:
            draw.text((LABEL, y + 10), _short(value.label), INK, _font(14), anchor="rm")
            length = round(BAR * value.share / most)
            draw.rectangle((LABEL + 10, y + 3, LABEL + 10 + length, y + LINE - 5), CAME)
            if value.wanted is not None:
                at, marked = LABEL + 10 + round(BAR * value.wanted / most), True
                draw.rectangle((at - 1, y, at + 1, y + LINE - 2), WANTED)
            words = f"{100 * value.share:.1f} %  ({value.count:,})"
            draw.text((LABEL + BAR + 24, y + 10), words, FAINT, _font(13), anchor="lm")
            y += LINE
    if marked:
        draw.text((20, height - 24), "bar: came    mark: wanted by the recipe", FAINT, _font(13))
    return _png(image)


def _curve(found: Distribution) -> bytes:
    """Share of prompts against how many categories they name."""
    points = [(int(v.label), v) for v in found.values]
    image = Image.new("RGB", (WIDTH, 420), "white")
    draw = ImageDraw.Draw(image)
    draw.text((20, 16), "Prompts by number of object categories", INK, _font(22))
    left, right, top, bottom = 70, WIDTH - 30, 70, 360
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)
    step = next((one for one in STEPS if found.largest <= 5 * one), STEPS[-1])
    most = step * math.ceil(found.largest / step - 1e-9) or step

    def place(number: int, share: float) -> tuple[float, float]:
        across = left + (right - left) * (number - first) / (last - first)
        return across, bottom - (bottom - top) * share / most

    draw.line((left, bottom, right, bottom), INK)
    draw.line((left, top, left, bottom), INK)
    for line in range(round(most / step) + 1):
        share = step * line
        y = place(first, share)[1]
        if line:
            draw.line((left, y, right, y), GRID)
        draw.text((left - 8, y), f"{100 * share:g} %", FAINT, _font(13), anchor="rm")
    for number, value in points:
        x = place(number, 0)[0]
        draw.text((x, bottom + 8), value.label, FAINT, _font(13), anchor="mt")
        draw.text((x, bottom + 26), f"{value.count:,}", FAINT, _font(11), anchor="mt")
    draw.line([place(n, v.share) for n, v in points], CAME, 3)
    for number, value in points:
        x, y = place(number, value.share)
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), CAME)
        if value.wanted is not None:
            y = place(number, value.wanted)[1]
            draw.rectangle((x - 10, y - 1, x + 10, y + 1), WANTED)
    draw.text((left, 404), "categories, and prompts that name so many", FAINT, _font(13), "lm")
    marked = points[0][1].wanted is not None
    legend = "line: came" + ("    marks: wanted by the recipe" if marked else "")
    draw.text((right, 44), legend, FAINT, _font(13), "rm")
    return _png(image)


def _short(text: str) -> str:
    text = "".join(one if one.isprintable() else "?" for one in text)
    return text if len(text) <= 32 else f"{text[:31]}…"


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
