"""Inspects pictures of the sketch world exactly: by detecting what they show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from janus4o.errors import PromptError
from janus4o.sketch import detect, exam, grammar, judge
from janus4o.sketch.captions import parse_shown
from janus4o.sketch.document import draw_document
from janus4o.sketch.edit import apply
from janus4o.sketch.scene import Colour, Scene, Shape
from janus4o.sketch.teacher import wanted_document
from janus4o.sketch.view import COLOURLESS
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
            document = wanted_document(caption)
            if document is not None:
                size = (pixels.shape[1], pixels.shape[0])
                if not np.array_equal(np.asarray(draw_document(document, size)), pixels):
                    raise Rejected("shows_prompt: the page is not the one asked for")
                return
            wanted, view = parse_shown(caption)
        except PromptError as error:
            raise Rejected(f"shows_prompt: {error.message}") from None
        found = detect.scene(pixels, view)
        if found.scene is None:
            raise Rejected(f"shows_prompt: {found.reason}")
        if view in COLOURLESS:
            wanted = Wanted(tuple(replace(group, colour=None) for group in wanted.groups))
        if reason := unmet(wanted, found.scene):
            raise Rejected(f"shows_prompt: {reason}")
        self._keep_out(wanted if view in COLOURLESS else found.scene)

    def check_edit(self, source: Pixels, instruction: str, pixels: Pixels) -> None:
        try:
            operation = grammar.parse_instruction(instruction)
            found = detect.scene(source, operation.source_view)
            if found.scene is None:
                raise Rejected(f"does_edit: the source: {found.reason}")
            target = apply(operation, found.scene)
        except PromptError as error:
            raise Rejected(f"does_edit: {error.message}") from None
        self._keep_out(target)  # first, because it is much cheaper than looking at the result
        verdict = judge.check_edit(found.scene, operation, pixels)
        if not verdict.passed:
            raise Rejected(f"does_edit: {verdict.reason}")

    def _keep_out(self, what: Scene | Wanted) -> None:
        if self._hold_out and exam.held_out(what):
            raise Rejected("held_out: the exam asks for this combination")
