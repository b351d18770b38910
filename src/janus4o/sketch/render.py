"""Draws a scene exactly: the same scene and size give the same pixels everywhere.

Shapes are drawn once at eight times the size and averaged down, so edges are smooth and nothing
depends on a font or a graphics driver.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from janus4o.sketch.scene import (
    SLOT_CENTRES,
    Background,
    Colour,
    Item,
    Lighting,
    Scene,
    Shape,
    Shot,
    Style,
)

Pixels = NDArray[np.uint8]

COLOUR_RGB: dict[Colour, tuple[int, int, int]] = {
    Colour.RED: (222, 45, 38),
    Colour.ORANGE: (247, 140, 30),
    Colour.YELLOW: (250, 222, 50),
    Colour.GREEN: (40, 150, 65),
    Colour.BLUE: (40, 95, 220),
    Colour.PURPLE: (135, 60, 190),
    Colour.BLACK: (25, 25, 28),
    Colour.WHITE: (250, 250, 250),
    Colour.BROWN: (120, 72, 35),
    Colour.CYAN: (0, 215, 255),
}
GROUND_RGB: dict[Background, tuple[int, int, int]] = {
    Background.GRAY: (165, 168, 174),
    Background.PINK: (243, 186, 202),
    Background.TEAL: (120, 196, 190),
}
LIGHT_GAIN: dict[Lighting, tuple[float, float, float]] = {
    Lighting.NEUTRAL: (1.0, 1.0, 1.0),
    Lighting.WARM: (1.0, 0.88, 0.68),
    Lighting.COOL: (0.72, 0.88, 1.0),
    Lighting.DIM: (0.55, 0.55, 0.55),
}
SHOT_SCALE: dict[Shot, float] = {Shot.MEDIUM: 1.0, Shot.LONG: 0.68}

RADIUS = 14 / 64
"""Radius of an object as a fraction of the canvas: 2 of 64 pixels stay free around its slot."""
STROKE = {Style.OUTLINE: 0.13, Style.STICKER: 0.1}
"""Width of an outline and of a sticker's rim, in radii."""
HATCH = 0.5
"""Period of hatching along a row, in radii; half of it is drawn."""
RIM_RGB = (255, 255, 255)
DARK_RIM_RGB = (105, 108, 116)
"""A sticker's rim; the dark one goes round white objects."""
OVERSAMPLE = 8

_POLYGONS: dict[Shape, list[tuple[float, float]]] = {
    Shape.SQUARE: [(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)],
    Shape.TRIANGLE: [(0.0, -0.95), (0.98, 0.8), (-0.98, 0.8)],
    Shape.DIAMOND: [(0.0, -1.0), (0.72, 0.0), (0.0, 1.0), (-0.72, 0.0)],
    Shape.CROSS: [
        (-0.32, -0.95), (0.32, -0.95), (0.32, -0.32), (0.95, -0.32), (0.95, 0.32), (0.32, 0.32),
        (0.32, 0.95), (-0.32, 0.95), (-0.32, 0.32), (-0.95, 0.32), (-0.95, -0.32), (-0.32, -0.32),
    ],
    Shape.HOUSE: [
        (0.0, -0.98), (0.95, -0.1), (0.66, -0.1), (0.66, 0.9), (0.22, 0.9), (0.22, 0.3),
        (-0.22, 0.3), (-0.22, 0.9), (-0.66, 0.9), (-0.66, -0.1), (-0.95, -0.1),
    ],
    Shape.ARROW: [
        (1.0, 0.0), (0.1, -0.85), (0.1, -0.32), (-0.95, -0.32), (-0.95, 0.32), (0.1, 0.32),
        (0.1, 0.85),
    ],
    Shape.TREE: [
        (0.0, -1.0), (0.55, -0.35), (0.3, -0.35), (0.8, 0.35), (0.18, 0.35), (0.18, 0.95),
        (-0.18, 0.95), (-0.18, 0.35), (-0.8, 0.35), (-0.3, -0.35), (-0.55, -0.35),
    ],
}  # fmt: skip


def _star(points: int, inner: float) -> list[tuple[float, float]]:
    out = []
    for k in range(2 * points):
        radius = 1.0 if k % 2 == 0 else inner
        angle = math.pi * k / points - math.pi / 2
        out.append((radius * math.cos(angle), radius * math.sin(angle)))
    return out


def _heart() -> list[tuple[float, float]]:
    out = []
    for k in range(120):
        t = 2 * math.pi * k / 120
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        out.append((x / 17.0, -(y + 2.5) / 15.5))
    return out


def _drop() -> list[tuple[float, float]]:
    out = [(0.0, -1.0)]
    for k in range(61):
        angle = -0.18 * math.pi + 1.36 * math.pi * k / 60
        out.append((0.66 * math.cos(angle), 0.32 + 0.66 * math.sin(angle)))
    return out


