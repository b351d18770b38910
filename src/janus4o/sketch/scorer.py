"""Scores pictures from 1 to 5 as a vision model would, but exactly: by the scene found in the pixels.

It speaks `exchange.Writer` and answers the requests that a judge behind an API gets: they end with a prompt or an
instruction, the result is the last picture, its sources come before it. What is told apart:

    following     what was asked for is there: objects, or the changes an instruction asks for
    preservation  what an instruction leaves alone is as it was
    realism       the picture looks like one of this world, tile by tile
    technique     it is clean, pixel by pixel: neither noisy nor blurred
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from janus4o.errors import ImageError, PromptError
from janus4o.exchange import Declined, Refusal, WriteReply, WriteRequest, refusal_of
from janus4o.sketch import detect, judge
from janus4o.sketch.answers import worth_saying
from janus4o.sketch.captions import captions, parse_shown
from janus4o.sketch.document import draw_document
from janus4o.sketch.edit import Operation, apply
from janus4o.sketch.edit_finding import operation_between
from janus4o.sketch.instructions import instructions, parse_instruction
from janus4o.sketch.propositions import propositions
from janus4o.sketch.render import Pixels
from janus4o.sketch.scene import Scene
from janus4o.sketch.teacher import wanted_document
from janus4o.sketch.view import COLOURLESS, View, show
from janus4o.sketch.wanted import Wanted, unmet

PROMPT_MARK, INSTRUCTION_MARK = "\nPrompt:", "\nInstruction:"
"""What comes before the text that the picture was made for."""
OLD_MARK = "\nOld "
"""What comes before it where another text is wanted that the picture does fulfil."""
SIDE = 128
"""Pixels each way at which a picture is compared with what it should look like."""
TILES = 16
FEWEST, MOST = 1, 5
FAILED = 3
"""The best score of a picture that misses anything."""
TILE_STEPS = (0.05, 0.1, 0.16, 0.24)
"""Worst error of a tile's mean colour (0–1) up to which realism is 5, 4, 3, 2."""
PIXEL_STEPS = (0.02, 0.03, 0.04, 0.1)
"""Root mean square error of the pixels (0–1) up to which technique is 5, 4, 3, 2."""
SHARP, BLURRED = 0.15, 2
"""What neighbouring pixels of a picture of many colours differ by somewhere (0–1) if it is not blurred, and
technique of one that is; where there is nothing to compare it with."""
SOFT = 0.5
"""Share of an ideal's sharpest edge that a picture which is not blurred has at least."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was made of a picture.

    Attributes:
        preservation: None where nothing was to be preserved.
        ideal: what the picture wants to be, without a fault; None where it cannot be told.
        why: what is wrong with what it shows; empty where nothing is.
    """

    following: int
    preservation: int | None
    ideal: Pixels | None
    why: str = ""


class SketchScorer:
    """The offline world's vision judge: free and exact. Speaks `exchange.Writer`."""

    name = "sketch-1"

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        """Scores as JSON, or the text that a picture does fulfil; a refusal where prompt or pictures
        are not of the sketch world.
        """
        try:
            if OLD_MARK in request.prompt:
                return WriteReply(json.dumps({"text": _rewrite(request)}), self.name)
            return WriteReply(self._score(request), self.name)
        except (Declined, PromptError, ImageError) as error:
            return refusal_of(error, self.name)

    def _score(self, request: WriteRequest) -> str:
        pictures = [judge.pixels_of(picture) for picture in request.pictures]
        mark = PROMPT_MARK if len(pictures) == 1 else INSTRUCTION_MARK
        _, found, asked = request.prompt.partition(mark)
        if not found or len(pictures) not in (1, 2):
            raise Declined("unreadable_prompt", "neither a prompt and a picture nor an edit")
        if len(pictures) == 1:
            read = _read_picture(asked.strip(), pictures[0])
        else:
            read = _read_edit(pictures[0], asked.strip(), pictures[1])
        realism, technique = _look(pictures[-1], read.ideal)
        scores = {"following": read.following, "realism": realism, "technique": technique}
        if read.preservation is not None:
            scores["preservation"] = read.preservation
        why = read.why
        if not why and min(scores.values()) < MOST:
            worst = min(scores, key=lambda name: scores[name])
            why = f"{worst}: the pixels are not those of such a scene"
        return json.dumps({**scores, "why": why})


def _rewrite(request: WriteRequest) -> str:
    *sources, last = [detect.scene(judge.pixels_of(one)).scene for one in request.pictures]
    if last is None or None in sources or len(sources) > 1:
        raise Declined("not_a_sketch", "the picture shows no scene that words could name")
    if not sources or sources[0] is None:
        return captions(worth_saying(last))[0]
    operation = operation_between(sources[0], last)
    if operation is None:
        raise Declined("unsupported_task", "no one instruction makes this of its source")
    return instructions(operation)[0]


