"""From rows to the tensors of one forward pass.

An `Example` is one tokenised row with its codes and pictures. `hide` drops parts of it for guidance,
`division.divide` groups the examples of an optimiser step into micro-batches, `collate` lays one group
into a `Batch`: row below row, or packed, end to end in one row. A batch names every position it fills or reads by number in the flattened [B * L] batch, so
rows of every kind, with any number of source pictures, share one forward pass:

    ids_BL         <bos> "<|User|>: " ... "\\n\\n<|Assistant|>:" <begin_of_image>  c0 c1 ... c(T-2)  pads
    image_at_RT                                                       predicts c0 c1 c2 ... c(T-1)

The last code of a target is never an input: nothing is predicted from it. Padding stands on the right,
so causal attention alone keeps every real token from seeing it, and positions count from 0. Packed
rows have no padding; positions start again with each, and attention stays within it.

Shape letters: B rows, L longest row, R rows with a target picture, T supervised codes a picture,
N placed codes, P pictures, K supervised words, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from janus4o.model import sequence as layout
from janus4o.recipe import Dropout

Ints = NDArray[np.int64]
_NONE: Ints = np.empty(0, np.int64)


def _none() -> Ints:
    return _NONE


class Kind(StrEnum):
    """What a row teaches."""

    TEXT_TO_IMAGE = "text_to_image"
    EDIT = "edit"
    DESCRIBE = "describe"


@dataclass(frozen=True, slots=True)
class Example:
    """One row, ready to be laid into a batch.

    Attributes:
        kind: what the row teaches; stays what it is when parts are hidden.
        ids: token ids up to and including the one that predicts the first target, [n].
        target_codes: the codes to be drawn, [T]; empty where words are wanted.
        target_ids: the words to be said, end token included, [A]; empty where a picture is wanted.
        source_at, source_codes: positions in `ids` that hold codes of source pictures, and those
            codes, [k * T].
        picture_at, pictures: positions in `ids` that hold understanding features, [k * T], and the
            pictures they come from, each uint8 [S, S, 3].
    """

    kind: Kind
    ids: Ints
    target_codes: Ints = field(default_factory=_none)
    target_ids: Ints = field(default_factory=_none)
    source_at: Ints = field(default_factory=_none)
    source_codes: Ints = field(default_factory=_none)
    picture_at: Ints = field(default_factory=_none)
    pictures: tuple[NDArray[np.uint8], ...] = ()

    def __len__(self) -> int:
        """Positions it takes in a batch."""
        return len(self.ids) + max(len(self.target_codes), len(self.target_ids)) - 1


def lay_out(
    kind: Kind,
    sequence: layout.Sequence,
    *,
    target: NDArray[np.integer[Any]] | None = None,
    sources: Sequence[NDArray[np.integer[Any]]] = (),
    pictures: Sequence[NDArray[np.uint8]] = (),
) -> Example:
    """An example of a laid-out sequence.

    Args:
        target: codes [T] of the picture to draw; None takes the answer the sequence ends with.
        sources: codes [T] of each source picture.
        pictures: each source picture as the model sees it, uint8 [S, S, 3].
    """
    spans, ids = sequence.spans, sequence.ids.numpy()
    words = ids[spans.target]
    return Example(
        kind,
        ids[: spans.target.start],
        target_codes=_NONE if target is None else np.asarray(target, np.int64),
        target_ids=words if target is None else _NONE,
        source_at=_positions(spans.source),
        source_codes=np.concatenate(sources).astype(np.int64) if sources else _NONE,
        picture_at=_positions(spans.semantic),
        pictures=tuple(pictures),
    )


def _positions(spans: Sequence[slice]) -> Ints:
    return np.concatenate([np.arange(s.start, s.stop) for s in spans]) if spans else _NONE


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass. `*_at` are positions in the flattened [B * L] batch.

    Attributes:
        ids_BL: token ids; the pad id wherever a code stands or nothing does.
        code_at_N, codes_N: where codes are inputs, and which.
        feature_at, pictures_PSS3: where understanding features are inputs, [P * tokens a picture],
            and the uint8 pictures they come from.
        image_at_RT, image_targets_RT: positions that predict codes, and the codes.
        edit_R: which rows with a target picture are edits.
        text_at_K, text_targets_K: positions that predict words, and their ids.
        tokens: real positions, padding left out.
        lengths: of the rows packed into one; empty where they stand one below the other.
    """

    ids_BL: Tensor
    code_at_N: Tensor
    codes_N: Tensor
    feature_at: Tensor
    pictures_PSS3: Tensor
    image_at_RT: Tensor
    image_targets_RT: Tensor
    edit_R: Tensor
    text_at_K: Tensor
    text_targets_K: Tensor
    tokens: int
    lengths: tuple[int, ...] = ()

    @property
    def targets(self) -> int:
        """Supervised positions."""
        return self.image_at_RT.numel() + self.text_at_K.numel()

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`; pictures stay until they are converted."""
        stay = ("tokens", "lengths", "pictures_PSS3")
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in stay}
        return replace(self, **{n: t.to(device, non_blocking=True) for n, t in tensors.items()})


def row_generator(seed: int, step: int, row: int) -> np.random.Generator:
    """The random stream of row number `row` of optimiser step `step`: the same wherever it runs."""
    return np.random.Generator(np.random.Philox(key=seed % 2**64, counter=[0, 0, row, step]))


def hide(example: Example, dropout: Dropout, pad: int, rng: np.random.Generator) -> Example:
    """Drops what the branches of guidance must learn to do without; draws from `rng`.

    Text-to-image: the prompt, that is positions 1 up to the one before <begin_of_image> (role tags
    included), becomes `pad`. Edits: the source's codes become pads; or, for the null branch, all
    positions do. Unit `token` decides for each position on its own, the null branch always as a
    block. Rows that ask for words are left alone.
    """
    if example.kind is Kind.DESCRIBE:
        return example
    ids = example.ids
    inside = slice(1, len(ids) - 1)
    if example.kind is Kind.TEXT_TO_IMAGE:
        drawn = rng.random(len(ids) - 2 if dropout.unit == "token" else 1)
        hidden = drawn < dropout.prompt
        if not hidden.any():
            return example
        ids = ids.copy()
        ids[inside] = np.where(hidden, pad, ids[inside])
        return replace(example, ids=ids)
    if rng.random() < dropout.null:
        ids = ids.copy()
        ids[inside] = pad
        return Example(example.kind, ids, example.target_codes)
    if dropout.unit == "token":
        kept = rng.random(len(example.source_at)) >= dropout.source
    else:
        drawn = rng.random(len(example.pictures))
        kept = np.repeat(drawn >= dropout.source, len(example.source_at) // len(drawn))
    return replace(
        example, source_at=example.source_at[kept], source_codes=example.source_codes[kept]
    )


def collate(
    examples: Sequence[Example], pad: int, first_token: bool = True, packed: bool = False
) -> Batch:
    """Lays `examples` into one batch, padded on the right.

    Args:
        pad: the id that fills what holds no token.
        first_token: whether code 0 of each target is supervised; it is an input either way.
        packed: lay them end to end in one row instead.
    """
    lengths = [len(example) for example in examples]
    starts = [0, *np.cumsum(lengths).tolist()] if packed else range(0, 2**62, max(lengths))
    ids = np.full(sum(lengths) if packed else len(examples) * max(lengths), pad, np.int64)
    code_at: list[Ints] = []
    codes: list[Ints] = []
    feature_at: list[Ints] = []
    image_at: list[Ints] = []
    text_at: list[Ints] = []
    first = 0 if first_token else 1
    for base, example in zip(starts, examples, strict=False):
        n = len(example.ids)
        ids[base : base + n] = example.ids
        if len(example.source_at):
            code_at.append(base + example.source_at)
            codes.append(example.source_codes)
        if len(example.picture_at):
            feature_at.append(base + example.picture_at)
        if len(example.target_codes):
            given = example.target_codes[:-1]
            code_at.append(np.arange(base + n, base + n + len(given)))
            codes.append(given)
            image_at.append(np.arange(base + n - 1 + first, base + n + len(given)))
        else:
            said = example.target_ids
            ids[base + n : base + n + len(said) - 1] = said[:-1]
            text_at.append(np.arange(base + n - 1, base + n - 1 + len(said)))
    drawn = [example for example in examples if len(example.target_codes)]
    pictures = [picture for example in examples for picture in example.pictures]
    return Batch(
        ids_BL=torch.from_numpy(ids.reshape(1 if packed else len(examples), -1)),
        code_at_N=_joined(code_at),
        codes_N=_joined(codes),
        feature_at=_joined(feature_at),
        pictures_PSS3=torch.from_numpy(
            np.stack(pictures) if pictures else np.empty((0, 0, 0, 3), np.uint8)
        ),
        image_at_RT=_stacked(image_at),
        image_targets_RT=_stacked([example.target_codes[first:] for example in drawn]),
        edit_R=torch.tensor([example.kind is Kind.EDIT for example in drawn], dtype=torch.bool),
        text_at_K=_joined(text_at),
        text_targets_K=_joined([e.target_ids for e in examples if not len(e.target_codes)]),
        tokens=sum(lengths),
        lengths=tuple(lengths) if packed else (),
    )


def _joined(parts: list[Ints]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts) if parts else _NONE.copy())


def _stacked(parts: list[Ints]) -> Tensor:
    return torch.from_numpy(np.stack(parts) if parts else np.empty((0, 0), np.int64))
