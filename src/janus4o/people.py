"""Who the prompts of a data set are about: how often they name which gender, origin, age and occupation.

Words are looked for, not meaning (`people.yaml`, English): a noun that names a person, what stands right
before it, and pronouns where there is such a noun. What a prompt leaves open is left to the image model,
and is counted as that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from janus4o.errors import DataError
from janus4o.intervals import wilson

WORDS = Path(__file__).with_name("people.yaml")
DIMENSIONS = ("gender", "race, ethnicity or origin", "age", "occupation")
PEOPLE, NOT_PEOPLE = "people", "not people"
KINDS = ("nouns", "before", "pronouns")
NO_SHARE = frozenset({"non-binary people"})
"""Groups of which no share is asked for where targets are even: they are counted, that is all."""
UNIFORM, ASKED_FOR, GIVEN = "even shares", "what the recipe asks for", "the targets given"

Told = Mapping[str, frozenset[str]]
"""Dimension → groups named; a dimension that is left open is not in it."""
Targets = Mapping[str, Mapping[str, float]]
"""Dimension → group → share, 0–1."""

_COPY = "copy the shipped people.yaml"
_TOKEN = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*|[^\w\s]")
_YEARS_OLD = re.compile(
    r"\b(?:(?:twen|thir|for|fif|six|seven|eigh|nine)ty[ -])?\w+[ -]years?[ -]old\b"
)
_ENDS_PHRASE = frozenset({
    "a", "an", "the", "of", "with", "in", "on", "at", "by", "for", "to", "from", "and", "or", "who",
    "that", "which", "is", "are", "was", "as", "into", "near",
})  # fmt: skip
_OF_AGE = re.compile(
    r"(?:of|aged|aged about|age) (?P<years>\d{1,3}|[a-z]+(?:-[a-z]+)?)$|(?P<old>\d{1,3}|[a-z]+(?:-[a-z]+)?)-years?-old"
)
_UP_TO_TWENTY = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
]  # fmt: skip
_TENS = ["thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_NUMBERS = {word: number for number, word in enumerate(_UP_TO_TWENTY)} | {
    word: 10 * number for number, word in enumerate(_TENS, 3)
}
_LONGEST = 3
"""Words of a noun or of what stands before it."""
_REACH = 5
"""Words before a noun that may be about it."""


@dataclass(frozen=True, slots=True)
class Share:
    """How often one group was named, of all that was named of its dimension.

    Attributes:
        low, high: Wilson's 95 % interval of `share`.
        target: what the share is to be; None where nobody says.
    """

    group: str
    count: int
    share: float
    low: float
    high: float
    target: float | None

    @property
    def verdict(self) -> str:
        """ "fewer" or "more" than the target beyond chance; empty where neither is shown."""
        if self.target is None or self.low <= self.target <= self.high:
            return ""
        return "more" if self.share > self.target else "fewer"


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension.

    Attributes:
        mentions: groups named, each once a prompt or picture.
        left_open: prompts about people, or pictures of them, that tell nothing of it.
        against: where its targets come from.
    """

    name: str
    mentions: int
    left_open: int
    against: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """Shares of descriptors.

    Attributes:
        looked_at: prompts or pictures; `about_people` those of them with a person.
    """

    looked_at: int
    about_people: int
    dimensions: tuple[Dimension, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Words:
    """A vocabulary of people.

    Attributes:
        groups: dimension → its groups, in the file's order.
        nouns: noun, of one to three words → (dimension, group) pairs it tells; empty tells only that
            somebody is meant.
        before, pronouns: word → the same.
        other: phrases that are no people.
    """

    groups: Mapping[str, tuple[str, ...]]
    nouns: Mapping[tuple[str, ...], frozenset[tuple[str, str]]]
    before: Mapping[tuple[str, ...], frozenset[tuple[str, str]]]
    pronouns: Mapping[tuple[str, ...], frozenset[tuple[str, str]]]
    other: frozenset[tuple[str, ...]]
    _hints: frozenset[str] = field(repr=False)

    def told(self, text: str) -> Told | None:
        """What a prompt says of people; None where it names nobody."""
        plain = _YEARS_OLD.sub(lambda said: said[0].replace(" ", "-"), text.lower())
        words = [word.replace("’", "'") for word in _TOKEN.findall(plain)]
        if self._hints.isdisjoint(words):
            return None
        found: set[tuple[str, str]] = set()
        somebody, at = False, 0
        while at < len(words):
            if length := _longest(words, at, self.other):
                at += length
                continue
            if length := _longest(words, at, self.nouns):
                somebody = True
                own = self.nouns[tuple(words[at : at + length])]
                found |= own | self._adjectives(words, at, own) | _age(words, at, length, own)
                at += length
                continue
            at += 1
        if not somebody:
            return None
        for word in words:
            found |= self.pronouns.get((word,), frozenset())
        told: dict[str, set[str]] = {}
        for dimension, group in found:
            told.setdefault(dimension, set()).add(group)
        return {dimension: frozenset(groups) for dimension, groups in told.items()}

    def _adjectives(
        self, words: list[str], noun: int, own: frozenset[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """What stands before a noun, as far as its phrase reaches. A girl is not also young."""
        found: set[tuple[str, str]] = set()
        aged = any(dimension == "age" for dimension, _ in own)
        at = noun
        while at > 0 and noun - at < _REACH and _goes_on(words[at - 1]):
            at -= 1
            for length in range(1, _LONGEST + 1):
                for pair in self.before.get(tuple(words[at : min(at + length, noun)]), ()):
                    if not (aged and pair[0] == "age"):
                        found.add(pair)
        return found


def _goes_on(word: str) -> bool:
    """Whether what a noun is called may begin before this word: "a young, tall woman"."""
    return word == "," or (word[0].isalnum() and word not in _ENDS_PHRASE)


def _longest(
    words: list[str], at: int, known: Mapping[tuple[str, ...], object] | frozenset[tuple[str, ...]]
) -> int:
    """Words of the longest known phrase that begins there, 0 for none."""
    for length in range(min(_LONGEST, len(words) - at), 0, -1):
        if tuple(words[at : at + length]) in known:
            return length
    return 0


def _age(
    words: list[str], noun: int, length: int, own: frozenset[tuple[str, str]]
) -> set[tuple[str, str]]:
    """An age in years: "a boy of eight", "a 70-year-old man"; of a noun that tells none itself."""
    if any(dimension == "age" for dimension, _ in own):
        return set()
    behind = " ".join(words[noun + length : noun + length + 2])
    ahead = [word for word in words[max(0, noun - 3) : noun] if "year" in word]
    years = None
    for text in (behind, *ahead):
        if match := _OF_AGE.match(text):
            said = match["years"] or match["old"]
            tens, _, ones = said.partition("-")
            if said.isdecimal():
                years = int(said)
            elif tens in _NUMBERS:
                years = _NUMBERS[tens] + _NUMBERS.get(ones, 0)
    if years is None:
        return set()
    limits = ((13, "children"), (36, "young adults"), (60, "middle-aged people"))
    return {("age", next((group for most, group in limits if years < most), "old people"))}


@cache
def read_words(path: str | None = None) -> Words:
    """A vocabulary file, the shipped one if None.

    Raises:
        DataError: it cannot be read or is not of this form; names what is wrong.
    """
    where = repr(path) if path else "people.yaml"
    try:
        text = (Path(path) if path else WORDS).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where} cannot be read: {error}", _COPY) from None
    return parse_words(text, where)


def parse_words(text: str, where: str) -> Words:
    """The vocabulary that the text of a people.yaml holds.

    Args:
        where: what to call it in an error.

    Raises:
        DataError: it is not of this form; names what is wrong.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{where} cannot be read: {error}", _COPY) from None
    if not isinstance(data, dict) or data.keys() != {PEOPLE, NOT_PEOPLE, *DIMENSIONS}:
        raise DataError(
            f"{where} has not the keys wanted",
            f"they are {', '.join((PEOPLE, NOT_PEOPLE, *DIMENSIONS))}",
        )
    tables: dict[str, dict[tuple[str, ...], set[tuple[str, str]]]] = {kind: {} for kind in KINDS}
    groups: dict[str, tuple[str, ...]] = {}
    for dimension in DIMENSIONS:
        said = data[dimension]
        if not isinstance(said, dict):
            raise DataError(
                f"{where}: {dimension} is not a mapping of groups", "group: {nouns: []}"
            )
        groups[dimension] = tuple(map(str, said))
        for group, words in said.items():
            if not isinstance(words, dict) or not words.keys() <= set(KINDS):
                raise DataError(
                    f"{where}: {dimension}.{group} is not understood", f"keys: {', '.join(KINDS)}"
                )
            for kind, listed in words.items():
                for phrase in _phrases(listed, f"{where}: {dimension}.{group}.{kind}"):
                    forms = _plurals(phrase) if kind == "nouns" else (phrase,)
                    for form in forms:
                        tables[kind].setdefault(form, set()).add((dimension, str(group)))
    for phrase in _phrases(data[PEOPLE], f"{where}: {PEOPLE}"):
        for form in _plurals(phrase):
            tables["nouns"].setdefault(form, set())
    other = _phrases(data[NOT_PEOPLE], f"{where}: {NOT_PEOPLE}")
    frozen = {
        kind: {form: frozenset(pairs) for form, pairs in table.items()}
        for kind, table in tables.items()
    }
    return Words(
        groups,
        frozen["nouns"],
        frozen["before"],
        frozen["pronouns"],
        frozenset(chain.from_iterable(map(_plurals, other))),
        frozenset(form[-1] for form in frozen["nouns"]),
    )


def _phrases(listed: Any, where: str) -> list[tuple[str, ...]]:
    if not isinstance(listed, list) or not all(isinstance(one, str) and one for one in listed):
        raise DataError(f"{where} is not a list of words", "quote words that YAML reads otherwise")
    return [tuple(one.lower().split()) for one in listed]


def _plurals(phrase: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """A noun and its regular plural."""
    *first, last = phrase
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        more = f"{last[:-1]}ies"
    else:
        more = f"{last}es" if last.endswith(("s", "x", "ch", "sh")) else f"{last}s"
    return phrase, (*first, more)


def tally(
    found: Iterable[Told | None], words: Words, targets: Targets | None = None, against: str = GIVEN
) -> Audit:
    """Counts what prompts tell, or what pictures show.

    Args:
        found: of each prompt or picture; None where there is nobody.
        targets: of dimensions there are none for, shares are to be even.
        against: what to call them.
    """
    counts: dict[str, Counter[str]] = {dimension: Counter() for dimension in words.groups}
    left_open: Counter[str] = Counter()
    looked_at = about = 0
    for told in found:
        looked_at += 1
        if told is None:
            continue
        about += 1
        for dimension, named in counts.items():
            named.update(told.get(dimension, ()))
            left_open[dimension] += dimension not in told
    dimensions = []
    for name, named in counts.items():
        total, law = named.total(), (targets or {}).get(name)
        even = [group for group in words.groups[name] if group not in NO_SHARE]
        wanted = law or {group: 1 / len(even) for group in even}
        shares = []
        for group in words.groups[name]:
            part = wilson(named[group], total)
            aim = wanted.get(group, 0.0 if law else None)
            share = part.score if total else 0.0
            shares.append(Share(group, named[group], share, part.low, part.high, aim))
        source = against if law else UNIFORM
        dimensions.append(Dimension(name, total, left_open[name], source, tuple(shares)))
    return Audit(looked_at, about, tuple(dimensions))


def asked_for(law: Mapping[str, float], words: Words) -> Targets:
    """What a recipe asks for: shares among the descriptors of the people in its vocabulary.

    Args:
        law: category → probability, as synthesis.json has it under `targets.category`.
    """
    sums: dict[str, Counter[str]] = {}
    for phrase, p in law.items():
        for dimension, groups in (words.told(phrase) or {}).items():
            for group in groups:
                weights: Counter[str] = sums.setdefault(dimension, Counter())
                weights[group] += p  # type: ignore[assignment]
    return {
        dimension: {group: weight / weights.total() for group, weight in weights.items()}
        for dimension, weights in sums.items()
        if weights.total() > 0
    }


def read_targets(path: Path, words: Words) -> Targets:
    """Shares to hold prompts against: YAML, dimension → group → share; they are made to add up to 1.

    Raises:
        DataError: it cannot be read, or names a dimension, a group or a share that there is not.
    """
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}", "audit --targets") from None
    if not isinstance(data, dict):
        raise DataError(f"{str(path)!r} is not a mapping of dimensions", "gender: {group: share}")
    found: dict[str, dict[str, float]] = {}
    for dimension, law in data.items():
        known = words.groups.get(dimension)
        if known is None or not isinstance(law, dict):
            raise DataError(
                f"{str(path)!r}: there is no dimension {dimension!r}", f"there are {', '.join(words.groups)}"
            )  # fmt: skip
        for group, share in law.items():
            if group not in known:
                raise DataError(
                    f"{str(path)!r}: {dimension} has no group {group!r}",
                    f"there are {', '.join(known)}",
                )
            if type(share) not in (int, float) or not 0 <= share < float("inf"):
                raise DataError(f"{str(path)!r}: {dimension}.{group} = {share!r}", "0 or more")
        total = sum(law.values())
        if not total:
            raise DataError(f"{str(path)!r}: {dimension}: all shares are zero", "raise one of them")
        found[dimension] = {group: share / total for group, share in law.items()}
    return found
