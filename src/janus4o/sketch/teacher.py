"""The offline teachers: a writer and a painter that do exactly what they are asked, or refuse.

They speak `exchange` only: text and encoded pictures in, text and encoded pictures out, as a paid
API would. The writer reads the two labelled lines of the synthesis templates, and the picture:

    Attributes: {"objects": [{"category": "circle", "count": 2, "colour": null}], "background": ...}
    Task: element_manipulation

and those of documents (`Document:` or `Categories:`, `Font:`, `Theme:`). A request that begins with
"Describe the main content" is answered with a caption of the picture, if it shows a sketch scene.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from janus4o.errors import ImageError, PromptError
from janus4o.exchange import (
    Declined,
    PaintReply,
    PaintRequest,
    Picture,
    Refusal,
    Usage,
    WriteReply,
    WriteRequest,
    refusal_of,
)
from janus4o.images import open_image, save_png
from janus4o.sketch import detect, exam
from janus4o.sketch.answers import worth_saying
from janus4o.sketch.captions import caption, parse_shown
from janus4o.sketch.document import Document, draw_document, is_document, parse_document
from janus4o.sketch.edit import EditTask
from janus4o.sketch.edit_sampling import sample
from janus4o.sketch.instructions import instruction, parse_instruction
from janus4o.sketch.pages import MERGED_MARK, read_merged, write_content, write_template
from janus4o.sketch.phrases import UnknownWord
from janus4o.sketch.render import Pixels
from janus4o.sketch.scene import (
    Background,
    Colour,
    Lighting,
    Scene,
    Shape,
    Shot,
    Slot,
    Style,
)
from janus4o.sketch.view import View, show
from janus4o.sketch.wanted import MAX_OBJECTS, Group, Relation, Wanted, World, imagine

ATTRIBUTES_MARK = "Attributes:"
TASK_MARK = "Task:"
DESCRIBE_MARK = "Describe the main content"
DEFAULT_SIZE = 128
SIDES = range(32, 2049, 32)
"""Sides of a scene in pixels that can be asked for."""


class _Teacher:
    """What writer and painter share.

    Args:
        world: from which values open attributes and edits are drawn.
        hold_out: never make a combination that the exam asks for, unless it is asked for.
    """

    name = "sketch-1"

    def __init__(self, world: World | str = World.LEARNABLE, hold_out: bool = False) -> None:
        self.world = World(world)
        self.avoid: Callable[[Scene], bool] | None = exam.held_out if hold_out else None

    def _refusal(self, error: Declined | PromptError | ImageError) -> Refusal:
        if isinstance(error, UnknownWord):
            return Refusal("unknown_word", error.message, self.name)
        return refusal_of(error, self.name)


class SketchWriter(_Teacher):
    """Writes captions from attributes, and instructions from a task and a picture."""

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        try:
            text = self._write(request)
        except (Declined, PromptError, ImageError) as error:
            return self._refusal(error)
        return WriteReply(text, self.name)

    def _write(self, request: WriteRequest) -> str:
        rng = np.random.default_rng([request.seed, zlib.crc32(request.prompt.encode())])
        attributes = _labelled(request.prompt, ATTRIBUTES_MARK)
        if attributes is not None:
            return caption(read_attributes(attributes), rng)
        task = _labelled(request.prompt, TASK_MARK)
        if task is not None:
            return self._instruction(task, request.pictures, rng)
        if request.prompt.startswith(DESCRIBE_MARK):
            return self._description(request.pictures, rng)
        theme = _labelled(request.prompt, "Theme:")
        if theme is not None:
            return _page(request.prompt, theme, rng)
        raise Declined(
            "unreadable_prompt", f"no line begins with {ATTRIBUTES_MARK!r} or {TASK_MARK!r}"
        )

    def _description(self, pictures: tuple[Picture, ...], rng: np.random.Generator) -> str:
        """A caption of everything a picture shows that is not plain."""
        if len(pictures) != 1:
            raise Declined("unsuitable_source", f"{len(pictures)} pictures instead of one")
        found = detect.scene(_pixels(pictures[0].data))
        if found.scene is None or not found.scene.items:
            raise Declined(
                "not_a_sketch",
                "the offline writer describes sketch scenes, not photographs or other pictures: "
                f"{found.reason or 'the scene is empty'}",
            )
        return caption(worth_saying(found.scene), rng)

    def _instruction(
        self, name: str, pictures: tuple[Picture, ...], rng: np.random.Generator
    ) -> str:
        try:
            task = EditTask(name)
        except ValueError:
            raise Declined("unsupported_task", f"unknown editing task {name!r}") from None
        if task.refused:
            raise Declined("unsupported_task", f"{task.value}: {task.refused}")
        if len(pictures) != 1:
            raise Declined("unsuitable_source", f"{len(pictures)} pictures instead of one")
        source = _seen(_pixels(pictures[0].data), source_view(task))
        operation = sample(task, source, rng, self._world_of(task), self.avoid)
        if operation is None:
            raise Declined("unsuitable_source", f"{task.value} cannot be done to this picture")
        return instruction(operation, source, rng)

    def _world_of(self, task: EditTask) -> World:
        """Tasks beyond the learnable ones draw from the rich world."""
        learnable = (
            EditTask.INPAINTING_REPLACEMENT,
            EditTask.ELEMENT_MANIPULATION,
            EditTask.BACKGROUND_MODIFICATION,
            EditTask.ATTRIBUTE_MANIPULATION,
        )
        return self.world if task in learnable else World.RICH


class SketchPainter(_Teacher):
    """Draws captions and documents, and carries out instructions."""

    max_categories = MAX_OBJECTS

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal:
        try:
            image = self._edit(request) if request.sources else self._draw(request)
        except (Declined, PromptError, ImageError) as error:
            return self._refusal(error)
        return PaintReply(Picture(save_png(image)), self.name, Usage(images=1))

    def _draw(self, request: PaintRequest) -> Image.Image:
        if (document := wanted_document(request.prompt)) is not None:
            return draw_document(document, request.size or (4 * DEFAULT_SIZE, 4 * DEFAULT_SIZE))
        wanted, view = parse_shown(request.prompt)
        rng = np.random.default_rng([request.seed, zlib.crc32(request.prompt.encode())])
        avoid = None if exam.held_out(wanted) else self.avoid
        if view is View.LEFT_HALF:
            if wanted.total != 1:
                raise Declined("unsupported_prompt", "half a picture shows one object")
            wanted = replace(wanted, slot=Slot.LEFT)
        scene = imagine(wanted, rng, self.world, avoid)
        return Image.fromarray(show(scene, view, _side(request.size)))

    def _edit(self, request: PaintRequest) -> Image.Image:
        if len(request.sources) != 1:
            raise Declined("unsuitable_source", f"{len(request.sources)} pictures instead of one")
        operation = parse_instruction(request.prompt)
        pixels = _pixels(request.sources[0].data)
        source = _seen(pixels, operation.source_view)
        size = request.size or (pixels.shape[1], pixels.shape[0])
        return Image.fromarray(show(operation.apply(source), operation.target_view, _side(size)))


def wanted_document(prompt: str) -> Document | None:
    """The document a prompt asks for; None where it asks for a scene, PromptError for neither."""
    if MERGED_MARK in prompt:
        return read_merged(prompt)
    return parse_document(prompt) if is_document(prompt) else None


def _page(prompt: str, theme: str, rng: np.random.Generator) -> str:
    """One of the two stages of a document."""
    document, font = _labelled(prompt, "Document:"), _labelled(prompt, "Font:")
    categories = _labelled(prompt, "Categories:")
    if document is not None:
        return write_content(document, theme, rng)
    if categories is not None and font is not None:
        return write_template(categories, font, theme, rng)
    raise Declined("unreadable_prompt", "no line begins with 'Document:' or 'Categories:'")


def source_view(task: EditTask) -> View:
    """How the source of a task must be shown."""
    match task:
        case EditTask.DETAIL_ENHANCEMENT:
            return View.PIXELATED
        case EditTask.IMAGE_EXTENSION:
            return View.LEFT_HALF
        case EditTask.FROM_LINE_ART:
            return View.LINE_ART
        case EditTask.FROM_CONDITION_MAP:
            return View.MAP
        case _:
            return View.PLAIN


def read_attributes(text: str) -> Wanted:
    """What the JSON of an `Attributes:` line asks for.

    `composition` is a relation of two objects ("left of") or the place of one ("top left").

    Raises:
        PromptError: it is not JSON, lacks a key, or holds a value the sketch world does not have.
    """
    try:
        data: dict[str, Any] = json.loads(text)
        groups = tuple(
            Group(
                Shape(thing["category"]),
                Colour(thing["colour"]) if thing.get("colour") else None,
                int(thing.get("count", 1)),
            )
            for thing in data["objects"]
        )
        composition = data.get("composition")
        places = {slot.value for slot in Slot}
        slot = Slot(composition) if composition in places else None
        return Wanted(
            groups,
            Relation(composition) if composition and slot is None else None,
            Background(data["background"]) if data.get("background") else None,
            Style(data["style"]) if data.get("style") else None,
            Lighting(data["lighting"]) if data.get("lighting") else None,
            Shot(data["camera"]) if data.get("camera") else None,
            slot,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PromptError(f"attributes cannot be read: {error}") from None


def _labelled(prompt: str, mark: str) -> str | None:
    """What follows a mark at the beginning of a line."""
    for line in prompt.splitlines():
        if line.startswith(mark):
            return line[len(mark) :].strip()
    return None


@lru_cache(maxsize=4)
def _pixels(data: bytes) -> Pixels:
    """uint8 RGB [H, W, 3], not to be written into. A source is read by the writer, then the painter."""
    pixels = np.asarray(open_image(data), np.uint8)
    pixels.flags.writeable = False
    return pixels


def _seen(pixels: Pixels, view: View) -> Scene:
    found = detect.scene(pixels, view)
    if found.scene is None:
        shown = "" if view is View.PLAIN else f" as {view.value}"
        raise Declined("unreadable_source", f"the picture shows no scene{shown}: {found.reason}")
    return found.scene


def _side(size: tuple[int, int] | None) -> int:
    width, height = size or (DEFAULT_SIZE, DEFAULT_SIZE)
    if width != height or width not in SIDES:
        raise Declined(
            "unsupported_size",
            f"{width}×{height} pixels: scenes are square, a multiple of 32 from 32 to 2048",
        )
    return width
