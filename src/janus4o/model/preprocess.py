"""Pictures into the square the model sees, by the official rule (Pillow, sizes truncated)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from janus4o.model.geometry import Geometry

Fit = Literal["letterbox", "crop"]

WIDEST = 8
"""Of a picture longer than this many times its width, a crop takes only the middle to begin with."""

# Levels 0..255 in -1..1, rounded step by step like the official processor, so bit-equal to it.
_LEVELS = (np.arange(256) * 0.00392156862745098).astype(np.float32)
_LEVELS = (_LEVELS - np.float32(0.5)) / np.float32(0.5)


def fit_image(image: Image.Image, geometry: Geometry, fit: Fit) -> NDArray[np.uint8]:
    """The picture as the model sees it, uint8 [S, S, 3].

    Args:
        image: RGB.
        fit: `letterbox` shows all of it on grey, `crop` fills the square and cuts the rest.
    """
    side = geometry.image_size
    image = image if image.mode == "RGB" else image.convert("RGB")
    width, height = image.size
    if fit == "crop":
        if max(width, height) > WIDEST * min(width, height):
            image = _middle(image, WIDEST * min(width, height))
            width, height = image.size
        scale = side / min(width, height)
        size = (max(side, int(width * scale)), max(side, int(height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        square = image.crop((left, top, left + side, top + side))
    else:
        longer, smallest = max(width, height), min(geometry.minimum_side, side)
        size = (
            max(int(width / longer * side), smallest),
            max(int(height / longer * side), smallest),
        )
        square = Image.new("RGB", (side, side), geometry.background)
        image = image.resize(size, Image.Resampling.BICUBIC)
        square.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(square, np.uint8)


def _middle(image: Image.Image, longest: int) -> Image.Image:
    """The middle of a picture, cut to `longest` pixels; it would grow without bound otherwise."""
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def to_pixel_values(pixels_BHWC: NDArray[np.uint8]) -> Tensor:
    """uint8 pictures [B, S, S, 3] → float32 [B, 3, S, S] in -1..1."""
    levels = torch.from_numpy(_LEVELS[pixels_BHWC])
    return levels.permute(0, 3, 1, 2).contiguous()
