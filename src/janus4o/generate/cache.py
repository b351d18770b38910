"""Keys and values of what was read and of what is being written, and attention over both.

A row has one block for its prompt and its codes, allocated once, and a step attends to the part that
is filled. (transformers' own caches copy everything at each step, or attend to all that is allocated.)
Where several pictures are drawn from one prompt, the prompt has a block of its own, kept once.

Attention is two matrix products and a softmax. With one query a row, which is what decoding is, torch's
fused attention is several times as slow on a CPU, and a CPU multiplies float32 keys by one query faster
than bfloat16 ones, though they are twice as many bytes; with values it is the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from janus4o.model.loading import JanusModel


@dataclass(frozen=True, slots=True)
class Prompts:
    """What S prompts leave behind.

    Attributes:
        keys, values: of each layer, [S, key heads, L, W]; zero after a prompt's end.
        lengths: int64 [S], on the CPU.
    """

    keys: list[Tensor]
    values: list[Tensor]
    lengths: Tensor

    def select(self, rows: Tensor) -> Prompts:
        """These of the prompts, in this order, some perhaps repeated; this object is used up."""
        if torch.equal(rows, torch.arange(len(self.lengths))):
            return self
        there = rows.to(self.keys[0].device)
        for blocks in (self.keys, self.values):
            for layer, block in enumerate(blocks):  # one by one, so that memory does not double
                blocks[layer] = block.index_select(0, there)
        return Prompts(self.keys, self.values, self.lengths[rows])


class Memory:
    """Keys and values of R rows, `share` of which (one after another) start from one prompt.

    Args:
        prompts: R / share of them.
        share: rows a prompt.
        capacity: codes a row.
        static: whether a step must always read and write the same memory, as CUDA graphs want; it
            then attends to all that is allocated, under a mask.

    Attributes:
        keys, values: of each layer, [R, key heads, X, W]; the last `capacity` of X are for codes.
        prompts: of each layer, (keys, values) of prompts that several rows share, else empty.
        start: of X, where codes begin.
        longest: prompt of all.
        lengths: of the rows' prompts, int64 [R].
        filled: codes a row that are there already.
        share, static: as asked for.
        scratch: what the code that fills it wants to find again.
    """

    def __init__(
        self, prompts: Prompts, share: int, capacity: int, *, static: bool = False
    ) -> None:
        self.share, self.static, self.scratch = share, static, object()
        count, heads, longest, width = prompts.keys[0].shape
        device, dtype = prompts.keys[0].device, prompts.values[0].dtype
        self.longest, self.start = longest, longest if share == 1 else 0
        shape = (count * share, heads, self.start + capacity, width)
        self.prompts: list[tuple[Tensor, Tensor]] = []
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        for layer in range(len(prompts.keys)):  # one by one: memory does not double
            keys = prompts.keys[layer].to(keys_dtype(device, dtype))
            values = prompts.values[layer]
            prompts.keys[layer] = prompts.values[layer] = keys.new_empty(0)
            for blocks, block in ((self.keys, keys), (self.values, values)):
                blocks.append(block.new_zeros(shape))
                if share == 1:
                    blocks[layer][:, :, :longest] = block
            if share > 1:
                self.prompts.append((keys, values))
        self.filled = 0
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        lengths = prompts.lengths.to(device)
        self.lengths = lengths.repeat_interleave(share)
        self._hidden: Tensor | None = None
        if int(prompts.lengths.min()) < longest:
            ends = self.lengths[:, None, None, None]
            self._hidden = torch.arange(longest, device=device) >= ends  # [R, 1, 1, L]

    @property
    def rows(self) -> int:
        return self.keys[0].shape[0]

    def positions(self, tokens: int = 1) -> Tensor:
        """Of the next tokens of every row, int64 [R * tokens]."""
        ahead = torch.arange(tokens, device=self._place.device)
        return (self.lengths[:, None] + self._place + ahead).flatten()

    def advance(self, tokens: int = 1) -> None:
        """The tokens last attended to are kept; what was written behind them is overwritten."""
        self.filled += tokens
        self._place += tokens

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Writes the same number of next tokens for every row and attends to all before and them.

        Args:
            queries: [R * tokens, heads, W], row-major, scaled by W^-1/2.
            keys, values: [R * tokens, key heads, W].
        """
        rows, key_heads, _, width = self.keys[layer].shape
        tokens, share = len(queries) // rows, self.share
        self._write(self.keys[layer], keys.view(rows, tokens, key_heads, width))
        self._write(self.values[layer], values.view(rows, tokens, key_heads, width))
        upto = self.keys[layer].shape[2] if self.static else self.start + self.filled + tokens
        own_keys, own_values = (
            block[layer].narrow(2, 0, upto) for block in (self.keys, self.values)
        )

        # Heads that share keys are more queries of one head: [R, key heads, Q, W].
        asked = queries.view(rows, tokens, key_heads, -1, width).transpose(1, 2).flatten(2, 3)
        asked = asked.to(own_keys.dtype).contiguous()  # else the product takes four times as long
        scores = _scores(own_keys, asked)
        if share > 1:
            of_prompts = _scores(self.prompts[layer][0], _gather(asked, share))
            scores = torch.cat([_spread(of_prompts, share), scores], dim=-1)
        longest = scores.shape[-1] - upto + self.start
        if self._hidden is not None:
            scores[..., :longest].masked_fill_(self._hidden, -torch.inf)
        codes = upto - self.start
        if (later := self._later(codes, tokens, asked.shape[2] // tokens)) is not None:
            scores[..., longest:].masked_fill_(later, -torch.inf)
        shares = torch.softmax(scores.float(), dim=-1).to(own_values.dtype)
        if share == 1:
            read = shares @ own_values
        else:
            of_prompts = _gather(shares[..., :longest], share) @ self.prompts[layer][1]
            read = _spread(of_prompts, share) + shares[..., longest:] @ own_values
        apart = read.view(rows, key_heads, tokens, -1, width).transpose(1, 2)
        return apart.reshape(len(queries), -1)

    def _write(self, block: Tensor, new: Tensor) -> None:
        tokens = new.shape[1]
        if self.static:
            at = self.start + self._place + torch.arange(tokens, device=self._place.device)
            block.index_copy_(2, at, new.transpose(1, 2).to(block.dtype))
        else:
            block.narrow(2, self.start + self.filled, tokens).copy_(new.transpose(1, 2))

    def _later(self, upto: int, tokens: int, heads: int) -> Tensor | None:
        """Which of the first `upto` codes come after each query, bool [tokens * heads, upto]."""
        if tokens == 1 and not self.static:
            return None
        device = self._place.device
        own = self._place + torch.arange(tokens, device=device)
        return torch.arange(upto, device=device) > own.repeat_interleave(heads)[:, None]


def _scores(keys: Tensor, asked: Tensor) -> Tensor:
    """[R, H, Q, L]. A CPU reads keys fastest as the left factor."""
    return (keys @ asked.transpose(2, 3)).transpose(2, 3)


def _gather(rows: Tensor, share: int) -> Tensor:
    """[S * share, H, Q, X] → [S, H, share * Q, X]"""
    if share == 1:
        return rows
    count, heads, asked, width = rows.shape
    return rows.view(count // share, share, heads, asked, width).transpose(1, 2).flatten(2, 3)


def _spread(slots: Tensor, share: int) -> Tensor:
    """[S, H, share * Q, X] → [S * share, H, Q, X]"""
    if share == 1:
        return slots
    count, heads, asked, width = slots.shape
    apart = slots.view(count, heads, share, asked // share, width)
    return apart.transpose(1, 2).flatten(0, 1)


def keys_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """What keys are held in by a model of that dtype; values are held in the model's own."""
    return torch.float32 if device.type == "cpu" else dtype


def bytes_a_row(model: JanusModel, length: int) -> int:
    """Memory one row of `length` tokens takes."""
    config: Any = model.network.config.text_config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    numbers = config.num_hidden_layers * config.num_key_value_heads * width * length
    return int(numbers * (keys_dtype(model.device, model.dtype).itemsize + model.dtype.itemsize))
