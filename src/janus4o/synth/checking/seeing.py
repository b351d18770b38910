"""What readers of text and detectors of objects say of a picture, beside what was asked for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from janus4o.records import Row

_QUOTED = re.compile(r"“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|「([^」]+)」|\"([^\"]+)\"")
LONG = 4
"""Letters from which on a word is not found in another by chance."""
NAMED = 4
"""Words and things that a reason names at most."""


class Reader(Protocol):
    """Reads text; `name` says with which version of what.

    `heavy` ones are networks that take what a machine has: there is one of them, and it is not sent to
    other processes of the same machine.
    """

    @property
    def name(self) -> str: ...

    @property
    def heavy(self) -> bool: ...

    def read(self, image: Image.Image) -> list[str]:
        """Lines of text, in reading order."""


class Counter(Protocol):
    """Finds objects of the `classes` it knows; `name` says with which weights, `heavy` as above."""

    @property
    def name(self) -> str: ...

    @property
    def heavy(self) -> bool: ...

    @property
    def classes(self) -> Collection[str]: ...

    def count(self, image: Image.Image) -> Mapping[str, tuple[int, int]]:
        """Class → how many there are, and how many it is sure enough of to count them."""


@dataclass(frozen=True, slots=True)
class Eyes:
    """Who looks at pictures besides; None does not."""

    reader: Reader | None = None
    counter: Counter | None = None

    @property
    def names(self) -> str:
        """Of all of them; what they said holds for no others."""
        return " ".join(one.name for one in (self.reader, self.counter) if one is not None)

    @property
    def heavy(self) -> bool:
        return any(one.heavy for one in (self.reader, self.counter) if one is not None)

    def look(self, row: Row, image: Image.Image) -> tuple[dict[str, float], dict[str, str]]:
        """Figures and reasons of the checks that apply to a row; `image` is its output."""
        figures, why = dict[str, float](), dict[str, str]()
        if self.reader is not None and (wanted := quoted(row.input_prompt)):
            figures["text"], why["text"] = compare_text(wanted, self.reader.read(image))
        if self.counter is not None:
            things = {
                name: count for name, count in asked(row).items() if name in self.counter.classes
            }
            if things:
                wrong = compare_counts(things, self.counter.count(image))
                figures["objects"], why["objects"] = len(wrong), ", ".join(wrong[:NAMED])
        return figures, why


def quoted(prompt: str) -> list[str]:
    """What a prompt wants to be written in the picture: all that stands in double quotation marks."""
    return [next(filter(None, found)) for found in _QUOTED.findall(prompt)]


def compare_text(wanted: list[str], lines: list[str]) -> tuple[float, str]:
    """The share of the wanted words that are read letter by letter, and those that are not.

    Neither case nor punctuation counts, nor, of words of `LONG` letters, where a reader parts them.
    """
    parted = {word for line in lines for word in words(line)}
    read = "".join(word for line in lines for word in words(line))
    asked_for = [word for text in wanted for word in words(text)]
    if not asked_for:
        return 1.0, ""
    missing = [
        word for word in asked_for if word not in parted and (len(word) < LONG or word not in read)
    ]
    named = ", ".join(missing[:NAMED])
    shown = " ".join(lines)[:80]
    share = 1 - len(missing) / len(asked_for)
    return round(share, 3), f"not read: {named}; read: {shown!r}" if missing else ""


def words(text: str) -> list[str]:
    """Words without case, accents of another spelling, or punctuation within or around them."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    found = ("".join(one for one in word if one.isalnum()) for word in plain.split())
    return [word for word in found if word]


def asked(row: Row) -> dict[str, int]:
    """Category → how many of it a text-to-image row was to show, as its provenance says."""
    made = row.provenance
    things: Any = made.attributes.get("objects") if made and not row.is_edit else None
    found: dict[str, int] = {}
    for thing in things if isinstance(things, list) else ():
        if isinstance(thing, dict) and isinstance(thing.get("category"), str):
            count = thing.get("count", 1)
            name = thing["category"]
            found[name] = found.get(name, 0) + (count if isinstance(count, int) else 1)
    return found


def compare_counts(wanted: Mapping[str, int], found: Mapping[str, tuple[int, int]]) -> list[str]:
    """A line for each category that is not there as it should be, by GenEval's rule: one means one at
    least, more mean just as many.
    """
    wrong = []
    for name, count in wanted.items():
        there, sure = found.get(name, (0, 0))
        right = there >= 1 if count == 1 else sure == count
        if not right:
            wrong.append(f"{sure if count > 1 else there} {name} instead of {count}")
    return wrong
