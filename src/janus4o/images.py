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
    return to_rgb(_open(data, label), label)


def to_rgb(image: Image.Image, label: str = "the picture") -> Image.Image:
    """A picture of any mode upright, opaque on white, 8-bit RGB, with no metadata.

    Raises:
        ImageError: it is too large, or its file is damaged.
    """
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{label} is {image.width}×{image.height} pixels", _too_large())
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        rgb = _flatten(upright)
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


def kind_of(data: bytes) -> Kind:
    """The encoding, told from the first bytes; raises ImageError for any but the three."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise ImageError(f"the bytes are {_other_kind(data)}not a PNG, JPEG or WebP picture", _REMEDY)


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
        other = _other_kind(data)
        raise ImageError(f"{label} is {other}not a PNG, JPEG or WebP picture", _REMEDY) from error
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{label} is {image.width}×{image.height} pixels", _too_large())
    return image


_MARKS = (
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "PSD"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
)
"""Where, and by which bytes, pictures are told that people have and we do not take."""


def _other_kind(data: bytes) -> str:
    """ "HEIC, " for a picture of a kind we know the name of; else empty."""
    for place, mark, name in _MARKS:
        if data.startswith(mark, place):
            return f"{name}, "
    return "SVG, " if b"<svg" in data[:4096].lower() else ""


def _too_large() -> str:
    return f"at most {MAX_PIXELS // 1_000_000} million pixels are accepted"


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        clear = image.info.get("transparency")  # of 16-bit grey: the one level that is clear
        levels = np.asarray(image, np.float64)
        if isinstance(clear, int):
            levels = np.where(levels == clear, 65535, levels)
        image = Image.fromarray(np.rint(levels.clip(0, 65535) / 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image
