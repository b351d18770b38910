"""The offline world's networks: its exact detector, and colours read from the pixels.

They stand where Mask2Former and CLIP stand and answer about the sketch world's sixteen shapes, so that
GenEval's own rules can judge its pictures. They are no networks: an object found is certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from janus4o.evaluate.geneval.classes import COLOURS
from janus4o.evaluate.geneval.crops import BACKGROUND
from janus4o.evaluate.geneval.networks import Found
from janus4o.evaluate.geneval.rules import Options
from janus4o.sketch import detect
from janus4o.sketch.render import COLOUR_RGB, RADIUS, SHOT_SCALE, mask
from janus4o.sketch.scene import SLOT_CENTRES, Colour, Item, Scene, Shape
from janus4o.sketch.wanted import Wanted

GROUND = np.array([int(BACKGROUND[1:][i] * 2, 16) for i in range(3)], np.int16)
"""What crops put in the place of all that is not the object."""


class SketchDetector:
    """Speaks `Detector`. Boxes and masks are those of the exact drawing; every score is 1."""

    name = "sketch detector 1"
    options = Options()

    def detect(self, image: Image.Image) -> dict[str, Found]:
        """All shapes, also those that are not there; nothing where the picture shows no scene."""
        scene = detect.scene(np.asarray(image.convert("RGB"), np.uint8)).scene
        items: dict[str, list[Item]] = {shape.value: [] for shape in Shape}
        for item in scene.items if scene is not None else ():
            items[item.shape.value].append(item)
        return {name: _found(some, scene, image.size) for name, some in items.items()}


class SketchColours:
    """Speaks `ColourClassifier`: the colour of the palette that is nearest to the crop's median.

    The palette's cyan is none of GenEval's ten and is never answered.
    """

    name = "sketch colours 1"

    def classify(self, crops: Sequence[Image.Image], class_name: str) -> list[str]:
        return [_nearest(np.asarray(crop.convert("RGB"), np.int16)) for crop in crops]


def metadata_of(wanted: Wanted, tag: str, prompt: str) -> dict[str, Any]:
    """What a caption asks for, in GenEval's words; backgrounds and styles have none there.

    Counting excludes one more of its class, as the official prompts do.
    """
    include: list[dict[str, Any]] = []
    for group in wanted.groups:
        clause: dict[str, Any] = {"class": group.shape.value, "count": group.count}
        if group.colour is not None:
            clause["color"] = group.colour.value
        include.append(clause)
    if wanted.relation is not None:
        # The clause that stands somewhere comes after the one it is seen from.
        include.reverse()
        include[1]["position"] = [wanted.relation.value, 0]
    data: dict[str, Any] = {"tag": tag, "include": include}
    if tag == "counting":
        data["exclude"] = [{**clause, "count": clause["count"] + 1} for clause in include]
    return {**data, "prompt": prompt}


def _found(items: Sequence[Item], scene: Scene | None, size: tuple[int, int]) -> Found:
    if scene is None or not items:
        return Found(np.zeros((0, 5), np.float32))
    side = size[0]
    radius = RADIUS * side * SHOT_SCALE[scene.shot]
    boxes, masks = [], []
    for item in items:
        covered = mask(item.shape, radius, scene.style) >= 0.5
        half = covered.shape[0] // 2
        x, y = (round(c * side) for c in SLOT_CENTRES[item.slot])
        whole = np.zeros((side, side), np.bool_)
        whole[y - half : y + half, x - half : x + half] = covered
        rows, columns = (np.flatnonzero(whole.any(axis)) for axis in (1, 0))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1, 1.0])
        masks.append(whole)
    return Found(np.array(boxes, np.float32), tuple(masks))


def _nearest(pixels: np.ndarray[Any, np.dtype[np.int16]]) -> str:
    own = pixels.reshape(-1, 3)
    own = own[(own != GROUND).any(1)] if (own != GROUND).any() else own
    colour = np.median(own, axis=0)
    return min(_PALETTE, key=lambda name: float(((_PALETTE[name] - colour) ** 2).sum()))


_PALETTE = {
    colour.value: np.array(COLOUR_RGB[colour], np.float64)
    for colour in Colour
    if colour.value in COLOURS
}
