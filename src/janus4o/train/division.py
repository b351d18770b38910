"""Which rows of an optimiser step are computed together, and by which process.

Rows of a micro-batch are either filled up to the longest of them, so they are of one kind and of
neighbouring lengths, or packed: laid end to end up to a number of positions. Processes get equally many
micro-batches of nearly equal cost, or the fast ones would wait for the slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from janus4o.train.batch import Kind


@dataclass(frozen=True, slots=True)
class Size:
    """What a row costs: its kind, and the positions it takes."""

    kind: Kind
    length: int


Group = list[int]
"""Numbers of the rows of one micro-batch, by their place in the step."""


def divide(
    sizes: Sequence[Size],
    micro_batch: int | None = None,
    packing: int | None = None,
    world: int = 1,
    in_order: bool = False,
) -> list[list[Group]]:
    """The micro-batches of each process; all have equally many, of which some may be empty.

    Args:
        sizes: of the rows of the step.
        micro_batch: most rows in one; None: no limit.
        packing: positions in one, instead; a longer row stands alone.
        in_order: keep the order of the rows and mix kinds, as the released script does.
    """
    if in_order:
        limit = micro_batch or -(-len(sizes) // world)
        places = list(range(len(sizes)))
        groups = [places[start : start + limit] for start in range(0, len(places), limit)]
        groups += [[] for _ in range(-len(groups) % world)]
        return [groups[rank::world] for rank in range(world)]
    if packing is not None:
        groups = _packed(sizes, packing, world)
        costs = [sum(sizes[place].length for place in group) for group in groups]
    else:
        groups = _bucketed(sizes, micro_batch, world)
        costs = [_padded(group, sizes) for group in groups]
    return _dealt(groups, costs, world)


def _bucketed(sizes: Sequence[Size], micro_batch: int | None, world: int) -> list[Group]:
    limit = micro_batch or max(1, len(sizes))
    groups: list[Group] = []
    for kind in Kind:
        rows = [place for place, size in enumerate(sizes) if size.kind is kind]
        rows.sort(key=lambda place: sizes[place].length)
        parts = -(-len(rows) // limit)
        groups += [
            rows[len(rows) * part // parts : len(rows) * (part + 1) // parts]
            for part in range(parts)
        ]
    while len(groups) % world:
        divisible = [number for number, group in enumerate(groups) if len(group) > 1]
        if not divisible:
            groups.append([])
            continue
        number = max(divisible, key=lambda number: _padded(groups[number], sizes))
        group = groups[number]
        groups[number : number + 1] = [group[: len(group) // 2], group[len(group) // 2 :]]
    return groups


def _packed(sizes: Sequence[Size], packing: int, world: int) -> list[Group]:
    """Longest rows first, each into the emptiest group, with as few groups as will do."""
    order = sorted(range(len(sizes)), key=lambda place: -sizes[place].length)
    count = -(-sum(size.length for size in sizes) // packing)
    while True:
        count += -count % world
        groups: list[Group] = [[] for _ in range(count)]
        filled = [0] * count
        for place in order:
            least = min(range(count), key=filled.__getitem__)
            if groups[least] and filled[least] + sizes[place].length > packing:
                break
            groups[least].append(place)
            filled[least] += sizes[place].length
        else:
            return [sorted(group) for group in groups]
        count += 1


def _padded(group: Group, sizes: Sequence[Size]) -> int:
    return len(group) * max((sizes[place].length for place in group), default=0)


def _dealt(groups: list[Group], costs: list[int], world: int) -> list[list[Group]]:
    """To each process as many, the dearest first, so that a CPU's workers end nearly together."""
    each = len(groups) // world
    dealt: list[list[Group]] = [[] for _ in range(world)]
    spent = [0] * world
    for number in sorted(range(len(groups)), key=lambda number: -costs[number]):
        open_ = [rank for rank in range(world) if len(dealt[rank]) < each]
        rank = min(open_, key=lambda rank: (spent[rank], rank))
        dealt[rank].append(groups[number])
        spent[rank] += costs[number]
    return dealt
