"""Pictures as a browser may have them: decoded here first, never of a kind that could hold a script."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image, ImageDraw, ImageFont

from janus4o.errors import ImageError
from janus4o.images import FORMATS, MEDIA_TYPES, kind_of, open_image, read_size

SIDE = 360
"""Longest side of a small picture, in pixels."""
LONGEST_TEXT = 2_000
"""Characters of one field that are shown."""
SUB_TABLES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
"""Of EXIF: fields that say only where further fields stand."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a picture's file says of itself.

    Attributes:
        words: kind, size and bytes; where it is damaged, why.
        fields: everything written beside the pixels: name → text, as it stands.
    """

    words: str
    sound: bool
    fields: tuple[tuple[str, str], ...]


def small(data: bytes) -> tuple[str, bytes]:
    """(media type, bytes) of a picture scaled down; holds pixels alone. Raises ImageError."""
    image = open_image(data)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    buffer = io.BytesIO()
    # Small drawings stay exact; photographs become a tenth.
    lossless = image.width * image.height <= 128 * 128
    image.save(buffer, "PNG" if lossless else "JPEG", quality=85)
    return ("image/png" if lossless else "image/jpeg"), buffer.getvalue()


def whole(data: bytes) -> tuple[str, bytes]:
    """(media type, the stored bytes) of a picture that decodes; raises ImageError for any other."""
    open_image(data)
    return MEDIA_TYPES[kind_of(data)], data


def placeholder(words: str) -> tuple[str, bytes]:
    """A grey picture that says why there is none: words as pixels, whatever they are."""
    image = Image.new("RGB", (SIDE, SIDE), (128, 128, 132))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(22)
    lines, line = [], ""
    for word in words.encode("ascii", "replace").decode()[:200].split():
        if line and draw.textlength(f"{line} {word}", font) > SIDE - 50:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    text = "\n".join([*lines, line])
    draw.text((SIDE / 2, SIDE / 2), text, (255, 255, 255), font, "mm", 8, "center")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "image/png", buffer.getvalue()


def facts(data: bytes) -> Facts:
    """What a picture's file says of itself; never raises."""
    length = f"{len(data):,} bytes"
    try:
        open_image(data)
        width, height = read_size(data)
        words = f"{kind_of(data).upper()}, {width}×{height}, {length}"
        sound = True
    except ImageError as error:
        words, sound = f"{error.message}; {length}", False
        if not _is_text(data):
            return Facts(words, sound, ())
        return Facts(words, sound, (("begins with", _text(data)),))
    try:
        return Facts(words, sound, tuple(_fields(data)))
    except Exception as error:  # decoders raise whatever a broken table makes them trip over
        return Facts(words, sound, (("metadata", f"cannot be read: {error}"),))


def _fields(data: bytes) -> list[tuple[str, str]]:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.load()  # text may follow the pixels
        found = []
        exif = image.getexif()
        tables: list[tuple[Mapping[int, Any], Mapping[int, str]]] = [
            (exif, ExifTags.TAGS),
            (exif.get_ifd(ExifTags.IFD.Exif), ExifTags.TAGS),
            (exif.get_ifd(ExifTags.IFD.GPSInfo), ExifTags.GPSTAGS),
        ]
        for table, names in tables:
            for tag, value in table.items():
                if tag not in SUB_TABLES:
                    found.append((f"EXIF {names.get(tag, tag)}", _text(value)))
        for name, value in image.info.items():
            if name not in ("exif", "dpi", "jfif", "jfif_version", "jfif_unit", "jfif_density"):
                found.append((str(name), _text(value)))
        return found


def _is_text(data: bytes) -> bool:
    return b"\0" not in data[:4096] and data[:1] in b"<{ \n\r\t\xef"


def _text(value: object) -> str:
    if isinstance(value, bytes):
        head = value[:LONGEST_TEXT]
        if b"\0" in head.removeprefix(b"ASCII\0\0\0").rstrip(b"\0"):
            return f"{len(value):,} bytes"
        value = head.decode("utf-8", "replace")
    return str(value)[:LONGEST_TEXT]
