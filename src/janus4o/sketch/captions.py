"""Captions, written from what is wanted and read back into it.

    caption := [prefix] groups [relation] [place] [background] [style] [lighting] [shot]

`parse_caption(c) == wanted` for every `c` in `captions(wanted)`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from janus4o.errors import PromptError
from janus4o.sketch.phrases import (
    BACKGROUND_WORDS,
    NUMBERS,
    RELATION_CHOICES,
    RELATION_PHRASES,
    SLOT_PHRASES,
    Choices,
    Reader,
    join,
    listing,
    noun,
    noun_phrase,
)
from janus4o.sketch.scene import Lighting, Shot, Style
from janus4o.sketch.view import View
from janus4o.sketch.wanted import Group, Relation, Wanted


def captions(wanted: Wanted) -> list[str]:
    """Every wording of a caption, the plainest first."""
    subjects = _subjects(wanted)
    plain = subjects[0]
    verb = "are" if wanted.groups[0].count > 1 else "is"
    openings = [*subjects, f"a picture of {plain}", f"there {verb} {plain}"]
    if wanted.total == 1:
        group = wanted.groups[0]
        openings.append(f"{NUMBERS[1]} {noun(group.shape, group.colour)}")
    ending = _ending(wanted)
    return [join([opening, ending]) for opening in openings]


def caption(wanted: Wanted, rng: np.random.Generator) -> str:
    """One wording, drawn evenly."""
    options = captions(wanted)
    return options[rng.integers(len(options))]


def _subjects(wanted: Wanted) -> list[str]:
    phrases = [noun_phrase(group) for group in wanted.groups]
    if wanted.relation is None:
        return [listing(phrases)]
    first, second = phrases
    return [f"{first} {relation} {second}" for relation in RELATION_PHRASES[wanted.relation]]


def _ending(wanted: Wanted) -> str:
    parts = []
    if wanted.slot is not None:
        parts.append(SLOT_PHRASES[wanted.slot])
    if wanted.background is not None:
        parts.append(f"on a {BACKGROUND_WORDS[wanted.background]} background")
    if wanted.style is not None:
        parts.append(f", in {wanted.style.value} style")
    if wanted.lighting is not None:
        parts.append(f", in {wanted.lighting.value} light")
    if wanted.shot is not None:
        parts.append(f", {wanted.shot.value} shot")
    return " ".join(parts)


def parse_caption(text: str) -> Wanted:
    """Reads a caption.

    Raises:
        PromptError: it is empty, holds an unknown word (named), makes no sense at some place
            (quoted), or asks for what no picture can show.
    """
    reader = Reader(text)
    wanted = read_caption(reader)
    reader.finish()
    return wanted


def read_caption(reader: Reader) -> Wanted:
    """Reads a caption from where the reader stands."""
    reader.take_any("a picture of", "there is", "there are")
    groups, relation = _read_subject(reader)
    slot = reader.slot()
    background = style = lighting = shot = None
    if reader.take_any("on a", "on an", "with a"):
        background = reader.background()
        reader.expect("background")
    while reader.take(","):
        if reader.take("in"):
            named = reader.member(Style)
            if named is not None:
                style = named
                reader.expect("style")
                continue
            lighting = reader.member(Lighting)
            if lighting is None:
                raise reader.confused("a style or a light")
            reader.expect("light")
        else:
            shot = reader.member(Shot)
            if shot is None:
                raise reader.confused("'in' or a shot")
            reader.expect("shot")
    return Wanted(groups, relation, background, style, lighting, shot, slot)


def _read_subject(reader: Reader) -> tuple[tuple[Group, ...], Relation | None]:
    groups = [reader.group()]
    relation = reader.choice(RELATION_CHOICES)
    if relation is not None:
        return (groups[0], reader.group()), relation
    while reader.take(","):
        # A comma may also open the style: then it is not ours.
        start = reader.at
        try:
            groups.append(reader.group())
        except PromptError:
            reader.at = start - 1
            return tuple(groups), None
    if reader.take("and"):
        groups.append(reader.group())
    elif len(groups) > 1:
        raise reader.confused("'and'")
    return tuple(groups), None


VIEW_PREFIXES: dict[View, str] = {
    View.LINE_ART: "line art of",
    View.MAP: "a segmentation map of",
    View.PIXELATED: "a pixelated picture of",
    View.LEFT_HALF: "the left half of",
}
"""Pictures that edits start from can be asked for by a prefix."""
VIEW_CHOICES = Choices(VIEW_PREFIXES)


@lru_cache(maxsize=256)
def parse_shown(text: str) -> tuple[Wanted, View]:
    """Reads a caption that may begin with a view, as 'line art of a circle'; see `parse_caption`."""
    reader = Reader(text)
    view = reader.choice(VIEW_CHOICES) or View.PLAIN
    wanted = read_caption(reader)
    reader.finish()
    return wanted, view
