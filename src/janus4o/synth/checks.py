"""Which pictures are kept. Each check that says no raises Rejected with its name and a reason."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from janus4o.errors import DataError, ImageError
from janus4o.exchange import Picture
from janus4o.images import open_image
from janus4o.synth import pictures
from janus4o.synth.attributes import Attributes
from janus4o.synth.sample import Rejected

Pixels = NDArray[np.uint8]

MIN_CHANGE = 0.25
"""Mean absolute difference (of 255) below which an edit has changed nothing."""
MIN_SIDE = 64
"""Pixels a picture of the open world has at least, each way."""


class Inspector(Protocol):
    """Knows what the pictures of its world show. Every method raises Rejected to say no.

    `exact` says that its verdict needs no help from rules of thumb.
    """

    @property
    def exact(self) -> bool: ...

    def allow(self, attributes: Attributes) -> None:
        """Before anything is asked: may this be in the training data?"""

    def check_caption(self, caption: str, pixels: Pixels) -> None:
        """Does the picture show what the caption says, and may it be in the training data?"""

    def check_edit(self, source: Pixels, instruction: str, pixels: Pixels) -> None:
        """Is the picture the source with the instruction carried out, and may it
        be used?"""


class Anything:
    """An inspector that says no to nothing, for worlds nobody can inspect."""

    exact = False

    def allow(self, attributes: Attributes) -> None:
        pass

    def check_caption(self, caption: str, pixels: Pixels) -> None:
        pass

    def check_edit(self, source: Pixels, instruction: str, pixels: Pixels) -> None:
        pass


def check_original(entry: pictures.Entry) -> tuple[Picture, Pixels]:
    """Reads a picture that was there before, which must be sound and show something.

    Returns:
        As it may travel, and decoded: uint8 RGB [H, W, 3].
    """
    try:
        picture, image = pictures.load(entry.read())
    except (ImageError, DataError) as error:
        raise Rejected(f"original: {entry.name}: {error.message}") from None
    pixels = np.asarray(image, np.uint8)
    check_not_flat(pixels)
    return picture, pixels


def check_picture(data: bytes, size: tuple[int, int] | None) -> Pixels:
    """Decodes a painter's picture, which must be complete and of the size asked for.

    Args:
        size: None accepts any from 64×64 on: image models do not all paint what they are asked for.

    Returns:
        uint8 RGB [H, W, 3].
    """
    try:
        image = open_image(data)
    except ImageError as error:
        raise Rejected(f"decodes: {error.message}") from None
    if size is None and min(image.size) < MIN_SIDE:
        raise Rejected(f"size: {image.width}×{image.height} is too small")
    if size is not None and image.size != size:
        raise Rejected(f"size: {image.width}×{image.height} instead of {size[0]}×{size[1]}")
    return np.asarray(image, np.uint8)


def check_not_flat(pixels: Pixels) -> None:
    """A picture of one colour is a failure of the painter."""
    data = pixels.tobytes()
    if data == pixels[0, 0].tobytes() * (pixels.shape[0] * pixels.shape[1]):
        raise Rejected("not_flat: one colour everywhere")


def check_changed(source: Pixels, pixels: Pixels) -> None:
    """An edit must differ from its source."""
    if source.shape == pixels.shape:
        change = (np.maximum(source, pixels) - np.minimum(source, pixels)).mean()
        if change < MIN_CHANGE:
            raise Rejected(f"changed: differs from the source by {change:.3f} of 255 on average")
