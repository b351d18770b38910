"""Every picture decodes fully, upright and opaque, or is an ImageError. Traps of Pillow, one each."""

import io
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus4o import images
from janus4o.errors import ImageError


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 3, y * 4, x + y], -1).astype(np.uint8))


def pixel(data: bytes, x: int = 0, y: int = 0) -> tuple[int, ...]:
    return images.open_image(data).getpixel((x, y))


def test_png_comes_back_exactly() -> None:
    image = gradient()
    opened = images.open_image(encode(image))
    assert opened.mode == "RGB"
    assert np.array_equal(np.asarray(opened), np.asarray(image))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_every_truncation_is_an_error(kind: str) -> None:
    data = encode(gradient(), kind)
    for length in range(0, len(data) - 24, max(1, len(data) // 60)):
        with pytest.raises(ImageError):
            images.open_image(data[:length])


def test_sixteen_bit_grey_keeps_its_levels() -> None:
    levels = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    opened = np.asarray(images.open_image(encode(Image.fromarray(levels))))
    assert np.array_equal(opened[..., 0], np.arange(256, dtype=np.uint8).reshape(16, 16))


def test_transparency_shows_white_whatever_its_form() -> None:
    clear_red = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert pixel(encode(clear_red)) == (255, 255, 255)
    assert pixel(encode(Image.new("LA", (4, 4), (0, 0)))) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    assert pixel(encode(palette, transparency=1)) == (255, 255, 255)
    assert pixel(encode(palette)) == (200, 0, 0)
    assert pixel(encode(Image.new("RGB", (4, 4), (1, 2, 3)), transparency=(1, 2, 3))) == (255,) * 3


def test_orientation_is_applied_and_position_data_dropped() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x8825] = {1: "N"}
    data = encode(gradient(256, 100), "JPEG", exif=exif)
    opened = images.open_image(data)
    assert opened.size == images.read_size(data) == (100, 256)
    assert not opened.info
    assert dict(opened.getexif()) == {}


def test_cmyk_and_one_bit_become_rgb() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red, green, blue = pixel(encode(cmyk, "JPEG"))
    assert red > 200
    assert green < 60
    assert blue < 60
    assert pixel(encode(Image.new("1", (8, 8), 1))) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PDF", "EPS"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(ImageError, match="not a PNG, JPEG or WebP"):
        images.open_image(encode(gradient(), kind))


@pytest.mark.parametrize("data", [b"", b"\0", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBP"])
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        images.open_image(data)


@pytest.mark.parametrize("side", [6000, 9500, 20000])
def test_bombs_are_refused_before_they_are_decoded(side: int) -> None:
    ihdr = b"IHDR" + side.to_bytes(4) + side.to_bytes(4) + bytes([1, 0, 0, 0, 0])
    idat = b"IDAT" + zlib.compress(b"\0" * 100)
    data = b"\x89PNG\r\n\x1a\n"
    for chunk in (ihdr, idat, b"IEND"):
        data += (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(ImageError, match="pixels"):
            images.open_image(data)


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ((255, 0, 0), (0, 255, 0))]
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert pixel(data) == (255, 0, 0)


def test_png_metadata_round_trip_and_determinism(tmp_path: Path) -> None:
    words = {"prompt": "a red café ❤", "seed": "7"}
    data = images.save_png(gradient(), tmp_path / "a.png", words)
    assert images.read_metadata(tmp_path / "a.png") == words
    assert data == images.save_png(images.open_image(data), None, words)
    assert images.kind_of(data) == "png"


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        images.open_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="cannot be read"):
        images.open_image(tmp_path)
