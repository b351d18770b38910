"""What can be a prompt, an instruction or a question, whoever wrote it.

Anything a person could read is accepted as it stands: any script and direction, markup, braces,
names of special tokens. What is not accepted has one of four reasons, each with a name.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from janus4o.errors import PromptError

LONGEST = 32_000
"""Characters; what the image APIs take."""

Name = Literal["empty", "too_long", "lone_surrogate", "control_character"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a text is no prompt; `words` go on after "the prompt"."""

    name: Name
    words: str
    remedy: str


def find_fault(text: str) -> Fault | None:
    """The first of the four reasons that holds; None where the text can be used."""
    if len(text) > LONGEST:
        words = f"has {len(text):,} characters, and {LONGEST:,} are accepted"
        return Fault("too_long", words, "shorten it")
    if surrogate := next((one for one in text if "\ud800" <= one <= "\udfff"), ""):
        words = f"holds U+{ord(surrogate):04X}, which is no character"
        return Fault("lone_surrogate", words, "save or send it as UTF-8")
    if control := next((one for one in text if _is_control(one)), ""):
        words = f"holds the control character U+{ord(control):04X}"
        return Fault("control_character", words, "remove it")
    if not any(unicodedata.category(one)[0] not in "ZC" for one in text):
        return Fault("empty", "is empty", "write at least one word")
    return None


def check(text: str, what: str = "prompt") -> str:
    """`text` itself; raises PromptError, naming it as `what`, where it cannot be used."""
    if fault := find_fault(text):
        raise PromptError(f"the {what} {fault.words}", fault.remedy)
    return text


def canonical(text: str) -> str:
    """Equal for texts that read the same but spell their accents differently."""
    return unicodedata.normalize("NFC", text)


def _is_control(one: str) -> bool:
    return unicodedata.category(one) == "Cc" and one not in "\t\n\r"
