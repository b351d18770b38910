"""What can be told of one row by itself: its pictures decoded, measured and hashed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from janus4o.errors import DataError, ImageError
from janus4o.images import open_image
from janus4o.records import Row
from janus4o.rows import pictures_of
from janus4o.synth.checking.seeing import Eyes
from janus4o.synth.checks import Inspector
from janus4o.synth.sample import Rejected

GRID = 16
"""Pieces each way in which an edit is looked for: noise averages out within one, an edit does not."""
STEP = 4
"""Difference of neighbours (of 255) from which on it counts for a hash: less is noise."""
HASH_WORDS = 6
BLIND = Eyes()


class Readable(Protocol):
    """Where pictures come from; `rows.Rows` is one."""

    def read(self, name: str) -> bytes:
        """The encoded bytes of one picture; raises DataError where there is none."""


@dataclass(frozen=True, slots=True)
class Measures:
    """Figures of one row.

    Attributes:
        figures: check → figure; those that need other rows are not among them.
        why: check → what is wrong, where words help.
        hash: of the output and, for edits, of the first source: hexadecimal, 384 bits each and the
            mean colour; empty where they do not decode.
    """

    figures: Mapping[str, float | None]
    why: Mapping[str, str] = field(default_factory=dict)
    hash: tuple[str, ...] = ()


def measure(rows: Readable, row: Row, inspector: Inspector | None, eyes: Eyes = BLIND) -> Measures:
    """Reads and decodes every picture of a row.

    Args:
        inspector: knows what pictures of its world show; None leaves that open.
        eyes: read text and count objects.
    """
    images: dict[str, Image.Image] = {}
    why: dict[str, str] = {}
    names = dict.fromkeys(pictures_of(row))
    for name in names:
        try:
            images[name] = open_image(rows.read(name))
        except (ImageError, DataError) as error:
            why.setdefault("decodes", error.message)
    figures: dict[str, float | None] = {"decodes": len(names) - len(images)}
    if figures["decodes"]:
        return Measures(figures, why)
    output, sources = images[row.output_image], [images[name] for name in row.input_image]
    said = [(row.output_image_resolution, output.size)]
    if sources and row.input_image_resolution:
        said.append((row.input_image_resolution, sources[0].size))
    wrong = [(want, there) for want, there in said if want != there]
    figures["resolution"] = len(wrong)
    for want, there in wrong[:1]:
        why["resolution"] = f"{there[0]}×{there[1]} instead of {want[0]}×{want[1]}"
    small = _small(output, 64)  # in which noise is averaged out
    figures["not_flat"] = round(float(np.ptp(small, axis=(0, 1)).max()), 3)
    figures["changed"] = round(_change(sources[0], output), 3) if sources else None
    if inspector is not None:
        figures["shows_prompt"], why["shows_prompt"] = _shows(inspector, row, sources, output)
    seen, said_of = eyes.look(row, output)
    figures, why = {**figures, **seen}, {**why, **said_of}
    return Measures(
        figures,
        {check: words for check, words in why.items() if words},
        tuple(hash_of(image) for image in (output, *sources[:1])),
    )


def hash_of(image: Image.Image) -> str:
    """Where colours rise and fall from left to right, 8×8 times three channels, then the mean colour.

    Survives scaling, recompression and a little brightness.
    """
    pixels = np.asarray(image.resize((9, 8), Image.Resampling.BOX), np.int16)
    step = pixels[:, 1:] - pixels[:, :-1]
    bits: bytes = np.packbits(np.stack([step > STEP, step < -STEP])).tobytes()
    mean: bytes = pixels.reshape(-1, 3).mean(0).round().astype(np.uint8).tobytes()
    return (bits + mean).hex()


def _change(source: Image.Image, output: Image.Image) -> float:
    """Largest difference of any piece's mean colour; pictures of two sizes are compared as shapes."""
    differences: NDArray[np.float64] = _small(source, GRID) - _small(output, GRID)
    return float(np.abs(differences).max())


def _small(image: Image.Image, side: int) -> NDArray[np.float64]:
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), np.float64)


def _shows(
    inspector: Inspector, row: Row, sources: list[Image.Image], output: Image.Image
) -> tuple[float, str]:
    pixels = np.asarray(output, np.uint8)
    try:
        if sources:
            inspector.check_edit(np.asarray(sources[0], np.uint8), row.input_prompt, pixels)
        else:
            inspector.check_caption(row.input_prompt, pixels)
    except Rejected as no:
        return 0.0, str(no).partition(": ")[2]
    return 1.0, ""
