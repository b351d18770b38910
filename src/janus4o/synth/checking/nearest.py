"""What resembles what: the nearest earlier picture and the nearest earlier prompt.

Exact: everything is compared with everything before it, so that the answer depends on the order of the
rows alone.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from janus4o.synth.checking.measures import HASH_WORDS

BLOCK = 512
COLOUR = 12
"""Mean colours further apart than this (of 255, any channel) make two pictures different ones."""
RARE = 6
"""A prompt is compared with those that share one of its so many rarest pairs of words."""

Words = frozenset[tuple[str, str]]


def nearest_pictures(hashes: Sequence[tuple[str, ...]]) -> list[tuple[int, int] | None]:
    """(bits that differ, number of the earlier one) of each; None for the first or one without hash.

    Of edits source and output count together: the larger of both distances.
    """
    found: list[tuple[int, int] | None] = [None] * len(hashes)
    for length in {len(one) for one in hashes if one}:
        numbers = [n for n, one in enumerate(hashes) if len(one) == length]
        parts = [_unpack([hashes[n][place] for n in numbers]) for place in range(length)]
        for start in range(0, len(numbers), BLOCK):
            stop = min(start + BLOCK, len(numbers))
            far = np.zeros((stop - start, stop), np.uint16)
            for words, means in parts:
                np.maximum(far, _distances(words, means, start, stop), out=far)
            # A picture's own place and those behind it do not count.
            own = np.arange(stop)[None] >= np.arange(start, stop)[:, None]
            far[own] = 64 * HASH_WORDS
            best = far.argmin(1)
            for k in range(stop - start):
                if start + k:
                    found[numbers[start + k]] = int(far[k, best[k]]), numbers[int(best[k])]
    return found


def _unpack(hashes: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.int16]]:
    data = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    words = np.ascontiguousarray(data[:, : 8 * HASH_WORDS]).view(np.uint64)
    return words, data[:, 8 * HASH_WORDS :].astype(np.int16)


def _distances(
    words: NDArray[np.uint64], means: NDArray[np.int16], start: int, stop: int
) -> NDArray[np.uint16]:
    far = np.zeros((stop - start, stop), np.uint16)
    for word in words.T:
        far += np.bitwise_count(word[start:stop, None] ^ word[None, :stop])
    for channel in means.T:
        apart = np.abs(channel[start:stop, None] - channel[None, :stop]) > COLOUR
        far[apart] = 64 * HASH_WORDS
    return far


def words_of(text: str) -> Words:
    """Each word of a prompt with the one after it, without case, spelling of accents, punctuation."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(one if one.isalnum() else " " for one in plain).split()
    return frozenset(itertools.pairwise(["", *words, ""]))


class Prompts:
    """Prompts seen so far, and the one nearest to another by the share of word pairs in common."""

    def __init__(self, known: Iterable[Words]) -> None:
        """`known`: every prompt that will be looked for or added, to tell rare words from common."""
        self._common = Counter(word for words in known for word in words)
        self._by_word: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._seen: dict[Words, int] = {}
        self._words: list[Words] = []

    def add(self, words: Words) -> None:
        number = len(self._words)
        self._words.append(words)
        if words not in self._seen:
            self._seen[words] = number
            for word in self._rarest(words):
                self._by_word[word].append(number)

    def nearest(self, words: Words) -> tuple[float, int] | None:
        """(share of word pairs in common, number of the one added); None where there is nothing near."""
        if words in self._seen:
            return 1.0, self._seen[words]
        best: tuple[float, int] | None = None
        for number in {n for word in self._rarest(words) for n in self._by_word.get(word, ())}:
            other = self._words[number]
            share = len(words & other) / len(words | other)
            if best is None or (share, -number) > (best[0], -best[1]):
                best = share, number
        return best

    def _rarest(self, words: Words) -> list[tuple[str, str]]:
        known = (word for word in words if word in self._common)
        return sorted(known, key=lambda word: (self._common[word], word))[:RARE]
