"""Pictures from anywhere, made safe: every one decodes fully or is an ImageError.

Pillow alone is not enough: it calls a half JPEG valid until its pixels are asked for, turns 16-bit
grey white, turns transparent red opaque, ignores the camera's orientation, and lets a 10 kB file
ask for 240 MB.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from janus4o.errors import ImageError
from janus4o.files import write_atomic

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 50_000_000
MAX_PIXELS = 32_000_000

Kind = Literal["png", "jpg", "webp"]
MEDIA_TYPES: dict[Kind, str] = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}

_REMEDY = "give a complete PNG, JPEG or WebP picture"


def open_image(source: bytes | str | Path) -> Image.Image:
    """Decodes a picture completely: the first frame, upright, opaque on white, 8-bit RGB.

    Args:
        source: the encoded bytes, or a file.

    Raises:
        ImageError: missing, truncated, of another format, over 32 megapixels or 50 MB.
    """
    data, label = _load(source)
    image = _open(data, label)
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        rgb = _to_rgb(upright)
        if image.info or rgb.info:
            # Colour profiles, positions and comments must not travel into what is saved next.
            rgb = Image.frombytes("RGB", rgb.size, rgb.tobytes())
    except Exception as error:  # decoders raise whatever a broken file makes them trip over
        raise ImageError(f"{label} is damaged: {error}", _REMEDY) from error
    return rgb


def read_size(source: bytes | str | Path) -> tuple[int, int]:
    """(width, height) in pixels as `open_image` would give, from the header alone."""
    data, label = _load(source)
    image = _open(data, label)
    try:
        turned = image.getexif().get(0x0112, 1) >= 5
    except Exception as error:  # as above
        raise ImageError(f"{label} is damaged: {error}", _REMEDY) from error
    return (image.height, image.width) if turned else image.size


def check_size(image: Image.Image) -> Image.Image:
    """A decoded picture given by a caller; raises ImageError over 32 megapixels."""
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"the picture is {image.width}×{image.height} pixels", _too_large())
    return image


def kind_of(data: bytes) -> Kind:
    """The encoding, told from the first bytes; raises ImageError for any but the three."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise ImageError("the bytes are not a PNG, JPEG or WebP picture", _REMEDY)


def save_png(
    image: Image.Image, path: str | Path | None = None, metadata: dict[str, str] | None = None
) -> bytes:
    """Encodes a picture as PNG; the same pixels and metadata always give the same bytes.

    Args:
        path: also written there, atomically.
        metadata: text chunks; read back by `read_metadata`.
    """
    info = PngInfo()
    for key, value in (metadata or {}).items():
        if value.isascii():
            info.add_text(key, value)
        else:
            info.add_itxt(key, value)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    data = buffer.getvalue()
    if path is not None:
        write_atomic(path, data, durable=False)
    return data


def read_metadata(source: bytes | str | Path) -> dict[str, str]:
    """The text chunks of a PNG; empty for other formats."""
    data, label = _load(source)
    image = _open(data, label)
    try:
        image.load()  # chunks may follow the pixels
    except Exception as error:  # as in open_image
        raise ImageError(f"{label} is damaged: {error}", _REMEDY) from error
    return {str(k): str(v) for k, v in getattr(image, "text", {}).items()}


def _load(source: bytes | str | Path) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        data, label = source, "the picture"
    else:
        label = f"picture {str(source)!r}"
        try:
            with Path(source).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise ImageError(f"{label} does not exist", "check the path") from None
        except OSError as error:
            raise ImageError(
                f"{label} cannot be read: {error.strerror}", "check the path"
            ) from error
    if not data:
        raise ImageError(f"{label} is empty (0 bytes)", _REMEDY)
    if len(data) > MAX_BYTES:
        raise ImageError(
            f"{label} is larger than {MAX_BYTES // 1_000_000} MB", "give a smaller file"
        )
    return data, label


def _open(data: bytes, label: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{label} has too many pixels", _too_large()) from error
    except Exception as error:  # as in open_image
        raise ImageError(f"{label} is not a PNG, JPEG or WebP picture", _REMEDY) from error
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{label} is {image.width}×{image.height} pixels", _too_large())
    return image


def _too_large() -> str:
    return f"at most {MAX_PIXELS // 1_000_000} million pixels are accepted"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image, np.float64)
        image = Image.fromarray(np.rint(levels.clip(0, 65535) / 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image
