"""Edit instructions, written from an operation and read back into it.

`parse_instruction(i) == operation` for every `i` in `instructions(operation)`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from janus4o.errors import PromptError
from janus4o.sketch import edit
from janus4o.sketch.captions import captions, read_caption
from janus4o.sketch.edit import Operation, Reference
from janus4o.sketch.phrases import (
    BACKGROUND_WORDS,
    PLURAL_CHOICES,
    PLURALS,
    SLOT_PHRASES,
    Reader,
    article,
    noun,
)
from janus4o.sketch.scene import Colour, Lighting, Scene, Shape, Slot, Style


def refer(target: Reference) -> str:
    """'the red circle' or 'the red circle on the left'."""
    place = f" {SLOT_PHRASES[target.slot]}" if target.slot else ""
    return f"the {noun(target.shape, target.colour)}{place}"


def _some(shape: Shape, colour: Colour | None) -> str:
    text = noun(shape, colour)
    return f"{article(text)} {text}"


def instructions(operation: Operation) -> list[str]:
    """Every wording of an instruction, the plainest first."""
    match operation:
        case edit.Add(shape, colour, slot):
            what = f"{_some(shape, colour)} {SLOT_PHRASES[slot]}"
            return [f"add {what}", f"put {what}"]
        case edit.Remove(target):
            return [f"remove {refer(target)}", f"erase {refer(target)}"]
        case edit.Replace(target, shape, colour):
            new = _some(shape, colour)
            return [f"replace {refer(target)} with {new}", f"turn {refer(target)} into {new}"]
        case edit.Recolour(target, colour):
            return [f"make {refer(target)} {colour.value}", f"paint {refer(target)} {colour.value}"]
        case edit.SetBackground(background):
            word = BACKGROUND_WORDS[background]
            return [f"change the background to {word}", f"make the background {word}"]
        case edit.Swap(first, second):
            return [
                f"swap {refer(first)} and {refer(second)}",
                f"exchange {refer(first)} and {refer(second)}",
            ]
        case edit.Move(target, slot):
            return [f"move {refer(target)} to stand {SLOT_PHRASES[slot]}"]
        case edit.Light(lighting):
            return [f"show the picture in {lighting.value} light"]
        case edit.SetStyle(style):
            return [f"show the picture in {style.value} style"]
        case edit.Age():
            return ["make it look like an old photograph"]
        case edit.Film():
            return ["make it look like a silent film"]
        case edit.Sharpen():
            return ["sharpen the picture"]
        case edit.Extend(shape, colour):
            return [f"extend the picture to the right with {_some(shape, colour)}"]
        case edit.ColourIn(wanted):
            return [f"turn the line art into {caption}" for caption in captions(wanted)[:1]]
        case edit.FillMap(wanted):
            return [f"turn the map into {caption}" for caption in captions(wanted)[:1]]
        case edit.Tell():
            return ["make it a storyboard of the day"]
        case edit.Vary(shape):
            return [f"show a variation with {PLURALS[shape]} instead"]
        case edit.Cross(first, second):
            return [f"combine the shape of {refer(first)} with the colour of {refer(second)}"]
        case _:
            raise NotImplementedError(operation.kind)


def instruction(operation: Operation, scene: Scene, rng: np.random.Generator) -> str:
    """One wording, drawn evenly; PromptError if the operation does not fit the scene."""
    operation.apply(scene)
    options = instructions(operation)
    return options[rng.integers(len(options))]


@lru_cache(maxsize=256)
def parse_instruction(text: str) -> Operation:
    """Reads an instruction.

    Raises:
        PromptError: it is empty, holds an unknown word (named) or makes no sense (quoted).
    """
    reader = Reader(text)
    operation = _read(reader)
    reader.finish()
    return operation


def _read(reader: Reader) -> Operation:
    for verbs, read in _VERBS.items():
        if reader.take_any(*verbs):
            return read(reader)
    raise reader.confused("an edit such as 'add', 'remove', 'replace', 'make' or 'change'")


def _read_reference(reader: Reader) -> Reference:
    reader.expect("the")
    shape, colour, plural = reader.noun()
    if plural:
        raise PromptError("an edit names one object at a time", "use the singular")
    return Reference(shape, colour, reader.slot())


def _read_object(reader: Reader) -> tuple[Shape, Colour | None]:
    reader.expect("a", "an")
    shape, colour, plural = reader.noun()
    if plural:
        raise PromptError("an edit names one object at a time", "use the singular")
    return shape, colour


def _read_colour(reader: Reader) -> Colour:
    colour = reader.member(Colour)
    if colour is None:
        raise reader.confused("a colour")
    return colour


def _read_slot(reader: Reader) -> Slot:
    slot = reader.slot()
    if slot is None:
        raise reader.confused("a place such as 'on the left'")
    return slot


def _read_add(reader: Reader) -> Operation:
    shape, colour = _read_object(reader)
    if colour is None:
        raise PromptError(f"an added {shape.value} needs a colour", "say e.g. 'a red circle'")
    return edit.Add(shape, colour, _read_slot(reader))


def _read_remove(reader: Reader) -> Operation:
    return edit.Remove(_read_reference(reader))


def _read_replace(reader: Reader) -> Operation:
    target = _read_reference(reader)
    reader.expect("with")
    return edit.Replace(target, *_read_object(reader))


def _read_turn(reader: Reader) -> Operation:
    if reader.take("the line art into"):
        return edit.ColourIn(read_caption(reader))
    if reader.take("the map into"):
        return edit.FillMap(read_caption(reader))
    target = _read_reference(reader)
    reader.expect("into")
    return edit.Replace(target, *_read_object(reader))


def _read_make(reader: Reader) -> Operation:
    if reader.take("it look like an old photograph"):
        return edit.Age()
    if reader.take("it look like a silent film"):
        return edit.Film()
    if reader.take("it a storyboard of the day"):
        return edit.Tell()
    if reader.take("the background"):
        return edit.SetBackground(reader.background())
    return _read_recolour(reader)


def _read_recolour(reader: Reader) -> Operation:
    return edit.Recolour(_read_reference(reader), _read_colour(reader))


def _read_change(reader: Reader) -> Operation:
    if reader.take("the background"):
        reader.expect("to")
        return edit.SetBackground(reader.background())
    target = _read_reference(reader)
    reader.expect("to", "into")
    return edit.Recolour(target, _read_colour(reader))


def _read_swap(reader: Reader) -> Operation:
    first = _read_reference(reader)
    reader.expect("and", "with")
    return edit.Swap(first, _read_reference(reader))


def _read_move(reader: Reader) -> Operation:
    target = _read_reference(reader)
    reader.expect("to stand")
    return edit.Move(target, _read_slot(reader))


def _read_show(reader: Reader) -> Operation:
    if reader.take("a variation with"):
        shape = reader.choice(PLURAL_CHOICES)
        if shape is None:
            raise reader.confused("shapes")
        reader.expect("instead")
        return edit.Vary(shape)
    reader.expect("the picture in")
    style = reader.member(Style)
    if style is not None:
        reader.expect("style")
        return edit.SetStyle(style)
    lighting = reader.member(Lighting)
    if lighting is None:
        raise reader.confused("a style or a light")
    reader.expect("light")
    return edit.Light(lighting)


def _read_sharpen(reader: Reader) -> Operation:
    reader.expect("the picture")
    return edit.Sharpen()


def _read_extend(reader: Reader) -> Operation:
    reader.expect("the picture to the right with")
    shape, colour = _read_object(reader)
    if colour is None:
        raise PromptError(f"an added {shape.value} needs a colour", "say e.g. 'a red circle'")
    return edit.Extend(shape, colour)


def _read_combine(reader: Reader) -> Operation:
    reader.expect("the shape of")
    first = _read_reference(reader)
    reader.expect("with the colour of")
    return edit.Cross(first, _read_reference(reader))


_VERBS: dict[tuple[str, ...], Callable[[Reader], Operation]] = {
    ("add", "put"): _read_add,
    ("remove", "erase"): _read_remove,
    ("replace",): _read_replace,
    ("turn",): _read_turn,
    ("make",): _read_make,
    ("paint",): _read_recolour,
    ("change",): _read_change,
    ("swap", "exchange"): _read_swap,
    ("move",): _read_move,
    ("show",): _read_show,
    ("sharpen",): _read_sharpen,
    ("extend",): _read_extend,
    ("combine",): _read_combine,
}
