"""The texts of the sketch world, all of them in one place: captions, instructions, questions.

    what is wanted  ⇄  caption              captions.py
    an operation    ⇄  edit instruction     instructions.py
    a scene         →  question and answer  answers.py

`VOCABULARY` is every word of the learnable texts. Everything else reads or raises PromptError.
"""

from janus4o.sketch.answers import base_caption, describe_in_words, question, questions
from janus4o.sketch.captions import caption, captions, parse_caption
from janus4o.sketch.instructions import instruction, instructions, parse_instruction
from janus4o.sketch.phrases import VOCABULARY, split
from janus4o.sketch.sampling import sample_wanted
from janus4o.sketch.wanted import Group, Relation, Wanted, World, imagine, unmet, wanted_of

__all__ = [
    "VOCABULARY",
    "Group",
    "Relation",
    "Wanted",
    "World",
    "base_caption",
    "caption",
    "captions",
    "describe_in_words",
    "imagine",
    "instruction",
    "instructions",
    "parse_caption",
    "parse_instruction",
    "question",
    "questions",
    "sample_wanted",
    "split",
    "unmet",
    "wanted_of",
]
