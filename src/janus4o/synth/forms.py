"""What answers of writers have to look like."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Malformed(Exception):
    """An answer cannot be used; the message goes on after "It cannot be used: "."""


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """What an answer has to look like.

    Attributes:
        schema: JSON schema of the object.
        keys: its keys in words, for an answer that is sent back.
        read: makes of the object what is wanted, or raises Malformed.
    """

    schema: Mapping[str, Any]
    keys: str
    read: Callable[[dict[str, Any]], T]


MAX_TEXT = 4000
"""Characters; image models take 32,000, but nobody writes one coherent sentence that long."""


def strings(*names: str) -> dict[str, Any]:
    """JSON schema of an object of these strings."""
    return closed({name: {"type": "string"} for name in names})


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    """JSON schema of an object of just these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def line(value: Any, name: str, longest: int = MAX_TEXT) -> str:
    """A text on one line; raises Malformed for what is none, is empty, or is too long."""
    if not isinstance(value, str):
        raise Malformed(f"the {name} is not a string")
    text = " ".join(value.split())
    if not text:
        raise Malformed(f"the {name} is empty")
    if len(text) > longest:
        raise Malformed(f"the {name} is longer than {longest} characters")
    return text


_ABBREVIATED = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Jr|Sr|No|vs|etc|approx|ca|e\.g|i\.e|[A-Z])\.$"
)
_END = re.compile(r"[.!?][\"'”’)\]]*(?=\s)")


def sentence(value: Any, name: str, longest: int = MAX_TEXT) -> str:
    """A text of one sentence; raises Malformed."""
    text = line(value, name, longest)
    for end in _END.finditer(text):
        following = text[end.end() :].lstrip(" \"'“‘(")
        if not _ABBREVIATED.search(text[: end.start() + 1]) and not following[:1].islower():
            raise Malformed(f"the {name} is more than one sentence")
    return text


TEXT = Form(strings("text"), 'the one key "text"', lambda found: line(found["text"], "text"))
"""One line of text."""
SENTENCE = Form(TEXT.schema, TEXT.keys, lambda found: sentence(found["text"], "text"))
"""One sentence."""


def read(answer: str, form: Form[T]) -> T:
    """What an answer says; raises Malformed."""
    try:
        found = json.loads(answer)
        json.dumps(found, ensure_ascii=False).encode()  # half a character cannot be kept
    except (ValueError, RecursionError):
        raise Malformed("it is not JSON") from None
    if not isinstance(found, dict) or found.keys() != set(form.schema["required"]):
        raise Malformed(f"it is not an object with {form.keys}")
    return form.read(found)
