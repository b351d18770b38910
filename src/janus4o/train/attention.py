"""Attention over rows laid end to end: each position sees the earlier ones of its own row only.

On a GPU torch's variable-length kernel computes all rows
at once where it is there; elsewhere each row is computed by itself, which is exact and needs no mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

PACKED = "janus4o_packed"

SHORT = 256
"""Rows up to this long are computed by plain products: the backward pass of torch's fused CPU kernel is
several times slower there."""

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
    dropout: float = 0.0,
    packed: Packed | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface; B is 1. Returns [B, L, H, D]."""
    if packed is None:
        raise ValueError("packed attention without the rows' lengths")
    groups = query_BHLD.shape[1] // key_BHLD.shape[1]
    if groups > 1:
        key_BHLD, value_BHLD = (x.repeat_interleave(groups, 1) for x in (key_BHLD, value_BHLD))
    dtype = value_BHLD.dtype
    if torch.is_autocast_enabled(query_BHLD.device.type):
        dtype = torch.get_autocast_dtype(query_BHLD.device.type)
    query, key, value = (x.to(dtype) for x in (query_BHLD, key_BHLD, value_BHLD))
    if query.is_cuda and _varlen is not None and dtype in (torch.bfloat16, torch.float16):
        longest = max(packed.lengths)
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        bounds = packed.bounds_n
        out = _varlen(
            q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=(-1, 0)
        )  # the window (-1, 0) is everything before and nothing after
        return out[None], None
    cut = (x.split(packed.lengths, 2) for x in (query, key, value))
    rows = [_one(q, k, v, scaling) for q, k, v in zip(*cut, strict=True)]
    return torch.cat(rows, 2).transpose(1, 2).contiguous(), None


def _one(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    length = query.shape[2]
    if query.is_cuda or length > SHORT:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    later = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
    scores = (query @ key.transpose(2, 3) * scaling).masked_fill(later, float("-inf"))
    return scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value


def use_packed(text_config: Any) -> None:
    """Lets the language model of this config attend to packed rows."""
    AttentionInterface.register(PACKED, attend)
    text_config._attn_implementation = PACKED
