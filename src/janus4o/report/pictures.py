"""Pictures small enough to be carried inside the page."""

from __future__ import annotations

import base64
from io import BytesIO

from PIL import Image

from janus4o.errors import ImageError
from janus4o.images import open_image

SIDE = 96
"""Longest side of a picture in the page, in pixels."""
MAX_PNG = 6_000
"""Bytes above which a picture is a photograph and goes in as JPEG."""


def embed(data: bytes | None, side: int = SIDE) -> str | None:
    """A data URI of the picture, at most `side` pixels wide and high.

    Returns:
        None where there is no picture or it is damaged; the page then says so.
    """
    if data is None:
        return None
    try:
        image = open_image(data)
    except ImageError:
        return None
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    encoded, media_type = _encode(image, "PNG"), "image/png"
    if len(encoded) > MAX_PNG:
        encoded, media_type = _encode(image, "JPEG"), "image/jpeg"
    return f"data:{media_type};base64,{base64.b64encode(encoded).decode()}"


def _encode(image: Image.Image, kind: str) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, optimize=True, quality=82)
    return buffer.getvalue()
