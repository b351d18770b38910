"""What resembles what: the nearest earlier picture and the nearest earlier prompt.

Whatever is near enough to fail is found, whoever stands where: the answer depends on the order of the rows
alone. What is too far off to matter is not told apart.
"""

from __future__ import annotations

import itertools
import math
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from janus4o.synth.checking.measures import HASH_WORDS

BLOCK = 256
COLOUR = 12
"""Mean colours further apart than this (of 255, any channel) make two pictures different ones."""
FAR = 48
"""Bits from which on pictures are not told apart any further; a limit above it moves it."""
FIRST_WORDS = 2
"""Words of a hash by which most pairs are known to be far apart."""
ALIKE = 0.8
"""Share of word pairs below which prompts are not looked for; a limit below it moves it."""

Words = NDArray[np.uint64]
"""Hashes of the pairs of words of a prompt, sorted, each once."""


def nearest_pictures(
    hashes: Sequence[tuple[str, ...]],
    far: int = FAR,
    progress: Callable[[int], None] = lambda done: None,
) -> list[tuple[int, int] | None]:
    """(bits that differ, number of the earlier one) of each; None for the first or one without hash.

    Of edits source and output count together: the larger of both distances. `far` stands for all
    distances from there on, and then the number says nothing. `progress` is told how many are compared.
    """
    found: list[tuple[int, int] | None] = [None] * len(hashes)
    first: dict[tuple[str, ...], int] = {}
    for number, one in enumerate(hashes):
        if one and (twin := first.setdefault(one, number)) != number:
            found[number] = 0, twin
    done = len(hashes) - len(first)
    progress(done)
    for length in {len(one) for one in first}:
        numbers = [number for one, number in first.items() if len(one) == length]
        parts = [_unpack([hashes[n][place] for n in numbers]) for place in range(length)]
        for block in _nearest_of(parts, far):
            for k, bits, other in block:
                if k:
                    found[numbers[k]] = bits, numbers[other]
            progress(done := done + len(block))
    return found


_Part = tuple[NDArray[np.uint64], NDArray[np.int16]]
"""Of one picture of each row: words of its hash, mean colours."""


def _unpack(hashes: list[str]) -> _Part:
    data = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    words = np.ascontiguousarray(data[:, : 8 * HASH_WORDS]).view(np.uint64)
    return words, data[:, 8 * HASH_WORDS :].astype(np.int16)


def _nearest_of(parts: list[_Part], far: int) -> Iterator[list[tuple[int, int, int]]]:
    """(row, bits, earlier row) for all rows, a block at a time; the first has none before it, and its numbers say nothing.

    Rows are taken in the order of a mean colour, a block at a time, so that each block is compared with
    those of about its colour only.
    """
    colours = np.concatenate([means for _, means in parts], 1)
    shade = colours[:, int(colours.std(0).argmax())]
    order = np.argsort(shade, kind="stable")
    sorted_shade = shade[order]

    def block(start: int) -> list[tuple[int, int, int]]:
        rows = order[start : start + BLOCK]
        low = np.searchsorted(sorted_shade, sorted_shade[start] - COLOUR, "left")
        last = sorted_shade[min(start + BLOCK, len(order)) - 1]
        high = np.searchsorted(sorted_shade, last + COLOUR, "right")
        others = np.sort(order[low:high])
        others = others[: np.searchsorted(others, rows.max())]
        best = np.full(len(rows), far << 32, np.int64)
        for first in range(0, len(others), 16 * BLOCK):  # a few megabytes at a time
            _improve(best, parts, rows, others[first : first + 16 * BLOCK], far)
        bits, earlier = (best >> 32).tolist(), (best & 0xFFFFFFFF).tolist()
        return list(zip(rows.tolist(), bits, earlier, strict=True))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(block, range(0, len(order), BLOCK))


