"""Pictures of every kind on their way in: each becomes what a person would see, or is refused by name."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus4o.errors import ImageError
from janus4o.generate.api import Janus
from janus4o.images import open_image, to_rgb
from janus4o.model.loading import TinyConfig, new_model
from janus4o.model.preprocess import fit_image
from janus4o.rows import open_rows
from janus4o.synth.importer import import_dataset
from janus4o.train.encode import encode_rows

TINY = TinyConfig(
    image_size=32, patch_size=8, hidden=32, layers=1, heads=2, mlp=48,
    vision_hidden=32, vision_layers=1, vision_heads=2, vq_codes=64,
    vq_multipliers=(1, 1, 1, 1), embedding_std=1.0, std=0.2,
)  # fmt: skip
RED, WHITE = (250, 20, 20), (255, 255, 255)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(size: tuple[int, int] = (64, 48), colour: tuple[int, ...] = RED) -> Image.Image:
    return Image.new("RGB", size, colour)


def photograph(size: tuple[int, int] = (61, 47)) -> Image.Image:
    """Smooth light, texture and noise: what encoders make of a camera's picture."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: size[1], : size[0]]
    light = 120 + 80 * np.sin(x / 17) * np.cos(y / 11)
    pixels = light[..., None] + rng.normal(0, 12, (size[1], size[0], 3)) + [10, 0, -10]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def turned(orientation: int) -> bytes:
    """A photograph stored so that a reader who obeys `orientation` sees it upright."""
    undo = {
        1: (), 2: (Image.Transpose.FLIP_LEFT_RIGHT,), 3: (Image.Transpose.ROTATE_180,),
        4: (Image.Transpose.FLIP_TOP_BOTTOM,), 5: (Image.Transpose.TRANSPOSE,),
        6: (Image.Transpose.ROTATE_90,), 7: (Image.Transpose.TRANSVERSE,),
        8: (Image.Transpose.ROTATE_270,),
    }  # fmt: skip
    image = photograph()
    for step in undo[orientation]:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, "PNG", exif=exif)


def palette(clear: bool) -> bytes:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, *RED])
    return saved(image, transparency=1) if clear else saved(image)


def grey16(clear: int | None = None) -> bytes:
    levels = np.full((16, 16), 0x4000, np.uint16)
    levels[8:] = 0xC000
    data = saved(Image.fromarray(levels))
    if clear is None:
        return data
    chunk = b"tRNS" + clear.to_bytes(2)
    whole = (2).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    place = data.index(b"IDAT") - 4
    return data[:place] + whole + data[place:]