@lru_cache(maxsize=512)
def mask(shape: Shape, radius: float, style: Style = Style.FLAT) -> NDArray[np.float32]:
    """How much of each pixel a shape's colour covers.

    Args:
        radius: half the width of the returned square, in pixels.

    Returns:
        float32 [2·ceil(radius), 2·ceil(radius)], 0–1.
    """
    big = _silhouette(shape, radius)
    match style:
        case Style.OUTLINE:
            big = big & ~_eroded(big, round(STROKE[style] * radius * OVERSAMPLE))
        case Style.STICKER:
            big = _eroded(big, round(STROKE[style] * radius * OVERSAMPLE))
        case Style.HATCHED:
            rows, columns = np.indices(big.shape)
            period = HATCH * radius * OVERSAMPLE
            big = big & ((rows + columns) % period < period / 2)
        case Style.FLAT:
            pass
    return _reduced(big)


@lru_cache(maxsize=512)
def rim(shape: Shape, radius: float, style: Style) -> NDArray[np.float32] | None:
    """How much of each pixel a sticker's rim covers, as `mask`; None for other styles."""
    if style is not Style.STICKER:
        return None
    return np.asarray(_reduced(_silhouette(shape, radius)) - mask(shape, radius, style), np.float32)


def rim_rgb(colour: Colour) -> tuple[int, int, int]:
    """The colour of the rim round an object of `colour`."""
    return DARK_RIM_RGB if colour is Colour.WHITE else RIM_RGB


def _silhouette(shape: Shape, radius: float) -> NDArray[np.bool_]:
    """The filled shape at `OVERSAMPLE` times the size, bool [16·ceil(radius), 16·ceil(radius)]."""
    half = math.ceil(radius)
    big = 2 * half * OVERSAMPLE
    image = Image.new("L", (big, big), 0)
    _paint_shape(ImageDraw.Draw(image), shape, half * OVERSAMPLE, radius * OVERSAMPLE)
    return np.asarray(image) > 127