def _improve(
    best: NDArray[np.int64],
    parts: list[_Part],
    rows: NDArray[np.intp],
    others: NDArray[np.intp],
    far: int,
) -> None:
    """Lowers what is nearer among some others: bits << 32 | number, so that of equals the first wins."""
    words, _ = parts[0]
    bits = np.zeros((len(rows), len(others)), np.uint16)
    for word in range(FIRST_WORDS):
        bits += np.bitwise_count(words[rows, word][:, None] ^ words[others, word][None])
    at, to = np.nonzero((bits < far) & (others[None] < rows[:, None]))
    mine, their = rows[at], others[to]
    total = np.zeros(len(at), np.int64)
    for words, means in parts:
        apart = (np.abs(means[mine] - means[their]) > COLOUR).any(1)
        distance = np.bitwise_count(words[mine] ^ words[their]).sum(1, dtype=np.int64)
        total = np.maximum(total, np.where(apart, 64 * HASH_WORDS, distance))
    near = total < far
    np.minimum.at(best, at[near], total[near] << 32 | their[near])


def words_of(text: str) -> Words:
    """Each word of a prompt with the one after it, without case, spelling of accents, punctuation."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(one if one.isalnum() else " " for one in plain).split()
    ids = np.array([_id(word) for word in ("", *words, "")], np.uint64)
    return np.unique(ids[:-1] * np.uint64(0x9E3779B97F4A7C15) ^ ids[1:])


@lru_cache(maxsize=100_000)
def _id(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest())


class Prompts:
    """Some prompts, to be asked which of them is nearest by the share of word pairs in common.

    Two sets that share `least` of their union have one in common among the rarest of either, however
    these are chosen, if enough are taken: those are looked up, and no others are compared.

    Args:
        prompts: each is known by its number here.
        least: shares below it are not looked for.
    """

    def __init__(self, prompts: Sequence[Words], least: float = ALIKE) -> None:
        self._least = least
        everything = np.concatenate([*prompts, np.empty(0, np.uint64)])
        self._known, counts = np.unique(everything, return_counts=True)
        # Rarest first, of equals any, but always the same.
        self._rank = np.empty(len(counts), np.int32)
        self._rank[np.argsort(counts, kind="stable")] = np.arange(len(counts), dtype=np.int32)
        self._sets = [self._ranks(words) for words in prompts]
        self._sizes = np.array([len(words) for words in prompts], np.int32)
        self._whole: dict[bytes, list[int]] = {}
        self._by_word: dict[int, list[int]] = {}
        for number, words in enumerate(prompts):
            twins = self._whole.setdefault(words.tobytes(), [])
            twins.append(number)
            if len(twins) == 1:
                for rank in self._sets[number][: self._prefix(len(words))].tolist():
                    self._by_word.setdefault(rank, []).append(number)
        self._marks = np.zeros(len(counts), bool)

    def nearest(self, words: Words, before: int | None = None) -> tuple[float, int] | None:
        """(share of word pairs in common, number of the prompt); None where nothing is near.

        Args:
            before: only prompts of smaller numbers count.
        """
        end = len(self._sizes) if before is None else before
        twins = self._whole.get(words.tobytes())
        if twins and twins[0] < end:
            return 1.0, twins[0]
        ranks = self._ranks(words)
        size = len(words)
        # Unknown words are the rarest of all and bring nobody.
        prefix = max(0, self._prefix(size) - (size - len(ranks)))
        lists = [self._by_word[r] for r in ranks[:prefix].tolist() if r in self._by_word]
        if not lists:
            return None
        found = np.unique(np.fromiter(itertools.chain.from_iterable(lists), np.int64))
        sizes = self._sizes[found]
        fits = (found < end) & (sizes >= self._least * size) & (sizes * self._least <= size)
        found, sizes = found[fits], sizes[fits]
        if not len(found):
            return None
        self._marks[ranks] = True
        flat = np.concatenate([self._sets[number] for number in found.tolist()])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        common = np.add.reduceat(self._marks[flat].astype(np.int32), starts)
        self._marks[ranks] = False
        shares = common / (size + sizes - common)
        best = int(shares.argmax())
        return (float(shares[best]), int(found[best])) if shares[best] >= self._least else None

    def _ranks(self, words: Words) -> NDArray[np.int32]:
        """The known ones of some pairs, rarest first."""
        if not len(self._known):
            return np.empty(0, np.int32)
        at = np.minimum(np.searchsorted(self._known, words), len(self._known) - 1)
        return np.sort(self._rank[at[self._known[at] == words]])

    def _prefix(self, size: int) -> int:
        """How many of the rarest must be looked up."""
        return size - math.ceil(self._least * size - 1e-9) + 1 if size else 0
