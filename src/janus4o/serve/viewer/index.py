"""Which entries a reader asks for, found among a hundred thousand in milliseconds.

An index in memory, made of an album once. Pages go by key: "the 24 after key 4711" costs the same
anywhere, and shows the same entries whatever was asked for before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from janus4o.errors import BadInput
from janus4o.serve.viewer.album import Album

PAGE = 24
"""Entries of a page."""
LONGEST = 200
"""Characters somebody may look for."""
OFFERED = 200
"""Values of a filter that are offered, the most frequent; the others can be asked for all the same."""
BETWEEN = "\0"
"""Parts the texts of two entries; nobody finds what holds it."""
PASSED, FAILED = "passed", "failed"
"""Values of the filter `check`; every other is the name of a check that said no."""

Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Query:
    """What a reader asks for; empty words ask for everything.

    Attributes:
        reason: how a sample came to nothing, "refused: moderation".
        check: `PASSED`, `FAILED`, or a check that said no.
        words: text that the prompt, the reason or the id holds.
        after, before: the key the page follows or comes before; -1 `before` is the end of all.
    """

    kind: str = ""
    pipeline: str = ""
    task: str = ""
    state: str = ""
    reason: str = ""
    check: str = ""
    words: str = ""
    after: int | None = None
    before: int | None = None

    def link(self, **changes: int | None) -> str:
        """The part of an address after "?" that asks for this, with other keys."""
        other = replace(self, after=None, before=None)
        other = replace(other, after=changes.get("after"), before=changes.get("before"))
        said = {one.name: getattr(other, one.name) for one in fields(other)}
        return urlencode({k: v for k, v in said.items() if v not in ("", None)}, errors="replace")


def parse(said: Mapping[str, str]) -> Query:
    """Reads the part of an address after "?"; raises BadInput where it asks for no such thing."""
    texts = {name: said.get(name, "") for name in (*FILTERS, "check", "words")}
    texts["words"] = texts["words"].strip()
    if len(texts["words"]) > LONGEST:
        raise BadInput(f"at most {LONGEST} characters can be looked for")
    keys: dict[str, int] = {}
    for name in ("after", "before"):
        if text := said.get(name, ""):
            if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdecimal()):
                raise BadInput(f"{name} is not a key")
            keys[name] = max(-1, min(int(text[:12]), 2**31))
    return Query(**texts, **keys)  # type: ignore[arg-type]


FILTERS = ("kind", "pipeline", "task", "state", "reason")


@dataclass(frozen=True, slots=True)
class Page:
    """One page: the keys shown, how many entries there are of the kind asked for, and which place
    the first has among them, from 1; whether there are entries before and behind.
    """

    keys: list[int]
    total: int
    first: int
    has_before: bool
    has_after: bool


@dataclass(slots=True)
class _Column:
    values: dict[str, int] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)

    def add(self, value: str) -> None:
        self.codes.append(self.values.setdefault(value, len(self.values)))


class Index:
    """What is asked for by `Query`, by key.

    Attributes:
        digest: of the data set it was made of.
        choices: filter → value → entries, what is offered to choose from.
    """

    def __init__(self, album: Album) -> None:
        columns = {name: _Column() for name in FILTERS}
        self.digest = album.rows.digest
        texts: list[str] = []
        failed: dict[str, list[int]] = {}
        checked = np.zeros(len(album), bool)
        for key in range(len(album)):
            entry = album[key]
            reason = f"{entry.state}: {entry.reason.partition(':')[0]}" if entry.reason else ""
            for name, column in columns.items():
                column.add(reason if name == "reason" else getattr(entry, name))
            texts.append(
                f"{entry.id}\n{entry.prompt}\n{entry.reason}".casefold().replace(BETWEEN, " ")
            )
            checked[key] = entry.findings is not None
            for check in entry.failed:
                failed.setdefault(check, []).append(key)
        # One text of all of them is searched ten times as fast as each.
        self._text = BETWEEN.join(texts)
        self._starts = np.cumsum([0, *(len(text) + 1 for text in texts)])[:-1].tolist()
        self._values = {name: column.values for name, column in columns.items()}
        self._codes: dict[str, Codes] = {
            name: np.array(column.codes, np.int32) for name, column in columns.items()
        }
        self._failed = {check: _mask(keys, len(album)) for check, keys in sorted(failed.items())}
        any_failed = np.zeros(len(album), bool)
        for mask in self._failed.values():
            any_failed |= mask
        self._verdicts = (
            {PASSED: checked & ~any_failed, FAILED: any_failed} if checked.any() else {}
        )
        self.choices = {name: _offered(column) for name, column in columns.items()}
        verdicts = {**self._verdicts, **self._failed}
        self.choices["check"] = {name: int(mask.sum()) for name, mask in verdicts.items()}

    def page(self, query: Query) -> Page:
        """Raises BadInput for a value that no entry has."""
        keys = self._select(query)
        if query.before is not None:
            end = len(keys) if query.before < 0 else int(np.searchsorted(keys, query.before))
            start = max(0, end - PAGE)
        else:
            after = -1 if query.after is None else query.after
            start = int(np.searchsorted(keys, after, side="right"))
            end = start + PAGE
        shown = keys[start:end]
        return Page(
            [int(key) for key in shown],
            len(keys),
            start + 1 if len(shown) else 0,
            start > 0,
            start + len(shown) < len(keys),
        )

    def _select(self, query: Query) -> NDArray[np.intp]:
        """Keys of what is asked for, ascending."""
        wanted = np.ones(len(self._starts), bool)
        for name in FILTERS:
            if value := getattr(query, name):
                if value not in self._values[name]:
                    raise BadInput(f"no row has the {name} {value!r}")
                wanted &= self._codes[name] == self._values[name][value]
        if query.check:
            mask = self._verdicts.get(query.check, self._failed.get(query.check))
            if mask is None:
                raise BadInput(f"no row has the verdict {query.check!r}")
            wanted &= mask
        if query.words:
            wanted &= _mask(self._holding(query.words.casefold()), len(wanted))
        return np.flatnonzero(wanted)

    def _holding(self, words: str) -> list[int]:
        """Keys of the entries whose text holds the words."""
        text, starts, keys = self._text, self._starts, []
        found = -1 if BETWEEN in words else text.find(words)
        while found >= 0:
            key = bisect_right(starts, found) - 1
            keys.append(key)
            found = text.find(words, starts[key + 1]) if key + 1 < len(starts) else -1
        return keys


def _offered(column: _Column) -> dict[str, int]:
    """Value → entries, in the order of the data set."""
    counts = Counter(column.codes)
    often = {code for code, _ in counts.most_common(OFFERED)}
    return {v: counts[code] for v, code in column.values.items() if v and code in often}


def _mask(keys: list[int], length: int) -> NDArray[np.bool_]:
    mask = np.zeros(length, bool)
    mask[keys] = True
    return mask
