"""Shares met by plan: what each row is to be is settled before anything is asked.

A slot is a row to be. A sample that comes to nothing is replaced by another of the same slot, which
asks for the same, so the rows accepted in the end are the ones planned, whoever refused what in
between. What a slot asks for depends on the recipe and on the slots before it: not on how many
there will be, on how many are made at once, or on kills.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from janus4o.recipe import Editing, TextToImage
from janus4o.synth import categories, conditions
from janus4o.synth.attributes import REPEATS, Attributes, Thing, largest_count
from janus4o.synth.sample import TURNS, Pipeline, Sample
from janus4o.synth.taxonomy import Taxonomy, values

SAME = 2
"""Samples of one slot that ask for the very same; those after them name other objects."""
STUBBORN = 6
"""Samples of one slot after which also styles, lights and the like are drawn anew."""
RARE = 0.004
"""Numbers of categories less likely than this are planned as one."""
AHEAD = 2048
"""Terms a quota looks ahead at most."""
PLAIN = ("background", "style", "lighting", "camera", "layout")
"""Dimensions that are asked for or left open on their own."""
COLOURED = "coloured"
EPSILON = 1e-9

T = TypeVar("T")
Allow = Callable[[Attributes], bool]
Draw = Callable[[Callable[[str], bool]], str | None]
"""Gives a value that is accepted, or None where there is none."""


class Quota(Generic[T]):
    """An endless random sequence in which every value keeps to its share.

    After any number n of terms, each value has occurred more than n·share - 1 and fewer than
    n·share + 1 times. Every term is drawn at random among the values that may come now without
    making this impossible later: the feasibility test of earliest-deadline-first scheduling, where
    the j-th occurrence of a value is due once n·share has reached j.

    Args:
        shares: value → share; they need not add up to 1, and those of 0 never come.
    """

    def __init__(self, shares: Mapping[T, float], rng: np.random.Generator) -> None:
        self._values = tuple(value for value, share in shares.items() if share > EPSILON)
        kept = np.array([shares[value] for value in self._values], np.float64)
        self._shares = kept / kept.sum()
        self._rng = rng
        self._counts = np.zeros(len(kept))
        self._done = 0
        ahead = min(AHEAD, int(np.ceil(2 / self._shares.min())) + 1)
        self._ahead = np.arange(1, ahead + 1, dtype=np.float64)

    def take(self) -> T:
        """The next term."""
        if len(self._values) == 1:
            return self._values[0]
        due = np.outer(self._done + self._ahead, self._shares)
        due = np.floor(due + EPSILON) - self._counts
        full = self._ahead <= np.maximum(due, 0).sum(1)  # every term until then is spoken for
        free = self._counts < np.ceil((self._done + 1) * self._shares - EPSILON)
        if full.any():
            free &= due[int(np.argmax(full))] >= 1
        weights = np.cumsum(self._shares * free)
        chosen = int(np.searchsorted(weights, self._rng.random() * weights[-1], side="right"))
        self._counts[chosen] += 1
        self._done += 1
        return self._values[chosen]


class Deck(Generic[T]):
    """All of some values in random order, then all again in another, and so on."""

    def __init__(self, cards: Sequence[T], rng: np.random.Generator) -> None:
        self._all, self._rng = cards, rng
        self._cards: list[T] = []

    def take(self, accept: Callable[[T], bool] = lambda card: True) -> T | None:
        """The next value that is accepted; those passed over come next time. None suits: None."""
        at, end = 0, len(self._cards) + 2 * len(self._all)
        while at < end:
            if at == len(self._cards):
                self._cards += [self._all[i] for i in self._rng.permutation(len(self._all))]
            if accept(self._cards[at]):
                card = self._cards.pop(at)
                # Values that never suit would pile up for ever.
                del self._cards[: max(0, len(self._cards) - 4 * len(self._all))]
                return card
            at += 1
        return None


@dataclass(frozen=True, slots=True)
class Shape:
    """How a prompt is built, before anything is named.

    Attributes:
        number: of distinct categories; 0 stands for one of the rare numbers.
        count: of the lone category.
        coloured: of each category, whether its colour is asked for; of three and more that is settled
            last.
        related: where one stands is asked for.
    """

    number: int
    count: int = 1
    coloured: tuple[bool, ...] = ()
    related: bool = False


class Shapes:
    """An endless sequence of shapes in which everything that is counted of them keeps to its share:
    kinds, numbers of categories, numbers of objects, colours, relations, and shapes themselves.

    The next one is always that which leaves the least squared difference to the law, all of these
    counted together; a little chance decides between those that are about as good.
    """

    NOISE = 0.1

    def __init__(
        self, shares: TextToImage, largest: int, related: float, rng: np.random.Generator
    ) -> None:
        law = [float(p) for p in categories.probabilities(shares.category_decay, largest)]
        self._rng, self._colour, cells = rng, shares.colour, list[tuple[Shape, float]]()
        colour = ((False, 1 - shares.colour), (True, shares.colour))
        repeats = (
            (1, 1 - shares.repeated),
            *((n, shares.repeated / len(REPEATS)) for n in REPEATS),
        )
        cells += [
            (Shape(1, n, (asked,)), law[0] * p * q) for n, p in repeats for asked, q in colour
        ]
        if largest > 1:
            cells += [
                (Shape(2, 1, (one, two), stands), law[1] * p * q * r)
                for one, p in colour
                for two, q in colour
                for stands, r in ((False, 1 - related), (True, related))
            ]
        common = [k for k in range(3, largest + 1) if law[k - 1] >= RARE]
        cells += [(Shape(k), law[k - 1]) for k in common]
        rare = np.arange(common[-1] + 1 if common else 3, largest + 1)
        cells.append((Shape(0), sum(law[k - 1] for k in rare)))
        self._rare = {int(k): law[k - 1] for k in rare}
        cells = [(shape, p) for shape, p in cells if p > EPSILON]
        self._shapes = tuple(shape for shape, _ in cells)
        counted = [_counted(shape, shares.colour) for shape in self._shapes]
        names = sorted({name for one in counted for name in one})
        # float64 [shapes, things counted]
        self._table = np.array([[float(one.get(name, 0)) for name in names] for one in counted])
        self._colours = names.index(COLOURED)
        self._squares = (self._table**2).sum(1)
        self._law = np.array([p for _, p in cells]) @ self._table
        self._ahead = np.zeros(len(names))

    def take(self) -> Shape:
        """The next one."""
        self._ahead -= self._law
        scores = self._squares + 2 * self._table @ self._ahead
        scores += self._rng.random(len(scores)) * self.NOISE
        chosen = int(np.argmin(scores))
        self._ahead += self._table[chosen]
        shape = self._shapes[chosen]
        if shape.coloured:
            return shape
        odds = np.array(list(self._rare.values()))
        number = shape.number or int(self._rng.choice(list(self._rare), p=odds / odds.sum()))
        return Shape(number, coloured=tuple(self._asks_colour() for _ in range(number)))

    def _asks_colour(self) -> bool:
        """Of one more category, so that the share is kept."""
        ahead = self._ahead[self._colours] - self._colour
        asked = bool(self._rng.random() < -ahead)
        self._ahead[self._colours] = ahead + asked
        return asked


def _counted(shape: Shape, colour: float) -> dict[str, float]:
    """What one prompt of this shape adds to; colours count by how far they are from their share."""
    things = tuple(Thing("", shape.count, "" if asked else None) for asked in shape.coloured)
    coloured = sum(thing.colour is not None for thing in things)
    counted: dict[str, float] = {
        repr(shape): 0.3,
        f"number {shape.number}": 1,
        f"objects {max(shape.number, shape.count)}": 1,
        COLOURED: coloured - colour * len(things),
        "related": shape.related,
    }
    if things:
        kind = Attributes(
            tuple(replace(thing, colour="x" if thing.colour == "" else None) for thing in things),
            composition="x" if shape.related else None,
        ).kind
    else:
        kind = "many_objects"
    return {**counted, f"kind {kind}": 1}


class Plans:
    """Plans of prompts, slot by slot.

    People have no colour and come one at a time, so they stand where neither is asked for.

    Args:
        allow: whether a prompt, or a part of one, may be asked for.
    """

    def __init__(
        self,
        taxonomy: Taxonomy,
        shares: TextToImage,
        max_categories: int,
        allow: Allow,
        rng: np.random.Generator,
    ) -> None:
        self._taxonomy, self._allow = taxonomy, allow
        relations = values(taxonomy.composition)
        largest = largest_count(taxonomy, max_categories)
        related = shares.composition if relations else 0.0
        self._shapes = Shapes(shares, largest, related, rng)
        self._objects = Deck(values(taxonomy.objects), rng)
        self._colours = Deck(taxonomy.colours, rng)
        self._relation = Deck(relations, rng)
        asked = {True: shares.background, False: 1 - shares.background}
        self._plain = {
            name: (Quota(asked, rng), Deck(choices, rng))
            for name in PLAIN
            if (choices := values(getattr(taxonomy, name)))
        }
        self._planned: list[Attributes] = []

    def plan(self, slot: int, attempt: int, rng: np.random.Generator) -> Attributes:
        """What a sample asks for.

        Args:
            attempt: samples of this slot that came to nothing before.
            rng: of the sample.
        """
        while len(self._planned) <= slot:
            self._planned.append(self._next())
        planned = self._planned[slot]
        if attempt < SAME:
            return planned
        objects, colours = (
            Deck(values(self._taxonomy.objects), rng),
            Deck(self._taxonomy.colours, rng),
        )
        planned = replace(
            planned,
            objects=self._things(
                [thing.count for thing in planned.objects],
                [thing.colour is not None for thing in planned.objects],
                objects.take,
                colours.take,
            ),
        )
        if attempt < STUBBORN:
            return planned

        def other(name: str) -> str | None:
            leaves = values(getattr(self._taxonomy, name))
            return getattr(planned, name) and Deck(leaves, rng).take()

        return Attributes(
            planned.objects,
            composition=other("composition"),
            **{name: other(name) for name in PLAIN},
        )

    def _next(self) -> Attributes:
        shape = self._shapes.take()
        counts = [shape.count] * shape.number
        things = self._things(counts, shape.coloured, self._objects.take, self._colours.take)
        plain = {
            name: deck.take() if asked.take() else None
            for name, (asked, deck) in self._plain.items()
        }
        relation = self._relation.take() if shape.related else None
        return Attributes(things, composition=relation, **plain)

    def _things(
        self, counts: Sequence[int], coloured: Sequence[bool], objects: Draw, colours: Draw
    ) -> tuple[Thing, ...]:
        """Objects, then their colours, that may be asked for together; where there are none, any
        that differ, which the check before the first call then rejects.
        """
        people, things = self._taxonomy.people, list[Thing]()

        def is_new(name: str) -> bool:
            return all(name != thing.category for thing in things)

        for count, asked in zip(counts, coloured, strict=True):

            def suits(name: str, count: int = count, plain: bool = not asked) -> bool:
                may = name not in people or (plain and count == 1)
                return (
                    may and is_new(name) and self._allow(Attributes((*things, Thing(name, count))))
                )

            things.append(Thing(objects(suits) or objects(is_new) or "", count))
        for at, asked in enumerate(coloured):
            if not asked or things[at].category in people:
                continue

            def fits(colour: str, at: int = at) -> bool:
                tried = (*things[:at], replace(things[at], colour=colour), *things[at + 1 :])
                return self._allow(Attributes(tried))

            colour = colours(fits) or colours(lambda colour: True)
            things[at] = replace(things[at], colour=colour)
        return tuple(things)


@dataclass(frozen=True, slots=True)
class Page:
    """What a document is to be."""

    type: str
    theme: str
    font: str


@dataclass(frozen=True, slots=True)
class Task:
    """What an edit is to be; `condition` is the kind of picture it starts from, "" for a plain one."""

    name: str
    two_sources: bool
    condition: str


class Schedule:
    """The plans of one run: prompts, pages and edits, by the number of their sample.

    Args:
        seed: of the recipe.
        types: share of each type of document.
        tasks: share of each editing task.
        attempts: samples a slot has; the slot of sample i is i // attempts.
        tools: whether edits of structured generation start from pictures that tools make.
    """

    def __init__(
        self,
        seed: int,
        attempts: int,
        prompts: Callable[[np.random.Generator], Plans],
        types: Mapping[str, float],
        themes: Sequence[str],
        fonts: Sequence[str],
        tasks: Mapping[str, float],
        editing: Editing,
        tools: bool,
    ) -> None:
        def rng(name: str) -> np.random.Generator:
            return np.random.default_rng([seed, zlib.crc32(name.encode())])

        self._attempts = attempts
        self._prompts = prompts(rng("prompts"))
        self._types, self._pages = Quota(types or {"": 1.0}, rng("types")), list[Page]()
        self._themes, self._fonts = themes, fonts
        self._theme, self._font = Deck(themes, rng("themes")), Deck(fonts, rng("fonts"))
        self._tasks = {
            turn: Quota(tasks or {"": 1.0}, rng("tasks" if turn is Pipeline.EDITING else turn))
            for turn in TURNS
        }
        self._edits: dict[Pipeline, list[Task]] = {turn: [] for turn in TURNS}
        two = {True: editing.two_sources, False: 1 - editing.two_sources}
        self._two = {turn: Quota(two, rng(f"two sources {turn}")) for turn in TURNS}
        self._conditions = {
            task: Quota(conditions.choices(task, editing.conditions), rng(task))
            for task in conditions.KINDS
            if tools and task in tasks
        }

    def _slot(self, sample: Sample) -> tuple[int, int]:
        """Slot and number of the attempt."""
        return divmod(sample.index, self._attempts)

    def turn(self, sample: Sample) -> int:
        """Which of the pictures that are edited is next: another one for each attempt."""
        return sum(self._slot(sample))

    def asked(self, sample: Sample) -> str:
        """What the slot of a sample is to be, in a word."""
        match sample.pipeline:
            case Pipeline.PROMPT_FIRST:
                return self.prompt(sample).kind
            case Pipeline.DOCUMENT:
                return self.page(sample).type
            case _:
                return self.edit(sample).name

    def prompt(self, sample: Sample) -> Attributes:
        return self._prompts.plan(*self._slot(sample), sample.rng("attributes"))

    def page(self, sample: Sample) -> Page:
        """A replacement keeps the type; from the third on it is about something else."""
        slot, attempt = self._slot(sample)
        while len(self._pages) <= slot:
            theme, font = self._theme.take() or "", self._font.take() or ""
            self._pages.append(Page(self._types.take(), theme, font))
        page = self._pages[slot]
        if attempt < SAME:
            return page
        rng = sample.rng("document")
        theme, font = Deck(self._themes, rng).take() or "", Deck(self._fonts, rng).take() or ""
        return replace(page, theme=theme, font=font)

    def edit(self, sample: Sample) -> Task:
        slot, _ = self._slot(sample)
        edits = self._edits[sample.pipeline]
        while len(edits) <= slot:
            name = self._tasks[sample.pipeline].take()
            if name in self._conditions:
                edits.append(Task(name, False, self._conditions[name].take()))
            else:
                edits.append(Task(name, self._two[sample.pipeline].take(), ""))
        return edits[slot]
