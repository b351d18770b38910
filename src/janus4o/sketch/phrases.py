"""The words of the sketch world, and how noun phrases are written and read.

Every text is lower-case words with `,` and `?` as words of their own. `VOCABULARY` is every word a
learnable text can hold; the tiny model's tokenizer is made from it, so removing or adding a word
means training the base anew. The rich world uses further words, known to the parser only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Generic, TypeVar

from janus4o.errors import PromptError
from janus4o.sketch.scene import (
    LEARNABLE_BACKGROUNDS,
    LEARNABLE_COLOURS,
    LEARNABLE_SHAPES,
    Background,
    Colour,
    Lighting,
    Shape,
    Shot,
    Slot,
    Style,
)
from janus4o.sketch.wanted import Group, Relation

E = TypeVar("E")
M = TypeVar("M", bound=StrEnum)

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}

_IRREGULAR = {Shape.CROSS: "crosses", Shape.FISH: "fishes"}
PLURALS: dict[Shape, str] = {s: _IRREGULAR.get(s, f"{s.value}s") for s in Shape}

BACKGROUND_WORDS: dict[Background, str] = {
    **{b: b.value for b in Background},
    Background.STRIPES: "striped",
    Background.CHECKS: "checked",
}

SLOT_PHRASES: dict[Slot, str] = {
    Slot.CENTRE: "in the middle",
    Slot.LEFT: "on the left",
    Slot.RIGHT: "on the right",
    Slot.TOP: "at the top",
    Slot.BOTTOM: "at the bottom",
    Slot.TOP_LEFT: "in the top left corner",
    Slot.TOP_RIGHT: "in the top right corner",
    Slot.BOTTOM_LEFT: "in the bottom left corner",
    Slot.BOTTOM_RIGHT: "in the bottom right corner",
}

RELATION_PHRASES: dict[Relation, tuple[str, ...]] = {
    Relation.LEFT_OF: ("to the left of", "left of"),
    Relation.RIGHT_OF: ("to the right of", "right of"),
    Relation.ABOVE: ("above",),
    Relation.BELOW: ("below",),
}

_CAPTION_WORDS = "a an picture of there is are and , on background in at to the above below"
_PLACE_WORDS = "left right top bottom corner middle"
_EDIT_WORDS = (
    "add put remove erase replace with turn into make change paint swap exchange move the and to"
)
_QUESTION_WORDS = "what colour where is the in picture how many objects are there ? ."

VOCABULARY: tuple[str, ...] = tuple(
    sorted(
        {
            *(shape.value for shape in LEARNABLE_SHAPES),
            *(PLURALS[shape] for shape in LEARNABLE_SHAPES),
            *(colour.value for colour in LEARNABLE_COLOURS),
            *(BACKGROUND_WORDS[background] for background in LEARNABLE_BACKGROUNDS),
            *NUMBERS.values(),
            *_CAPTION_WORDS.split(),
            *_PLACE_WORDS.split(),
            *_EDIT_WORDS.split(),
            *_QUESTION_WORDS.split(),
        }
    )
)

_RICH_WORDS = (
    "style light shot line art segmentation map pixelated half the show as it look like old "
    "photograph silent film sharpen extend storyboard day variation instead combine shape "
    "stand"
)

KNOWN_WORDS = frozenset(
    {
        *VOCABULARY,
        *_RICH_WORDS.split(),
        *(shape.value for shape in Shape),
        *PLURALS.values(),
        *(colour.value for colour in Colour),
        *BACKGROUND_WORDS.values(),
        *(style.value for style in Style),
        *(lighting.value for lighting in Lighting),
        *(shot.value for shot in Shot),
    }
)


_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def split(text: str) -> list[str]:
    """The words of a text in lower case; punctuation marks are words."""
    return _WORD.findall(text.lower())


@lru_cache(maxsize=1024)
def _words_of(phrase: str) -> list[str]:
    """`split` for the phrases of the grammar itself, which are few. Do not change the list."""
    return split(phrase)


class Choices(Generic[E]):
    """Values a text can name, and the phrases that name them.

    Args:
        options: value → its phrase or phrases.
    """

    def __init__(self, options: Mapping[E, str | tuple[str, ...]]) -> None:
        flat = [
            (split(phrase), value)
            for value, phrases in options.items()
            for phrase in ((phrases,) if isinstance(phrases, str) else phrases)
        ]
        self._by_first_word: dict[str, list[tuple[list[str], E]]] = {}
        for words, value in sorted(flat, key=lambda pair: -len(pair[0])):
            self._by_first_word.setdefault(words[0], []).append((words, value))

    def find(self, words: list[str], at: int) -> tuple[E, int] | None:
        """The value named by the words from `at` on, the longest phrase first, and where it ends."""
        if at < len(words):
            for phrase, value in self._by_first_word.get(words[at], ()):
                end = at + len(phrase)
                if words[at:end] == phrase:
                    return value, end
        return None


NUMBER_CHOICES = Choices(NUMBERS)
PLURAL_CHOICES = Choices(PLURALS)
BACKGROUND_CHOICES = Choices(BACKGROUND_WORDS)
SLOT_CHOICES = Choices(SLOT_PHRASES)
RELATION_CHOICES = Choices(RELATION_PHRASES)


@lru_cache(maxsize=32)
def _members(kind: type[M]) -> Choices[M]:
    return Choices({member: member.value for member in kind})


def join(parts: Iterable[str]) -> str:
    """Phrases joined by spaces; punctuation clings to the word before it."""
    return re.sub(r" ([,.?])", r"\1", " ".join(part for part in parts if part))


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def noun(shape: Shape, colour: Colour | None) -> str:
    """'red circle', or 'circle' where the colour is open."""
    return f"{colour.value} {shape.value}" if colour else shape.value


def noun_phrase(group: Group) -> str:
    """'a red circle' or 'two red circles'."""
    if group.count == 1:
        text = noun(group.shape, group.colour)
        return f"{article(text)} {text}"
    colour = f"{group.colour.value} " if group.colour else ""
    return f"{NUMBERS[group.count]} {colour}{PLURALS[group.shape]}"


def listing(phrases: list[str]) -> str:
    """'a circle, a star and a ring'."""
    if len(phrases) == 1:
        return phrases[0]
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


class UnknownWord(PromptError):
    """The text holds a word that is not of the sketch world."""


class Reader:
    """Reads a text word by word.

    Raises:
        UnknownWord: on construction, when the text holds an unknown word (named).
        PromptError: when it is empty or, later, makes no sense at some place (quoted).
    """

    def __init__(self, text: str) -> None:
        self.words = split(text)
        self.at = 0
        if not self.words:
            raise PromptError("the prompt is empty", "write what to draw, e.g. 'a red circle'")
        for word in self.words:
            if word not in KNOWN_WORDS:
                raise UnknownWord(
                    f"the sketch world does not know the word {word!r}",
                    f"it knows {', '.join(s.value for s in Shape)} and a few more words",
                )

    def take(self, phrase: str) -> bool:
        """Reads `phrase` if it comes next."""
        words = _words_of(phrase)
        end = self.at + len(words)
        if self.words[self.at : end] != words:
            return False
        self.at = end
        return True

    def take_any(self, *phrases: str) -> bool:
        """Reads the first of `phrases` that comes next."""
        return any(self.take(phrase) for phrase in phrases)

    def expect(self, *phrases: str) -> None:
        """Reads one of `phrases`, which must come next."""
        if not self.take_any(*phrases):
            raise self.confused(" or ".join(repr(phrase) for phrase in phrases))

    def choice(self, choices: Choices[E]) -> E | None:
        """Reads whichever choice's phrase comes next, the longest first."""
        found = choices.find(self.words, self.at)
        if found is None:
            return None
        value, self.at = found
        return value

    def member(self, kind: type[M]) -> M | None:
        """Reads the value of a member of `kind`, if one comes next."""
        return self.choice(_members(kind))

    @property
    def done(self) -> bool:
        return self.at >= len(self.words)

    def finish(self) -> None:
        """Checks that nothing is left but a full stop."""
        self.take(".")
        if not self.done:
            raise self.confused("the end")

    def confused(self, expected: str) -> PromptError:
        """The error for words that make no sense here."""
        rest = " ".join(self.words[self.at : self.at + 4]) or "the end"
        before = " ".join(self.words[max(0, self.at - 4) : self.at])
        return PromptError(f"expected {expected} after {before!r}, found {rest!r}", "reword it")

    def noun(self) -> tuple[Shape, Colour | None, bool]:
        """Reads 'red circle' or 'circles': shape, colour, whether plural."""
        colour = self.member(Colour)
        shape = self.choice(PLURAL_CHOICES)
        if shape is not None:
            return shape, colour, True
        shape = self.member(Shape)
        if shape is None:
            raise self.confused("a shape")
        return shape, colour, False

    def group(self) -> Group:
        """Reads 'a red circle', 'one circle' or 'three stars'."""
        if self.take_any("a", "an"):
            count = 1
        else:
            number = self.choice(NUMBER_CHOICES)
            if number is None:
                raise self.confused("'a' or a number up to four")
            count = number
        shape, colour, plural = self.noun()
        if plural != (count > 1):
            raise PromptError(f"{count} goes with {'a plural' if count > 1 else 'a singular'}")
        return Group(shape, colour, count)

    def slot(self) -> Slot | None:
        """Reads where something stands, if that comes next."""
        return self.choice(SLOT_CHOICES)

    def background(self) -> Background:
        """Reads the word of a background."""
        found = self.choice(BACKGROUND_CHOICES)
        if found is None:
            raise self.confused("a background")
        return found
