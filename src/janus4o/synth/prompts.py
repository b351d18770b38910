"""The texts sent to writers. Changing one makes other samples: `DIGEST` is part of every sample id.

What was drawn stands on a line of its own as JSON, so that a language model and the offline
writer read the same thing.
"""

from __future__ import annotations

import hashlib
import json

from janus4o.synth.attributes import Attributes

PROMPT_FIRST = """\
Write one prompt for an image generation model: a single coherent English description of one \
picture. Use every attribute below that is not null, keep counts, colours and relations exactly as \
given, and add no further objects. Answer with the prompt alone, on one line.
Attributes: {attributes}"""

EDITING = """\
Look at the attached picture and write one instruction that asks an image editing model to change \
it. The instruction must belong to the task below, name what is to change so that it cannot be \
mistaken for anything else in the picture, and be possible for this very picture. Answer with the \
instruction alone, on one line.
Task: {task}
Meaning: {meaning}"""

DESCRIPTIVE = """\
Look at the attached picture and write one sentence for an image generation model. It is a complete, \
well-built English sentence, concise and descriptive, and catches the essence, the mood and the main \
things to be seen in the picture. Below stands a base task: work it into the sentence where that comes \
naturally. It is optional and comes second; where it does not fit or would make the sentence clumsy or \
long, leave it aside and write the best sentence about the picture itself. Answer with this one sentence \
and nothing else: no explanation, no introduction, no list.
Base task: {meaning}"""

TASK_MEANINGS = {
    "inpainting_replacement": "replace one object by another in its place",
    "element_manipulation": "add, remove or move an object",
    "background_modification": "change what is behind the objects",
    "attribute_manipulation": "change an attribute of an object, such as its colour",
    "style_artist": "redraw the picture in the style of an artist or a school",
    "style_medium": "redraw the picture in another medium or technique",
    "style_genre": "move the picture to another genre, theme or era",
    "detail_enhancement": "make the picture sharper and richer in detail",
    "image_extension": "extend the picture beyond its borders",
    "from_line_art": "turn this sketch, line art or edge map into a finished picture",
    "from_condition_map": "make a picture that follows this pose, depth or segmentation map",
    "storyboard": "show what happens next, as a sequence of pictures",
    "concept_variation": "show another variation of the same idea",
    "hybrid": "join this picture with another concept or style",
}
"""Editing task → what it asks for, in words."""

DIGEST = hashlib.sha256(
    json.dumps([PROMPT_FIRST, EDITING, TASK_MEANINGS], sort_keys=True).encode()
).hexdigest()[:16]


def prompt_first(attributes: Attributes) -> str:
    """The request for a text-to-image prompt."""
    line = json.dumps(attributes.to_json(), ensure_ascii=False)
    return PROMPT_FIRST.replace("{attributes}", line)


DESCRIPTIVE_DIGEST = hashlib.sha256(DESCRIPTIVE.encode()).hexdigest()[:16]
"""Part of the ids of samples that use it."""


def editing(task: str, descriptive: bool = False) -> str:
    """The request for an editing instruction; the source picture goes with it.

    Args:
        descriptive: in the paper's form, in which the task is optional.
    """
    if descriptive:
        return DESCRIPTIVE.replace("{meaning}", TASK_MEANINGS[task])
    return EDITING.replace("{task}", task).replace("{meaning}", TASK_MEANINGS[task])
