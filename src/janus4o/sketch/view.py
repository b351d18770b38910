"""How a scene is shown: plainly, or as one of the pictures that edits start from or end in."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from janus4o.sketch.render import Pixels, draw, draw_on
from janus4o.sketch.scene import Lighting, Scene, Shape, Style


class View(StrEnum):
    """What the pixels are of a scene.

    LINE_ART and MAP show shapes and places but neither colours nor background; LEFT_HALF leaves
    the right half of the canvas blank (white); DAY is four panels in the lights of a day.
    """

    PLAIN = "plain"
    LINE_ART = "line art"
    MAP = "segmentation map"
    PIXELATED = "pixelated"
    LEFT_HALF = "left half"
    SEPIA = "sepia"
    MONO = "mono"
    DAY = "day"


COLOURLESS = frozenset({View.LINE_ART, View.MAP})
"""Views that show shapes and places only."""

RGB = tuple[int, int, int]

PAPER_RGB: RGB = (255, 255, 255)
INK_RGB: RGB = (0, 0, 0)
VOID_RGB: RGB = (0, 0, 0)
"""What is no object on a segmentation map."""
CLASS_RGB: dict[Shape, RGB] = {
    shape: (55 + 100 * (n % 3), 55 + 100 * (n // 3 % 3), 255 - 100 * (n // 9))
    for n, shape in enumerate(Shape)
}
"""The colour of each shape on a segmentation map."""
MOSAIC = 16
"""A pixelated picture has 16 × 16 tiles."""
DAY_LIGHTS = (Lighting.WARM, Lighting.NEUTRAL, Lighting.COOL, Lighting.DIM)
"""The panels of a day, in reading order."""

_LUMA = (0.299, 0.587, 0.114)
_SEPIA_TINT = (1.0, 0.84, 0.62)


def show(scene: Scene, view: View, size: int = 64) -> Pixels:
    """A scene as this view shows it: uint8 RGB [size, size, 3], size a multiple of 32."""
    match view:
        case View.PLAIN:
            return draw(scene, size)
        case View.LINE_ART:
            art = replace(scene, style=Style.OUTLINE, lighting=Lighting.NEUTRAL)
            return draw_on(_sheet(PAPER_RGB, size), art, lambda item: INK_RGB)
        case View.MAP:
            areas = replace(scene, style=Style.FLAT, lighting=Lighting.NEUTRAL)
            return draw_on(_sheet(VOID_RGB, size), areas, lambda item: CLASS_RGB[item.shape])
        case View.PIXELATED:
            tile = size // MOSAIC
            means = draw(scene, size).reshape(MOSAIC, tile, MOSAIC, tile, 3).mean((1, 3))
            tiles = np.asarray(np.rint(means), np.uint8)
            return tiles.repeat(tile, 0).repeat(tile, 1)
        case View.LEFT_HALF:
            half = draw(scene, size)
            half[:, size // 2 :] = PAPER_RGB
            return half
        case View.SEPIA:
            return _toned(draw(scene, size), _SEPIA_TINT)
        case View.MONO:
            return _toned(draw(scene, size), (1.0, 1.0, 1.0))
        case View.DAY:
            a, b, c, d = (draw(replace(scene, lighting=x), size // 2) for x in DAY_LIGHTS)
            return np.vstack([np.hstack([a, b]), np.hstack([c, d])])


def _sheet(rgb: RGB, size: int) -> NDArray[np.float32]:
    return np.broadcast_to(np.array(rgb, np.float32), (size, size, 3)).copy()


def _toned(pixels: Pixels, tint: tuple[float, float, float]) -> Pixels:
    grey = pixels.astype(np.float32) @ np.array(_LUMA, np.float32)
    toned = grey[..., None] * np.array(tint, np.float32)
    return np.asarray(np.rint(toned).clip(0, 255), np.uint8)
