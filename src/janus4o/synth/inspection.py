"""Inspects pictures of the sketch world exactly: by detecting what they show."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from janus4o.errors import PromptError
from janus4o.sketch import detect, exam, grammar, judge
from janus4o.sketch.edit import apply
from janus4o.sketch.scene import Colour, Scene, Shape
from janus4o.sketch.wanted import Group, Wanted, unmet
from janus4o.synth.attributes import Attributes
from janus4o.synth.checks import Pixels
from janus4o.synth.sample import Rejected


class SketchInspector:
    """Accepts pictures that show exactly what was asked.

    Args:
        hold_out: also reject what the exam asks for, in prompts, sources and targets.
    """

    exact = True

    def __init__(self, hold_out: bool) -> None:
        self._hold_out = hold_out

    def allow(self, attributes: Attributes) -> None:
        if self._hold_out:
            self._keep_out(
                Wanted(
                    tuple(
                        Group(
                            Shape(thing.category),
                            Colour(thing.colour) if thing.colour else None,
                            thing.count,
                        )
                        for thing in attributes.objects
                    )
                )
            )

    def check_caption(self, caption: str, pixels: Pixels) -> None:
        try:
            wanted = grammar.parse_caption(caption)
        except PromptError as error:
            raise Rejected(f"shows_prompt: {error.message}") from None
        scene = _seen(pixels)
        if scene is None:
            raise Rejected("shows_prompt: the picture is not a sketch scene")
        if reason := unmet(wanted, scene):
            raise Rejected(f"shows_prompt: {reason}")
        self._keep_out(scene)

    def check_edit(self, source: Pixels, instruction: str, pixels: Pixels) -> None:
        scene = _seen(source)
        if scene is None:
            raise Rejected("does_edit: the source is not a sketch scene")
        try:
            operation = grammar.parse_instruction(instruction)
            target = apply(operation, scene)
        except PromptError as error:
            raise Rejected(f"does_edit: {error.message}") from None
        verdict = judge.check_edit(scene, operation, pixels)
        if not verdict.passed:
            raise Rejected(f"does_edit: {verdict.reason}")
        self._keep_out(target)

    def _keep_out(self, what: Scene | Wanted) -> None:
        if self._hold_out and exam.held_out(what):
            raise Rejected("held_out: the exam asks for this combination")


def _seen(pixels: Pixels) -> Scene | None:
    """What a picture shows. Sources of edits are looked at twice, so the last few are kept."""
    return _seen_bytes(pixels.tobytes(), pixels.shape)


@lru_cache(maxsize=256)
def _seen_bytes(data: bytes, shape: tuple[int, ...]) -> Scene | None:
    return detect.scene(np.frombuffer(data, np.uint8).reshape(shape)).scene
