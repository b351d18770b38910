"""Shares met by plan: what each slot of a data set asks for is settled before anything is asked.

A slot is a row to be (or a few that belong together). A sample that comes to nothing is replaced
by another that asks for the same, so the rows that are accepted in the end are the ones planned,
whoever refused what in between. The plan of a slot depends on the slots before it and on nothing
else: not on how many there will be, on how many run at once, or on kills.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from janus4o.recipe import TextToImage
from janus4o.synth import categories
from janus4o.synth.attributes import REPEATS, Attributes, Thing, largest_count
from janus4o.synth.taxonomy import Taxonomy, values

STUBBORN = 5
"""Samples of one slot after which also styles, lights and the like are drawn anew."""
RARE = 0.004
"""Numbers of categories less likely than this are planned as one."""
_EPSILON = 1e-9


class Quota:
    """An endless random sequence in which every value keeps to its share.

    After any number n of terms, each value has occurred more than n·share - 1 and fewer than
    n·share + 1 times. Every term is drawn at random among the values that may come now without
    making this impossible later (the feasibility test of earliest-deadline-first scheduling).

    Args:
        shares: of the values, more than 0 each; they need not add up to 1.
        seed: two sequences of different seeds have nothing to do with each other.
    """

    def __init__(self, shares: Sequence[float], seed: Sequence[int]) -> None:
        self._shares = np.asarray(shares, np.float64) / np.sum(shares)
        self._rng = np.random.default_rng(list(seed))
        self._counts = np.zeros(len(shares))
        self._terms: list[int] = []
        ahead = int(np.ceil(2 / self._shares.min())) + 1
        self._ahead = np.arange(1, ahead + 1, dtype=np.float64)

    def __getitem__(self, index: int) -> int:
        """The value of a term, as its place among the shares."""
        while len(self._terms) <= index:
            self._terms.append(self._next())
        return self._terms[index]

    def _next(self) -> int:
        if len(self._shares) == 1:
            return 0
        done = len(self._terms)
        times = done + self._ahead
        due = np.floor(np.outer(times, self._shares) + _EPSILON) - self._counts
        tight = self._ahead - 1 < np.maximum(due, 0).sum(1)
        free = self._counts < np.ceil((done + 1) * self._shares - _EPSILON)
        if tight.any():
            free &= due[int(np.argmax(tight))] >= 1
        weights = self._shares * free
        at = self._rng.random() * weights.sum()
        chosen = int(np.searchsorted(np.cumsum(weights), at, side="right"))
        self._counts[chosen] += 1
        return chosen


class Deck:
    """All of some values in random order, then all again in another, and so on."""

    def __init__(self, size: int, seed: Sequence[int]) -> None:
        self._size = size
        self._rng = np.random.default_rng(list(seed))
        self._cards: list[int] = []

    def take(self, accept: Callable[[int], bool] = lambda card: True) -> int:
        """The next value that is accepted; those passed over come next time. One must be."""
        at = 0
        while True:
            if at == len(self._cards):
                self._cards += [int(card) for card in self._rng.permutation(self._size)]
            if accept(self._cards[at]):
                return self._cards.pop(at)
            at += 1


@dataclass(frozen=True, slots=True)
class Page:
    """What a document is to be."""

    type: str
    theme: str
    font: str


class Schedule:
    """The plans of one run: prompts, pages and tasks, by slot.

    Args:
        seed: of the recipe.
    """

    def __init__(
        self,
        seed: int,
        taxonomy: Taxonomy,
        shares: TextToImage,
        max_categories: int,
        types: Mapping[str, float],
        themes: Sequence[str],
        fonts: Sequence[str],
    ) -> None:
        self._seed = seed
        self._prompts: dict[str, _Prompts] = {}
        self._make_prompts = lambda name: _Prompts(
            self._seeded(name), taxonomy, shares, max_categories
        )
        self._pages: list[Page] = []
        self._types = tuple(types)
        self._type = Quota(list(types.values()) or [1.0], self._seeded("type"))
        self._themes, self._fonts = themes, fonts
        self._theme = Deck(len(themes), self._seeded("theme"))
        self._font = Deck(len(fonts), self._seeded("font"))
        self._choices: dict[str, Quota] = {}
        self._places: dict[str, list[int]] = {}

    def _seeded(self, name: str) -> tuple[int, int]:
        return self._seed, zlib.crc32(name.encode())

    def prompt(self, name: str, slot: int, tries: int, rng: np.random.Generator) -> Attributes:
        """What the prompt of a slot asks for.

        Args:
            name: of the sequence; prompts of one name share their plan.
            tries: samples of this slot that came to nothing. Their replacements ask for the same
                with other objects, later also with another background, style and so on.
            rng: of the sample.
        """
        if name not in self._prompts:
            self._prompts[name] = self._make_prompts(name)
        return self._prompts[name].plan(slot, tries, rng)

    def page(self, slot: int, tries: int, rng: np.random.Generator) -> Page:
        """What the document of a slot is to be; a replacement keeps the type alone."""
        while len(self._pages) <= slot:
            kind = self._types[self._type[len(self._pages)]] if self._types else ""
            theme, font = self._themes[self._theme.take()], self._fonts[self._font.take()]
            self._pages.append(Page(kind, theme, font))
        page = self._pages[slot]
        if tries:
            theme, font = (words[rng.integers(len(words))] for words in (self._themes, self._fonts))
            page = Page(page.type, theme, font)
        return page

    def choice(self, name: str, shares: Mapping[str, float], index: int) -> str:
        """A value by its share, at a place of the sequence of this name."""
        if name not in self._choices:
            self._choices[name] = Quota(list(shares.values()), self._seeded(name))
        return tuple(shares)[self._choices[name][index]]

    def rank(self, name: str, slot: int, belongs: Callable[[int], bool]) -> int:
        """How many slots before this one belong to something, such as a task; `belongs` says so."""
        counts = self._places.setdefault(name, [0])
        while len(counts) <= slot:
            counts.append(counts[-1] + belongs(len(counts) - 1))
        return counts[slot]


class _Prompts:
    """Plans of prompts. What only some prompts have, such as a relation, keeps to its share among
    those: it has a sequence of its own that only they advance.
    """

    def __init__(
        self, seed: tuple[int, int], taxonomy: Taxonomy, shares: TextToImage, max_categories: int
    ) -> None:
        self._seed = seed
        self._taxonomy, self._shares = taxonomy, shares
        self._names = values(taxonomy.objects)
        self._largest = largest_count(taxonomy, max_categories)
        law = categories.probabilities(shares.category_decay, self._largest)
        self._common = max(1, int((law >= RARE).sum()))
        common = [float(p) for p in law[: self._common]]
        rest = float(law[self._common :].sum())
        self._many = Quota([*common, rest] if rest > _EPSILON else common, (*seed, 0))
        self._deck = Deck(len(self._names), (*seed, 1))
        self._colours = Deck(max(1, len(taxonomy.colours)), (*seed, 2))
        self._repeats = Deck(len(REPEATS), (*seed, 3))
        self._asked: dict[str, tuple[Quota, int]] = {}
        self._plans: list[Attributes] = []

    def plan(self, slot: int, tries: int, rng: np.random.Generator) -> Attributes:
        while len(self._plans) <= slot:
            self._plans.append(self._next())
        planned = self._plans[slot]
        return self._again(planned, tries, rng) if tries else planned

    def _turn(self, name: str, shares: Sequence[float]) -> int:
        """The next term of the sequence of this name."""
        kept = [share for share in shares if share > _EPSILON]
        quota, at = self._asked.get(name) or (
            Quota(kept, (*self._seed, zlib.crc32(name.encode()))), 0,
        )  # fmt: skip
        self._asked[name] = (quota, at + 1)
        return [i for i, share in enumerate(shares) if share > _EPSILON][quota[at]]

    def _maybe(self, name: str, share: float, choices: Sequence[str]) -> str | None:
        if not choices:
            return None
        at = self._turn(name, [1 - share, *[share / len(choices)] * len(choices)])
        return choices[at - 1] if at else None

    def _next(self) -> Attributes:
        taxonomy, shares = self._taxonomy, self._shares
        k = self._many[len(self._plans)] + 1
        if k > self._common:  # one of the rare numbers
            rng = np.random.default_rng([*self._seed, 4, len(self._plans)])
            while k <= self._common or k > self._largest:
                k = self._common + categories.draw(rng, shares.category_decay)
        repeated = k == 1 and self._turn("repeated", [1 - shares.repeated, shares.repeated])
        count = REPEATS[self._repeats.take()] if repeated else 1
        taken: list[int] = []
        for _ in range(k):
            taken.append(
                self._deck.take(
                    lambda card: card not in taken
                    and (count == 1 or self._names[card] not in taxonomy.people)
                )
            )
        return Attributes(
            tuple(
                Thing(self._names[card], count, colour)
                for card, colour in zip(taken, self._coloured(taken), strict=True)
            ),
            background=self._maybe("background", shares.background, values(taxonomy.background)),
            style=self._maybe("style", shares.background, values(taxonomy.style)),
            lighting=self._maybe("lighting", shares.background, values(taxonomy.lighting)),
            camera=self._maybe("camera", shares.background, values(taxonomy.camera)),
            composition=(
                self._maybe("composition", shares.composition, values(taxonomy.composition))
                if k == 2
                else None
            ),
            layout=self._maybe("layout", shares.background, values(taxonomy.layout)),
        )

    def _coloured(self, cards: list[int]) -> list[str | None]:
        """Colours of the objects of one prompt; people have none."""
        share, colours = self._shares.colour, self._taxonomy.colours
        if len(cards) == 2:  # whether both have one is a share of its own
            at = self._turn("two", [(1 - share) ** 2, *[share * (1 - share)] * 2, share**2])
            asked = [bool(at & 1), bool(at & 2)]
        else:
            asked = [
                bool(self._turn(f"colour {len(cards) == 1} {n}", [1 - share, share]))
                for n in range(len(cards))
            ]
        return [
            colours[self._colours.take()]
            if want and colours and self._names[card] not in self._taxonomy.people
            else None
            for card, want in zip(cards, asked, strict=True)
        ]

    def _again(self, planned: Attributes, tries: int, rng: np.random.Generator) -> Attributes:
        """The same with other objects, in other colours where they have one."""
        taxonomy = self._taxonomy
        free = [name for name in self._names if name not in taxonomy.people]
        things: list[Thing] = []
        for thing in planned.objects:
            plain = thing.count == 1 and thing.colour is None
            pool = [n for n in (self._names if plain else free) if n not in {t.category for t in things}]
            name = pool[rng.integers(len(pool))] if pool else thing.category
            colour = thing.colour and taxonomy.colours[rng.integers(len(taxonomy.colours))]
            things.append(Thing(name, thing.count, colour))
        planned = replace(planned, objects=tuple(things))
        if tries <= STUBBORN:
            return planned

        def other(value: str | None, choices: Sequence[str]) -> str | None:
            return value and choices[rng.integers(len(choices))]

        return replace(
            planned,
            background=other(planned.background, values(taxonomy.background)),
            style=other(planned.style, values(taxonomy.style)),
            lighting=other(planned.lighting, values(taxonomy.lighting)),
            camera=other(planned.camera, values(taxonomy.camera)),
            composition=other(planned.composition, values(taxonomy.composition)),
            layout=other(planned.layout, values(taxonomy.layout)),
        )
