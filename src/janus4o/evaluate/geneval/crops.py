"""What the colour classifier sees of an object: its pixels on a plain ground, cut to its box."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageColor, ImageOps

from janus4o.errors import DataError, ImageError
from janus4o.evaluate.evidence import Problem, read_lines, write_lines, write_new
from janus4o.images import FORMATS, MAX_PIXELS, save_png

BACKGROUND = "#999"
KEEP_BACKGROUND = "original"

_REMEDY = "a line is {id, image, mask or null, box: [x1, y1, x2, y2], options?}"


def open_picture(path: Path) -> Image.Image:
    """A picture as the official evaluator sees it: upright, RGB, transparency thrown away.

    Raises:
        ImageError: missing, damaged, of another format or too large.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"picture {str(path)!r} is too large", "give a smaller one")
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise ImageError(f"picture {str(path)!r} does not exist", "check the path") from None
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever a broken file makes them trip over
        raise ImageError(f"picture {str(path)!r} is damaged: {error}", "make it again") from error


def crop(
    image: Image.Image,
    box: Sequence[float],
    mask: Image.Image | None = None,
    background: str = BACKGROUND,
    cut: bool = True,
) -> Image.Image:
    """Cuts one object out; coordinates round half to even, outside of the picture is black.

    Args:
        image: any mode.
        box: x1, y1, x2, y2 in pixels; what follows is ignored.
        mask: mode "1" at full size, set where the object is; None keeps the ground.
        background: colour of the ground, or "original".
        cut: without it the whole picture stays.

    Raises:
        DataError: the mask has another size, or the box holds no pixel.
    """
    rgb = image.convert("RGB")
    if mask is not None:
        if mask.size != rgb.size:
            raise DataError(f"a mask of {mask.size} for a picture of {rgb.size} pixels", "")
        if background == KEEP_BACKGROUND:
            ground = rgb.copy()
        else:
            ground = Image.new("RGB", rgb.size, background)
        rgb = Image.composite(rgb, ground, mask.convert("1"))
    if not cut:
        return rgb
    left, top, right, bottom = (round(float(value)) for value in box[:4])
    if left >= right or top >= bottom:
        raise DataError(f"the box {list(box[:4])} holds no pixel", "")
    if (right - left) * (bottom - top) > MAX_PIXELS:
        raise DataError(f"the box {list(box[:4])} is too large", "")
    return rgb.crop((left, top, right, bottom))


@dataclass(frozen=True, slots=True)
class Made:
    """One crop that was written."""

    id: str
    image: str
    size: tuple[int, int]
    sha256: str


def write_crops(lines_file: Path, folder: Path) -> tuple[list[Made], list[Problem]]:
    """Writes `<folder>/<id>.png` for every line, and crops.jsonl with sizes and pixel hashes.

    Paths of pictures and masks are relative to the file that names them.
    """
    lines, problems = read_lines(lines_file)
    made: list[Made] = []
    for line in lines:
        try:
            name, image = _cut(line.data, lines_file.parent)
            if any(one.id == name for one in made):
                raise DataError(f"repeats {name!r}", "")
        except (DataError, ImageError) as error:
            problems.append(Problem(line.where, error.message))
            continue
        write_new(folder / f"{name}.png", save_png(image))
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        made.append(Made(name, f"{name}.png", image.size, digest))
    write_lines(
        folder / "crops.jsonl",
        (
            {"id": o.id, "image": o.image, "size": list(o.size), "mode": "RGB", "sha256": o.sha256}
            for o in made
        ),
    )
    return made, problems


def _cut(data: Mapping[str, Any], folder: Path) -> tuple[str, Image.Image]:
    name, box = str(data.get("id", "")), data.get("box")
    if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
        raise DataError(f"id {name!r} cannot name a file", _REMEDY)
    if not isinstance(data.get("image"), str) or not isinstance(data.get("mask"), str | None):
        raise DataError("'image' or 'mask' is not a path", _REMEDY)
    numbers = isinstance(box, list) and len(box) in (4, 5)
    if not numbers or not all(type(v) in (int, float) and abs(v) < 1e6 for v in box or ()):
        raise DataError(f"box {box!r} is not four numbers", _REMEDY)
    options = data.get("options") or {}
    if not isinstance(options, dict) or options.keys() - {"bgcolor", "crop"}:
        raise DataError(f"options {options!r}: known are bgcolor and crop", _REMEDY)
    background = str(options.get("bgcolor", BACKGROUND))
    if background != KEEP_BACKGROUND:
        try:
            ImageColor.getrgb(background)
        except ValueError:
            raise DataError(f"unknown colour {background!r}", "#rgb or #rrggbb") from None
    mask = None if data.get("mask") is None else _open_mask(folder / str(data["mask"]))
    image = open_picture(folder / str(data["image"]))
    assert box is not None
    return name, crop(image, box, mask, background, str(options.get("crop", "1")) == "1")


def _open_mask(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.convert("L").point(lambda level: 255 if level else 0).convert("1")
    except Exception as error:  # as in open_picture
        raise ImageError(f"mask {str(path)!r} cannot be read: {error}", "") from error