def _eroded(big: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels at least `width` (in both directions, beyond the image too) inside the shape."""
    inside = np.pad(big, width)
    for axis in (0, 1):
        reach = 0
        grown = inside
        while reach < width:  # the minimum over 2·reach + 1 pixels, reach doubling
            step = min(max(reach, 1), width - reach)
            grown = grown & np.roll(grown, step, axis) & np.roll(grown, -step, axis)
            reach += step
        inside = grown
    return inside[width:-width, width:-width]


def _reduced(big: NDArray[np.bool_]) -> NDArray[np.float32]:
    side = big.shape[0] // OVERSAMPLE
    cells = big.astype(np.float32).reshape(side, OVERSAMPLE, side, OVERSAMPLE)
    return np.asarray((cells * 255).mean((1, 3)) / 255.0, np.float32)


def _paint_shape(draw: ImageDraw.ImageDraw, shape: Shape, centre: float, radius: float) -> None:
    """Fills one shape of the given centre and radius (both in pixels) with white."""

    def disc(x: float, y: float, r: float, fill: int = 255) -> None:
        cx, cy, rr = centre + x * radius, centre + y * radius, r * radius
        draw.ellipse((cx - rr, cy - rr, cx + rr - 1, cy + rr - 1), fill=fill)

    def polygon(points: list[tuple[float, float]], fill: int = 255) -> None:
        draw.polygon([(centre + x * radius, centre + y * radius) for x, y in points], fill=fill)

    match shape:
        case Shape.CIRCLE:
            disc(0, 0, 0.95)
        case Shape.RING:
            disc(0, 0, 0.98)
            disc(0, 0, 0.52, 0)
        case Shape.MOON:
            disc(-0.05, 0, 0.95)
            disc(0.42, -0.12, 0.78, 0)
        case Shape.STAR:
            polygon(_star(5, 0.42))
        case Shape.HEART:
            polygon(_heart())
        case Shape.DROP:
            polygon(_drop())
        case Shape.FLOWER:
            for k in range(6):
                angle = math.pi * k / 3
                disc(0.6 * math.cos(angle), 0.6 * math.sin(angle), 0.38)
            disc(0, 0, 0.25, 0)
        case Shape.FISH:
            top, bottom = centre - 0.55 * radius, centre + 0.55 * radius
            draw.ellipse((centre - radius, top, centre + 0.5 * radius, bottom), fill=255)
            polygon([(0.3, 0.0), (1.0, -0.65), (1.0, 0.65)])
        case Shape.CUP:
            polygon([(-0.85, -0.7), (0.45, -0.7), (0.32, 0.8), (-0.72, 0.8)])
            disc(0.55, -0.05, 0.42)
            disc(0.55, -0.05, 0.22, 0)
            polygon([(-0.85, -0.7), (0.45, -0.7), (0.32, 0.8), (-0.72, 0.8)])
        case _:
            polygon(_POLYGONS[shape])


@lru_cache(maxsize=64)
def ground(background: Background, size: int) -> NDArray[np.float32]:
    """The empty canvas: float32 [size, size, 3], 0–255, before lighting. Do not write into it."""
    if background in GROUND_RGB:
        return _plain(GROUND_RGB[background], size)
    big = size * 4
    rows, columns = np.indices((big, big)) / big
    cells = np.select(*_cells(background, rows, columns))
    fine = np.asarray(cells, np.float32).reshape(size, 4, size, 4, 3)
    return np.asarray(fine.mean((1, 3)), np.float32)


def _plain(rgb: tuple[int, int, int], size: int) -> NDArray[np.float32]:
    return np.broadcast_to(np.array(rgb, np.float32), (size, size, 3)).copy()


def _cells(
    background: Background, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.float64]]]:
    """Conditions and their colours, the first true one counts; rows and columns are 0–1."""
    everywhere = np.ones((*rows.shape, 1), bool)

    def paint(rgb: tuple[int, int, int]) -> NDArray[np.float64]:
        return np.broadcast_to(np.array(rgb, np.float64), (*rows.shape, 3))

    def where(condition: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return condition[..., None]

    match background:
        case Background.SUNSET:
            blend = rows[..., None]
            sky = (1 - blend) * paint((255, 205, 160)) + blend * paint((140, 120, 165))
            return [everywhere], [sky]
        case Background.STRIPES:
            dark = where((columns * 8) % 2 < 1)
            return [dark, everywhere], [paint((184, 174, 150)), paint((214, 207, 186))]
        case Background.CHECKS:
            dark = where(((columns * 8) % 2 < 1) != ((rows * 8) % 2 < 1))
            return [dark, everywhere], [paint((168, 186, 160)), paint((203, 215, 195))]
        case Background.SKYLINE:
            heights = np.array([0.55, 0.3, 0.7, 0.45, 0.62, 0.25, 0.5, 0.36])
            tall = heights[np.minimum((columns * 8).astype(int), 7)]
            towers = where(rows > 1 - tall)
            return [towers, everywhere], [paint((128, 136, 156)), paint((196, 216, 238))]
        case Background.ROOM:
            floor = where(rows > 0.75)
            skirting = where(rows > 0.71)
            return (
                [floor, skirting, everywhere],
                [paint((176, 140, 108)), paint((236, 232, 222)), paint((214, 200, 172))],
            )
        case _:
            raise ValueError(f"no pattern for {background.value}")


def draw(scene: Scene, size: int = 64) -> Pixels:
    """Draws a scene.

    Args:
        size: side of the square canvas in pixels, a multiple of 16.

    Returns:
        uint8 RGB [size, size, 3].
    """
    canvas = ground(scene.background, size).copy()
    empty = _lit_ground(scene.background, scene.lighting, size)
    return _add_items(canvas, empty.copy(), scene, lambda item: COLOUR_RGB[item.colour])


def draw_on(
    canvas: NDArray[np.float32], scene: Scene, rgb_of: Callable[[Item], tuple[int, int, int]]
) -> Pixels:
    """Draws a scene's objects on a canvas, which is changed, and lights it.

    Args:
        canvas: float32 [size, size, 3], 0–255.
        rgb_of: the colour an object gets.
    """
    return _add_items(canvas, _lit(canvas, scene.lighting), scene, rgb_of)


@lru_cache(maxsize=64)
def _lit_ground(background: Background, lighting: Lighting, size: int) -> Pixels:
    """The empty canvas in some light. Do not write into it."""
    return _lit(ground(background, size), lighting)


def _lit(canvas: NDArray[np.float32], lighting: Lighting) -> Pixels:
    """The canvas in some light, uint8 [h, w, 3]."""
    rows = _rows(canvas) * _row(LIGHT_GAIN[lighting], canvas.shape[1])
    np.rint(rows, out=rows)
    return np.asarray(rows.clip(0, 255, out=rows), np.uint8).reshape(canvas.shape)


def _add_items(
    canvas: NDArray[np.float32],
    out: Pixels,
    scene: Scene,
    rgb_of: Callable[[Item], tuple[int, int, int]],
) -> Pixels:
    """Draws objects on the canvas, and what they change, lit, on `out`, which is returned."""
    size = canvas.shape[0]
    radius = RADIUS * size * SHOT_SCALE[scene.shot]
    for item in scene.items:
        alpha = mask(item.shape, radius, scene.style)
        border = rim(item.shape, radius, scene.style)
        half = alpha.shape[0] // 2
        x, y = (round(c * size) for c in SLOT_CENTRES[item.slot])
        area = slice(y - half, y + half), slice(x - half, x + half)
        window = canvas[area]
        rows = _rows(window)
        step = alpha.repeat(3, 1) * (_row(rgb_of(item), 2 * half) - rows)
        if border is not None:
            step += border.repeat(3, 1) * (_row(rim_rgb(item.colour), 2 * half) - rows)
        window += step.reshape(window.shape)
        out[area] = _lit(window, scene.lighting)
    return out


def _rows(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """[h, w, 3] → [h, w · 3]: numpy is far faster on whole rows than on triples."""
    return image.reshape(image.shape[0], -1)


def _row(rgb: tuple[float, float, float], width: int) -> NDArray[np.float32]:
    """One colour, `width` times side by side."""
    return np.tile(np.array(rgb, np.float32), width)


def picture(scene: Scene, size: int = 64) -> Image.Image:
    """The same as `draw`, as a Pillow image."""
    return Image.fromarray(draw(scene, size))