def _read_picture(prompt: str, pixels: Pixels) -> Reading:
    document = wanted_document(prompt)
    if document is not None:
        page = draw_document(document, (pixels.shape[1], pixels.shape[0]))
        return _read_by_pixels(np.asarray(page, np.uint8), pixels)
    wanted, view = parse_shown(prompt)
    found = detect.scene(pixels, view)
    if found.scene is None:
        return Reading(FEWEST, None, None, found.reason)
    if view in COLOURLESS:
        wanted = Wanted(tuple(replace(group, colour=None) for group in wanted.groups))
    why = unmet(wanted, found.scene)
    holds = [one.holds(found.scene) for one in propositions(wanted)]
    following = _of_five(sum(holds), len(holds), not why)
    return Reading(following, None, show(found.scene, view, SIDE), why)


def _read_edit(source: Pixels, instruction: str, pixels: Pixels) -> Reading:
    operation = parse_instruction(instruction)
    before = detect.scene(source, operation.source_view).scene
    if before is None:
        raise Declined("unreadable_source", "the source shows no scene")
    target = apply(operation, before)
    if operation.target_view not in judge.DETECTABLE:
        read = _read_by_pixels(show(target, operation.target_view, SIDE), pixels)
        return replace(read, preservation=read.following)
    found = detect.scene(pixels, operation.target_view)
    if found.scene is None:
        return Reading(FEWEST, FEWEST, None, found.reason)
    following, preservation = _compare(operation, before, target, found.scene)
    if operation.source_view is View.PIXELATED and detect.is_pixelated(pixels):
        following = FEWEST
    why = judge.check_edit(before, operation, pixels).reason
    return Reading(following, preservation, show(found.scene, operation.target_view, SIDE), why)


def _compare(operation: Operation, before: Scene, target: Scene, after: Scene) -> tuple[int, int]:
    """Following and preservation: of what was to change, and of what was not, how much did as it should."""
    old, new, got = _facts(before), _facts(target), _facts(after)
    if operation.source_view is not View.PLAIN:
        old = frozenset()  # of a drawing nothing but what it shows can be preserved
    asked, left = new - old, new & old
    done = len(asked & got) + sum(fact not in got for fact in old - new)
    wanted = len(asked) + len(old - new)
    following = _of_five(done, wanted, done == wanted)
    foreign = got - new - old
    # What came in its place is the change's own failure, what came besides is not.
    besides = max(0, len(foreign) - len(asked - got))
    kept = len(left & got)
    return following, _of_five(kept, len(left) + besides, kept == len(left) and not besides)


def _facts(scene: Scene) -> frozenset[object]:
    """What can be told of a scene; without an object there is neither style nor shot to see."""
    whole = [scene.background, scene.lighting]
    if scene.items:
        whole += [scene.style, scene.shot]
    return frozenset((*scene.items, *whole))


def _of_five(done: int, of: int, all_right: bool) -> int:
    if all_right:
        return MOST
    return FEWEST + round((FAILED - FEWEST) * done / of) if of else FAILED


def _read_by_pixels(expected: Pixels, pixels: Pixels) -> Reading:
    """For what no scene can be found in: a page, or four panels."""
    off = np.abs(_tiles(_floats(expected)) - _tiles(_floats(pixels))).max(-1)
    alike = int((off <= TILE_STEPS[1]).sum())
    right = alike == off.size
    why = "" if right else "it does not look as it should"
    return Reading(_of_five(alike, off.size, right), None, expected if right else None, why)


def _look(pixels: Pixels, ideal: Pixels | None) -> tuple[int, int]:
    """Realism and technique; without an ideal, of the first nothing can be said but the worst."""
    image = _floats(pixels)
    if ideal is None:
        clean = _step(_noise(image), PIXEL_STEPS)
        blurred = float(np.ptp(image, axis=(0, 1)).max()) > 2 * SHARP > 2 * _sharpest(image)
        return FEWEST, min(clean, BLURRED) if blurred else clean
    wanted = _floats(ideal)
    off = image - wanted
    worst = float(np.abs(_tiles(off)).max())
    clean = _step(float(np.sqrt((off**2).mean())), PIXEL_STEPS)
    sharp = _sharpest(wanted)
    blurred = sharp >= SHARP and _sharpest(image) < SOFT * sharp
    return _step(worst, TILE_STEPS), min(clean, BLURRED) if blurred else clean


def _step(error: float, steps: Sequence[float]) -> int:
    return MOST - sum(error > step for step in steps)


def _noise(image: Floats) -> float:
    """Standard deviation of noise, from second differences: drawn areas have none, edges are few."""
    second = image[1:-1, 1:-1] * 4 - (
        image[:-2, 1:-1] + image[2:, 1:-1] + image[1:-1, :-2] + image[1:-1, 2:]
    )
    return float(np.median(np.abs(second)) / 0.6745 / 20**0.5)


def _sharpest(image: Floats) -> float:
    """Largest difference of neighbours."""
    return max(float(np.abs(np.diff(image, axis=axis)).max()) for axis in (0, 1))


def _floats(pixels: Pixels) -> Floats:
    """float32 [SIDE, SIDE, 3], 0–1."""
    image = Image.fromarray(pixels)
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image, np.float32) / np.float32(255)


def _tiles(image: Floats) -> Floats:
    """Mean colour of each tile: [TILES, TILES, 3]."""
    side = SIDE // TILES
    means: Floats = image.reshape(TILES, side, TILES, side, 3).mean((1, 3))
    return means
