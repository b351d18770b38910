"""Questions about a picture and their answers, for describing."""

from __future__ import annotations

import numpy as np

from janus4o.sketch.captions import captions
from janus4o.sketch.phrases import BACKGROUND_WORDS, NUMBERS, SLOT_PHRASES
from janus4o.sketch.scene import Scene, Slot
from janus4o.sketch.wanted import Wanted, wanted_of

WHAT = "what is in the picture?"
HOW_MANY = "how many objects are there?"
WHICH_BACKGROUND = "what colour is the background?"


def describe_in_words(scene: Scene) -> str:
    """The plainest full caption: 'a red circle in the top left corner on a pink background'."""
    return captions(worth_saying(scene))[0]


def worth_saying(scene: Scene) -> Wanted:
    """What a caption says of a scene.

    Style, lighting and shot only where they are not the plain ones; 'in the middle' never.
    """
    full = wanted_of(scene)
    return Wanted(
        full.groups,
        full.relation,
        full.background,
        None if scene.style.value == "flat" else full.style,
        None if scene.lighting.value == "neutral" else full.lighting,
        None if scene.shot.value == "medium" else full.shot,
        None if full.slot is Slot.CENTRE else full.slot,
    )


def questions(scene: Scene) -> list[tuple[str, str]]:
    """Every question this grammar asks about a scene of at least one object, with its answer.

    'where is the circle?' and 'what colour is the circle?' are asked of shapes that occur once.
    """
    pairs = [
        (WHAT, describe_in_words(scene)),
        (HOW_MANY, NUMBERS[len(scene.items)]),
        (WHICH_BACKGROUND, BACKGROUND_WORDS[scene.background]),
    ]
    for item in scene.items:
        if sum(other.shape is item.shape for other in scene.items) == 1:
            pairs.append((f"what colour is the {item.shape.value}?", item.colour.value))
            pairs.append((f"where is the {item.shape.value}?", SLOT_PHRASES[item.slot]))
    return pairs


def question(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """One question and its answer; half of the time the question is `WHAT`."""
    pairs = questions(scene)
    if rng.random() < 0.5:
        return pairs[0]
    return pairs[rng.integers(1, len(pairs))]


def base_caption(
    scene: Scene, rng: np.random.Generator, colour_said: float = 0.8, background_said: float = 0.4
) -> str:
    """A caption of a one-object scene as the base model sees it.

    Colour and background are said as often as given; the place always, except the middle, which
    is where an object stands that no caption places.
    """
    full = wanted_of(scene)
    (group,) = full.groups
    colour = group.colour if rng.random() < colour_said else None
    wanted = Wanted(
        (type(group)(group.shape, colour),),
        background=full.background if rng.random() < background_said else None,
        slot=None if full.slot is Slot.CENTRE else full.slot,
    )
    options = captions(wanted)
    return options[rng.integers(len(options))]