def animated(kind: str) -> bytes:
    frames = [plain((16, 16)), plain((16, 16), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def bomb(side: int) -> bytes:
    ihdr = b"IHDR" + side.to_bytes(4) + side.to_bytes(4) + bytes([1, 0, 0, 0, 0])
    data = b"\x89PNG\r\n\x1a\n"
    for chunk in (ihdr, b"IDAT" + zlib.compress(b"\0" * 100), b"IEND"):
        data += (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    return data


SOUND: dict[str, tuple[bytes, tuple[int, int], tuple[int, int, int]]] = {
    # name → bytes, size and what its top left pixel shows
    "cmyk.jpg": (saved(plain().convert("CMYK"), "JPEG", quality=95), (64, 48), RED),
    "grey.jpg": (saved(plain().convert("L"), "JPEG"), (64, 48), (89, 89, 89)),
    "grey16.png": (grey16(), (16, 16), (64, 64, 64)),
    "grey16-clear.png": (grey16(0x4000), (16, 16), WHITE),
    "one-bit.png": (saved(Image.new("1", (9, 9), 1)), (9, 9), WHITE),
    "grey-alpha.png": (saved(Image.new("LA", (9, 9), (0, 0))), (9, 9), WHITE),
    "rgba.png": (saved(Image.new("RGBA", (9, 9), (255, 0, 0, 0))), (9, 9), WHITE),
    "palette.png": (palette(False), (16, 16), RED),
    "palette-clear.png": (palette(True), (16, 16), WHITE),
    "animated.webp": (animated("WEBP"), (16, 16), RED),
    "animated.png": (animated("PNG"), (16, 16), RED),
    "1x1.png": (saved(plain((1, 1))), (1, 1), RED),
    "1x10000.png": (saved(plain((1, 10_000))), (1, 10_000), RED),
    "10000x1.png": (saved(plain((10_000, 1))), (10_000, 1), RED),
    "jpeg-called.png": (saved(plain(), "JPEG", quality=95), (64, 48), RED),
    "png-called.webp": (saved(plain()), (64, 48), RED),
    **{
        f"exif{n}.png": (turned(n), (61, 47), photograph().getpixel((0, 0)))  # type: ignore[misc]
        for n in range(1, 9)
    },
}

REFUSED: dict[str, tuple[bytes, str]] = {
    "empty.png": (b"", "0 bytes"),
    "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "is HEIC, not a PNG"),
    "photo.png": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(64), "is HEIC, not a PNG"),
    "photo.avif": (b"\0\0\0\x1cftypavif\0\0\0\0" + bytes(64), "is AVIF, not a PNG"),
    "drawing.svg": (b'<?xml version="1.0"?>\n<svg onload="alert(1)"/>', "is SVG, not a PNG"),
    "drawing.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is EPS, not a PNG"),
    "page.pdf": (b"%PDF-1.7\n", "is PDF, not a PNG"),
    "old.gif": (saved(plain(), "GIF"), "is GIF, not a PNG"),
    "scan.tiff": (saved(plain(), "TIFF"), "is TIFF, not a PNG"),
    "screen.bmp": (saved(plain(), "BMP"), "is BMP, not a PNG"),
    "sky.fits": (b"SIMPLE  =                    T" + bytes(64), "is FITS, not a PNG"),
    "gif-called.png": (saved(plain(), "GIF"), "is GIF, not a PNG"),
    "bomb.png": (bomb(20_000), "pixels"),
    "small-bomb.png": (bomb(9_000), "9000×9000 pixels"),
    "half.jpg": (saved(photograph((200, 150)), "JPEG")[:2500], "damaged"),
    "half.webp": (saved(photograph(), "WEBP")[:300], "damaged|not a PNG"),
    "words.png": (b"hello", "not a PNG"),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_picture_shows_what_a_person_sees(name: str) -> None:
    data, size, colour = SOUND[name]
    image = open_image(data)
    assert (image.mode, image.size, image.info) == ("RGB", size, {})
    shown = image.getpixel((0, 0))
    assert np.abs(np.subtract(shown, colour)).max() <= 6, shown


@pytest.mark.parametrize("name", REFUSED)
def test_another_file_is_refused_by_what_it_is(name: str, tmp_path: Path) -> None:
    data, says = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError, match=says) as refused:
        open_image(tmp_path / name)
    assert name in refused.value.message
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("offsets", [40, pytest.param(1000, marks=pytest.mark.stress)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_cut_anywhere_is_refused(kind: str, offsets: int) -> None:
    data = saved(photograph((320, 240)), kind)
    for length in np.linspace(0, len(data) - 24, offsets).astype(int):
        with pytest.raises(ImageError):
            open_image(data[:length])


def test_pictures_of_every_kind_go_through_import_and_encode(tmp_path: Path) -> None:
    """Beside drawn scenes; the unusable ones cost their own rows only, and are named."""
    folder = tmp_path / "set"
    folder.mkdir()
    for name, (data, *_) in {**SOUND, **REFUSED}.items():
        (folder / name).write_bytes(data)
    names = [*SOUND, *REFUSED]
    t2i = [row(f"picture {name}", name) for name in names]
    edits = [
        {
            **row(f"change {name}", "palette.png"),
            "input_image": [name],
            "input_image_resolution": [8, 8],
        }
        for name in names
    ]
    (folder / "text_to_image.json").write_text(json.dumps(t2i))
    (folder / "text_and_image_to_image.json").write_text(json.dumps(edits))
    found = import_dataset(folder, tmp_path / "run", decode=True)
    assert found.rows == {"text_to_image": len(names), "text_and_image_to_image": len(names)}
    told = "\n".join(found.problems)
    assert len(found.problems) == len(REFUSED)
    assert all(f"'{name}'" in told for name in REFUSED)
    model = new_model(("a",), TINY)
    codes = encode_rows(open_rows(tmp_path / "run"), model, tmp_path / "run" / "codes")
    assert (codes.unreadable, codes.skipped) == (len(REFUSED), 2 * len(REFUSED))
    assert len(codes.rows) == 2 * len(SOUND)
    for coded in codes.rows[len(SOUND) :]:
        name = coded.prompt.removeprefix("change ")
        wanted = fit_image(open_image(folder / name), model.geometry, model.fit)
        assert np.array_equal(codes.picture(coded.sources[0]), wanted)


def row(text: str, name: str) -> dict[str, object]:
    return {"input_prompt": text, "output_image": name, "output_image_resolution": [8, 8]}


def test_every_sound_picture_can_be_edited_and_the_others_are_refused(tmp_path: Path) -> None:
    janus = Janus(new_model(("make", "it", "blue"), TINY))
    sources = [data for data, *_ in SOUND.values()]
    (made,) = janus.edit(sources[:1], "make it blue", guidance=1.0)
    assert made.image.size == (32, 32)
    assert janus.encode(sources).shape == (len(sources), janus.geometry.tokens)
    for data, _ in REFUSED.values():
        with pytest.raises(ImageError):
            janus.edit([data], "make it blue", guidance=1.0)


@pytest.mark.parametrize(
    "give", [lambda data: data, lambda data: Image.open(io.BytesIO(data))], ids=["bytes", "PIL"]
)
@pytest.mark.parametrize("name", ["grey16.png", "rgba.png", "exif6.png", "cmyk.jpg"])
def test_the_model_sees_the_same_however_a_picture_is_given(
    name: str, give: Callable[[bytes], bytes | Image.Image]
) -> None:
    data = SOUND[name][0]
    janus = Janus(new_model(("a",), TINY))
    assert janus.encode([give(data)]).equal(janus.encode([open_image(data)]))


def test_an_image_that_is_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageError, match="9000×9000"):
        to_rgb(Image.open(io.BytesIO(bomb(9_000))))


@pytest.mark.parametrize("size", [(1, 1_000_000), (1_000_000, 1)])
def test_a_strip_is_cropped_without_taking_all_memory(size: tuple[int, int]) -> None:
    """Scaled whole to 384 pixels across it would be 150 gigapixels."""
    geometry = new_model(("a",), TINY).geometry
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    along = pixels.swapaxes(0, 1) if size[0] > 1 else pixels
    along[500_000 - 50 : 500_000 + 50] = 200
    fitted = fit_image(Image.fromarray(pixels), geometry, "crop")
    assert fitted.shape == (32, 32, 3)
    assert (fitted == 200).all()
