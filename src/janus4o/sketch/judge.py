"""Judges pictures exactly: finds the scene in the pixels and compares it with what was asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from janus4o.errors import ImageError, PromptError
from janus4o.exchange import JudgeReply, JudgeRequest, Picture, Refusal
from janus4o.images import open_image
from janus4o.sketch import detect
from janus4o.sketch.captions import parse_caption
from janus4o.sketch.edit import Operation, apply
from janus4o.sketch.instructions import parse_instruction
from janus4o.sketch.render import Pixels
from janus4o.sketch.scene import Scene
from janus4o.sketch.view import View, show
from janus4o.sketch.wanted import Wanted, unmet

DETECTABLE = frozenset(
    {View.PLAIN, View.LINE_ART, View.MAP, View.PIXELATED, View.LEFT_HALF},
)
"""Views a scene can be found in; results shown otherwise are compared pixel by pixel."""
PIXEL_LIMIT = 0.03
TILE_LIMIT = 0.1
"""Largest error, mean and of a tile of 8 × 8 tiles, colours 0–1, of a result compared by pixels."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a picture shows what was asked; `reason` is empty when nothing is wrong."""

    passed: bool
    reason: str = ""


def check_caption(pixels: Pixels, wanted: Wanted) -> Verdict:
    """Whether a picture (uint8 [H, W, 3]) shows exactly the objects wanted, as wanted."""
    found = detect.scene(pixels)
    if found.scene is None:
        return Verdict(False, found.reason)
    reason = unmet(wanted, found.scene)
    return Verdict(not reason, reason)


def check_edit(source: Scene, operation: Operation, pixels: Pixels) -> Verdict:
    """Whether a picture (uint8 [H, W, 3]) is the source after the operation, and nothing else.

    Raises:
        PromptError: the operation does not fit the source.
    """
    target = apply(operation, source)
    if operation.target_view not in DETECTABLE:
        return _compare(show(target, operation.target_view, 128), pixels)
    found = detect.scene(pixels, operation.target_view)
    if found.scene is None:
        return Verdict(False, found.reason)
    # Tiles are coarse, but fine enough for the scene to be found.
    if operation.source_view is View.PIXELATED and detect.is_pixelated(pixels):
        return Verdict(False, "the result is still pixelated")
    reason = _difference(target, found.scene)
    return Verdict(not reason, reason)


def _difference(target: Scene, found: Scene) -> str:
    for name in ("background", "lighting"):
        wanted, got = getattr(target, name), getattr(found, name)
        if wanted != got:
            return f"{name} is {got.value} instead of {wanted.value}"
    if target.items:  # without an object there is neither style nor shot to see
        for name in ("style", "shot"):
            wanted, got = getattr(target, name), getattr(found, name)
            if wanted != got:
                return f"{name} is {got.value} instead of {wanted.value}"
    for item in target.items:
        if item not in found.items:
            return f"no {item.colour.value} {item.shape.value} at the {item.slot.value}"
    for item in found.items:
        if item not in target.items:
            return f"a {item.colour.value} {item.shape.value} at the {item.slot.value} too many"
    return ""


def _compare(expected: Pixels, pixels: Pixels) -> Verdict:
    if pixels.shape[0] != pixels.shape[1]:
        return Verdict(False, "the result is not square")
    size = expected.shape[0]
    resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    off = (np.asarray(resized, np.float32) - expected.astype(np.float32)) / np.float32(255)
    tiles = off.reshape(8, size // 8, 8, size // 8, 3).mean((1, 3))
    if float(np.abs(off).mean()) > PIXEL_LIMIT or float(np.abs(tiles).max()) > TILE_LIMIT:
        return Verdict(False, "the result does not look as it should")
    return Verdict(True)


def pixels_of(picture: Picture) -> Pixels:
    """Decodes a picture; ImageError if it cannot be."""
    return np.asarray(open_image(picture.data), np.uint8)


class SketchJudge:
    """The offline world's judge: free and exact. Speaks `exchange.Judge`."""

    name = "sketch-1"

    async def judge(self, request: JudgeRequest) -> JudgeReply | Refusal:
        """A verdict; a refusal when the prompt, or an edit's source, is not of the sketch world."""
        try:
            pixels = pixels_of(request.picture)
        except ImageError as error:
            return JudgeReply(False, 0.0, error.message, self.name)
        try:
            verdict = self._verdict(request, pixels)
        except (PromptError, ImageError) as error:
            return Refusal("unreadable_question", error.message, self.name)
        return JudgeReply(verdict.passed, float(verdict.passed), verdict.reason, self.name)

    def _verdict(self, request: JudgeRequest, pixels: Pixels) -> Verdict:
        if not request.sources:
            return check_caption(pixels, parse_caption(request.prompt))
        operation = parse_instruction(request.prompt)
        source = detect.scene(pixels_of(request.sources[0]), operation.source_view)
        if source.scene is None:
            raise PromptError(f"the source shows no scene: {source.reason}")
        return check_edit(source.scene, operation, pixels)
