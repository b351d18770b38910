"""Prompts into keys and values, each token once: what prompts share is not computed again.

Two things are shared. The null branch is <bos> and pads up to its last token, whatever it stands
against, so its keys and values depend on nothing but the position. And an edit's full and part
branches are the same sequence until the first source code.

All tokens still to be read go through the layers as one flat list, without padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

from janus4o.generate.cache import Prompts
from janus4o.generate.decoder import Decoder
from janus4o.model.sequence import Sequence as Layout

BLOCK = 64
"""The null branch is read in blocks of this many positions, always whole ones: so its bits do not
depend on which lengths were asked for before."""

KEPT_BYTES = 2**28
"""Of the null branch, between calls."""


@dataclass(frozen=True, eq=False, slots=True)
class Branch:
    """One view of a request. Branches are shared by identity, so equal ones should be one object.

    Attributes:
        layout: its sequence.
        semantic: features [N, T, D], one for each semantic span.
        source: codes [N, T], one for each source span.
        trunk: a branch that is the same until the trunk's first source code.
        is_null: whether it is <bos>, pads and a last token.
    """

    layout: Layout
    semantic: Tensor | None = None
    source: Tensor | None = None
    trunk: Branch | None = None
    is_null: bool = False

    def __len__(self) -> int:
        return len(self.layout.prompt_ids)

    def shared(self, among: Iterable[Branch]) -> int:
        """Positions its trunk has computed, if the trunk is there."""
        if self.trunk is None or self.trunk not in among:
            return 0
        same: int = self.trunk.layout.spans.source[0].start
        return same


@dataclass(frozen=True, slots=True)
class Segment:
    """Positions `start` to `stop` of one row, to be read."""

    row: int
    start: int
    stop: int


class Nulls:
    """The null branch's keys and values, as far as they were ever needed."""

    def __init__(self) -> None:
        self._kept: Prompts | None = None

    def upto(self, decoder: Decoder, length: int) -> Prompts:
        """At least `length` positions of it, one row."""
        have = 0 if self._kept is None else self._kept.keys[0].shape[2]
        if self._kept is not None and have >= length:
            return self._kept
        wanted = -(-length // BLOCK) * BLOCK
        longer = empty_prompts(decoder, [wanted])
        if self._kept is not None:
            _copy(self._kept, 0, longer, 0, have)
        language = decoder.model.network.model.language_model
        geometry = decoder.model.geometry
        ids = torch.full((BLOCK,), geometry.pad, device=longer.keys[0].device)
        for start in range(have, wanted, BLOCK):
            ids[0] = geometry.pad if start else geometry.bos
            read(decoder, longer, language.embed_tokens(ids), [Segment(0, start, start + BLOCK)])
        if decoder.frozen and sum(keys.nbytes for keys in longer.keys) * 2 <= KEPT_BYTES:
            self._kept = longer
        return longer


def read_branches(
    decoder: Decoder, nulls: Nulls, branches: Sequence[Branch], embeds_BLD: Tensor
) -> tuple[Prompts, Tensor]:
    """Keys and values of distinct branches, embedded one a row, and their last hidden states."""
    prompts = empty_prompts(decoder, [len(branch) for branch in branches])
    longest_null = max((len(one) for one in branches if one.is_null), default=0)
    null = nulls.upto(decoder, longest_null - 1) if longest_null else None
    segments, trunks = [], []
    for row, branch in enumerate(branches):
        start = branch.shared(branches)
        if branch.trunk is not None and start:
            trunks.append((branches.index(branch.trunk), row, start))
        elif branch.is_null and null is not None:
            start = len(branch) - 1
            _copy(null, 0, prompts, row, start)
        segments.append(Segment(row, start, len(branch)))
    segments.sort(key=lambda one: (one.start, one.stop))
    flat = torch.cat([embeds_BLD[one.row, one.start : one.stop] for one in segments])
    hidden = read(decoder, prompts, flat, segments, trunks)
    last = torch.tensor([one.stop - one.start for one in segments]).cumsum(0) - 1
    order = torch.tensor([one.row for one in segments]).argsort()
    return prompts, hidden[last[order].to(hidden.device)]


def read(
    decoder: Decoder,
    prompts: Prompts,
    x_ND: Tensor,
    segments: Sequence[Segment],
    trunks: Sequence[tuple[int, int, int]] = (),
) -> Tensor:
    """Runs the tokens of segments, sorted by start and stop; returns their hidden states, [N, D].

    Args:
        prompts: where their keys and values go; holds those of earlier positions.
        trunks: (from, to, positions): rows to copy from as each layer is computed.
    """
    device = x_ND.device
    positions = torch.cat([torch.arange(one.start, one.stop, device=device) for one in segments])
    runs = list(_runs(segments, device))

    def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        queries, keys = queries.to(values.dtype), keys.to(values.dtype)
        kept_keys, kept_values = prompts.keys[layer], prompts.values[layer]
        for run in runs:
            kept_keys[run.rows, :, run.start : run.stop] = run.apart(keys)
            kept_values[run.rows, :, run.start : run.stop] = run.apart(values)
        for source, row, count in trunks:
            kept_keys[row, :, :count] = kept_keys[source, :, :count]
            kept_values[row, :, :count] = kept_values[source, :, :count]
        out = []
        for run in runs:
            attended = F.scaled_dot_product_attention(
                run.apart(queries),
                kept_keys[run.rows, :, : run.stop],
                kept_values[run.rows, :, : run.stop],
                attn_mask=run.visible,
                is_causal=run.start == 0,
                scale=1.0,
                enable_gqa=decoder.heads != decoder.key_heads,
            )
            out.append(attended.transpose(1, 2).flatten(0, 1).flatten(1))
        return torch.cat(out)

    return decoder.run(x_ND, positions, attend)


@dataclass(frozen=True, slots=True)
class _Run:
    """Segments of one start and stop, which are attended together.

    Attributes:
        rows: theirs.
        first: where their tokens begin in the flat list.
        visible: what each query sees, bool [queries, keys]; None where all, or by causality alone.
    """

    rows: list[int]
    start: int
    stop: int
    first: int
    visible: Tensor | None

    def apart(self, flat: Tensor) -> Tensor:
        """[N, heads, W] → [rows, heads, queries, W]"""
        count, length = len(self.rows), self.stop - self.start
        mine = flat[self.first : self.first + count * length]
        return mine.view(count, length, *flat.shape[1:]).transpose(1, 2)


def _runs(segments: Sequence[Segment], device: torch.device) -> Iterator[_Run]:
    first = 0
    for (start, stop), found in groupby(segments, key=lambda one: (one.start, one.stop)):
        rows = [one.row for one in found]
        visible = None
        if start and stop - start > 1:
            queries = torch.arange(start, stop, device=device)
            visible = torch.arange(stop, device=device) <= queries[:, None]
        yield _Run(rows, start, stop, first, visible)
        first += len(rows) * (stop - start)


def empty_prompts(decoder: Decoder, lengths: Sequence[int]) -> Prompts:
    """Room for prompts of these lengths."""
    place = decoder.model.network.model.language_model.embed_tokens.weight
    shape = (len(lengths), decoder.key_heads, max(lengths), decoder.width)
    layers = range(len(decoder.layers))
    keys, values = ([place.new_zeros(shape) for _ in layers] for _ in range(2))
    return Prompts(keys, values, torch.tensor(lengths))


def _copy(source: Prompts, row: int, target: Prompts, to: int, count: int) -> None:
    for kept, fresh in ((source.keys, target.keys), (source.values, target.values)):
        for have, want in zip(kept, fresh, strict=True):
            want[to, :, :count] = have[row, :, :count]
