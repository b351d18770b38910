"""The examples of an encoded data set, and the order in which training takes them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from janus4o.errors import DataError, PromptError
from janus4o.model import sequence as layout
from janus4o.model.loading import JanusModel
from janus4o.train.batch import Example, Ints, Kind, lay_out
from janus4o.train.codes import CodedRow, Codes, tokenizer_hash
from janus4o.train.division import Size


class Dataset:
    """Rows as examples. Texts are tokenised once, here; codes and pixels are looked up when used.

    Attributes:
        problems: one line for each row left out because its text cannot be laid out.
    """

    def __init__(self, codes: Codes, model: JanusModel) -> None:
        """
        Raises:
            DataError: the codes are of another picture tokenizer or fit, or no row is usable.
        """
        wanted = (tokenizer_hash(model), model.fit)
        if (codes.tokenizer, codes.fit) != wanted:
            raise DataError(
                f"codes {codes.tokenizer}-{codes.fit} do not belong to this model "
                f"({wanted[0]}-{wanted[1]})",
                "run `janus4o encode` for the model you train",
            )
        self._codes = codes
        self._tokens = model.geometry.tokens
        self._rows: list[tuple[CodedRow, Example]] = []
        self._numbers: list[int] = []
        self.problems: list[str] = []
        # Rows with as many sources have them at the same places: one array serves them all.
        places: dict[bytes, Ints] = {}
        empty = np.empty(0, np.int64)
        for number, row in enumerate(codes.rows):
            try:
                one = _laid(row, model)
            except PromptError as problem:
                self.problems.append(f"row {number}: {problem.message}")
                continue
            at = [places.setdefault(a.tobytes(), a) for a in (one.source_at, one.picture_at)]
            blank = replace(one, target_codes=empty, source_at=at[0], picture_at=at[1])
            self._rows.append((row, blank))
            self._numbers.append(number)
        if not self._rows:
            why = f": {self.problems[0]}" if self.problems else ""
            raise DataError(f"{str(codes.folder)!r} has no row to train on{why}")

    def __len__(self) -> int:
        return len(self._rows)

    def size(self, index: int) -> Size:
        """What the row costs, without reading its pictures."""
        _, blank = self._rows[index]
        return Size(blank.kind, len(blank.ids) + self._tokens - 1)

    def task(self, index: int) -> str:
        """What was asked for, where the data set says so; else the kind of row."""
        row, blank = self._rows[index]
        return row.task or blank.kind

    def name(self, index: int) -> str:
        """How to find the row: its number in the codes' rows.jsonl, and its prompt's beginning."""
        prompt = self._rows[index][0].prompt
        return (
            f"row {self._numbers[index]} ({prompt if len(prompt) <= 60 else prompt[:57] + '...'!r})"
        )

    def __getitem__(self, index: int) -> Example:
        row, blank = self._rows[index]
        codes = self._codes.codes_PT
        if not row.sources:
            return replace(blank, target_codes=codes[row.target].astype(np.int64))
        return replace(
            blank,
            target_codes=codes[row.target].astype(np.int64),
            source_codes=codes[list(row.sources)].reshape(-1).astype(np.int64),
            pictures=tuple(self._codes.picture(number) for number in row.sources),
        )


def _laid(row: CodedRow, model: JanusModel) -> Example:
    """The row without its codes; the target stands for itself as an empty array."""
    geometry, tokenizer = model.geometry, model.tokenizer
    nothing = np.empty(0, np.int64)
    if row.sources:
        laid = layout.edit(row.prompt, geometry, tokenizer, len(row.sources))
        return lay_out(Kind.EDIT, laid, target=nothing)
    laid = layout.text_to_image(row.prompt, geometry, tokenizer)
    return lay_out(Kind.TEXT_TO_IMAGE, laid, target=nothing)


def rows_of_step(step: int, batch: int, rows: int, seed: int) -> Ints:
    """Which rows optimiser step `step` (0-based) takes.

    Steps cut an endless stream of epochs, each a fresh shuffle of all rows, into pieces of `batch`:
    nothing is dropped at an epoch's end, and the answer depends on the arguments alone.
    """
    start = step * batch
    first, last = start // rows, (start + batch - 1) // rows
    stream = np.concatenate([_epoch(epoch, rows, seed) for epoch in range(first, last + 1)])
    return stream[start - first * rows :][:batch]


def hold_out(rows: int, count: int, seed: int) -> tuple[Ints, Ints]:
    """Which rows are trained on, and which `count` are kept for validation; both in order."""
    key = np.array([seed % 2**64, 2], np.uint64)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(rows)
    return np.sort(order[count:]), np.sort(order[:count])


@lru_cache(maxsize=4)
def _epoch(epoch: int, rows: int, seed: int) -> Ints:
    # The second half of the key keeps this stream apart from the rows' own (batch.row_generator).
    key = np.array([seed % 2**64, 1], np.uint64)
    philox = np.random.Philox(key=key, counter=[0, 0, 0, epoch])
    return np.random.Generator(philox).permutation(rows)
