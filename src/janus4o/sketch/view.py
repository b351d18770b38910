"""How a scene is shown: plainly, or as one of the pictures that edits start from or end in."""

from __future__ import annotations

from enum import StrEnum


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
