"""Attention while training, over whole rows and over rows laid end to end (packed).

On a GPU torch's variable-length kernel computes packed rows at once where it is there, and its fused
kernel each of them elsewhere. On a CPU every row is computed by itself, exactly and without a mask, by
plain matrix products: torch's fused kernel needs half as long again, its backward pass two to four
times as long, and transformers' eager attention computes the half that nobody may see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers import AttentionInterface

from janus4o.errors import UsageError

NAME = "janus4o_training"

ROWS = 192
"""About so many queries are computed at once, with the keys they may see: fewer waste less of the later
half, more make larger products (96 and 256 were slower at 473 and at 1,200 positions)."""

ROUND = 32
"""Causal rows are lengthened to a multiple of it: torch's softmax of bfloat16 takes up to eight times as
long, forward and backward, where a row of keys ends within a vector."""

try:
    from torch.nn.attention.varlen import varlen_attn

    _varlen: Callable[..., Any] | None = varlen_attn
except ImportError:  # before torch 2.10
    _varlen = None


@dataclass(frozen=True, slots=True)
class Packed:
    """How rows lie in one.

    Attributes:
        lengths: of each row, in order.
        bounds_n: int32, where each starts and the last one ends.
    """

    lengths: tuple[int, ...]
    bounds_n: Tensor

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device) -> Packed:
        ends = torch.tensor((0, *lengths), dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return cls(lengths, ends.to(device))


def positions_of(lengths: tuple[int, ...]) -> Tensor:
    """Position of each token within its own row, int64 [1, sum of lengths]."""
    return torch.cat([torch.arange(length) for length in lengths])[None]


def attend(
    module: nn.Module,
    query_BHLD: Tensor,
    key_BHLD: Tensor,
    value_BHLD: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    packed: Packed | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface; B is 1 where rows are packed. Returns [B, L, H, D].

    Padding stands on the right, where nothing before it looks, so there is no mask.
    """
    if attention_mask is not None:
        raise ValueError("attention for training takes no mask")
    groups = query_BHLD.shape[1] // key_BHLD.shape[1]
    if groups > 1:
        key_BHLD, value_BHLD = (x.repeat_interleave(groups, 1) for x in (key_BHLD, value_BHLD))
    dtype = value_BHLD.dtype
    if torch.is_autocast_enabled(query_BHLD.device.type):
        dtype = torch.get_autocast_dtype(query_BHLD.device.type)
    query, key, value = (x.to(dtype) for x in (query_BHLD, key_BHLD, value_BHLD))
    causal = bool(module.is_causal)
    if packed is None:
        return _one(query, key, value, scaling, causal), None
    if query.is_cuda and _varlen is not None and dtype in (torch.bfloat16, torch.float16):
        longest = max(packed.lengths)
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        bounds = packed.bounds_n
        out = _varlen(
            q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=(-1, 0)
        )  # the window (-1, 0) is everything before and nothing after
        return out[None], None
    cut = (x.split(packed.lengths, 2) for x in (query, key, value))
    rows = [_one(q, k, v, scaling, causal) for q, k, v in zip(*cut, strict=True)]
    return torch.cat(rows, 1), None


def _one(query: Tensor, key: Tensor, value: Tensor, scaling: float, causal: bool) -> Tensor:
    """[B, H, L, D] → [B, L, H, D]"""
    if query.is_cuda:
        out = F.scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scaling)
        return out.transpose(1, 2).contiguous()
    done: Tensor = _Products.apply(query, key, value, scaling, causal)  # type: ignore[no-untyped-call]
    return done


class _Products(torch.autograd.Function):
    """Queries, keys and values [B, H, L, D] → [B, L, H, D], a block of queries after the other.

    What is kept for the backward pass are the shares (softmax), in the dtype of the queries.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool
    ) -> Tensor:
        # Zeros behind causal rows: no real position sees them.
        spare = -query.shape[2] % ROUND if causal else 0
        blocks = _blocks(query.shape[2] + spare, causal)
        q, k, v = (_laid(x, spare) for x in (query, key, value))
        outs, kept = [], []
        for start, end, seen in blocks:
            scores = _product(q[:, start:end], k[:, :seen].transpose(1, 2), scale)
            if causal:
                side = end - start
                later = torch.ones(side, side, dtype=torch.bool, device=q.device).triu_(1)
                scores[:, :, start:].masked_fill_(later, float("-inf"))
            kept.append(scores.softmax(-1))  # in float32 within where it is narrower
            outs.append(kept[-1] @ v[:, :seen])
        ctx.save_for_backward(q, k, v, *kept)
        ctx.scale, ctx.blocks, ctx.shape = scale, blocks, query.shape
        return _back(outs, query.shape).transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        given = _laid(given.transpose(1, 2), q.shape[1] - ctx.shape[2])
        # Every block adds to the keys and values it saw; in bfloat16 the sums would lose digits.
        wide = k.dtype if len(kept) == 1 else torch.promote_types(k.dtype, torch.float32)
        to_q: list[Tensor] = []
        to_k, to_v = k.new_empty(0), v.new_empty(0)
        # The last comes first: it saw everything.
        for (start, end, seen), shares in zip(reversed(ctx.blocks), reversed(kept), strict=True):
            part = given[:, start:end]
            of_shares = part @ v[:, :seen].transpose(1, 2)
            of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
            of_k = _product(of_scores.transpose(1, 2), q[:, start:end], ctx.scale)
            of_v = shares.transpose(1, 2) @ part
            if to_q:
                to_k[:, :seen] += of_k
                to_v[:, :seen] += of_v
            else:
                to_k, to_v = of_k.to(wide), of_v.to(wide)
            to_q.append(_product(of_scores, k[:, :seen], ctx.scale))
        found = (to_q[::-1], [to_k.to(k.dtype)], [to_v.to(v.dtype)])
        return *(_back(parts, ctx.shape) for parts in found), None, None


def _laid(x: Tensor, spare: int) -> Tensor:
    """[B, H, L, D] → [B·H, L + spare, D], one after the other in memory."""
    return F.pad(x, (0, 0, 0, spare)).flatten(0, 1).contiguous()


def _back(parts: list[Tensor], shape: torch.Size) -> Tensor:
    """Blocks [B·H, ., D] → [B, H, L, D]"""
    whole = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    of_heads: Tensor = whole.unflatten(0, shape[:2])
    return of_heads[:, :, : shape[2]]


def _blocks(length: int, causal: bool) -> list[tuple[int, int, int]]:
    """Where each block of queries starts and ends, and how many keys it sees."""
    if not causal:
        return [(0, length, length)]
    count, units = -(-length // ROWS), length // ROUND
    ends = [ROUND * (units * (index + 1) // count) for index in range(count)]
    return [(start, end, end) for start, end in zip([0, *ends], ends, strict=False)]


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """a @ b · scale, without a pass of its own for the scale."""
    out: Tensor = torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)
    return out


def use_for_training(config: Any) -> None:
    """Lets the model of this configuration attend by `attend`.

    Raises:
        UsageError: it asks for dropout.
    """
    if dropout := getattr(config, "attention_dropout", 0.0):
        raise UsageError(
            f"this model wants attention dropout of {dropout}, which training does not do here",
            "set attention_dropout to 0 in its config.json",
        )
    AttentionInterface.register(NAME, attend)
    config._attn_implementation = NAME
