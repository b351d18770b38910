"""A key-value cache allocated once: a step writes its slot and attends to a slice.

transformers' own choices either copy everything each step (dynamic) or attend to the whole
allocated length under a mask (static).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class SlicedLayer(CacheLayerMixin):
    """One layer's keys and values, [rows, heads, capacity, width], the first `length` filled."""

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, heads, _, width = key_states.shape
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_empty(rows, heads, self.capacity, width)
        self.values = value_states.new_empty(rows, heads, self.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        start, self.length = self.length, self.length + key_states.shape[2]
        self.keys[:, :, start : self.length] = key_states
        self.values[:, :, start : self.length] = value_states
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def select(self, rows: Tensor) -> None:
        """Makes the cache hold these of its rows, in this order, some perhaps repeated."""
        for name in ("keys", "values"):
            filled = getattr(self, name)[:, :, : self.length].index_select(0, rows)
            grown = filled.new_empty(*filled.shape[:2], self.capacity, filled.shape[3])
            grown[:, :, : self.length] = filled
            setattr(self, name, grown)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.capacity


class SlicedCache(Cache):
    """The cache of all layers.

    Args:
        layers: layers of the language model.
        capacity: positions, prompt and picture together.
    """

    def __init__(self, layers: int, capacity: int) -> None:
        super().__init__(layers=[SlicedLayer(capacity) for _ in range(layers)])

    def select(self, rows: Tensor) -> None:
        for layer in self.layers:
            assert isinstance(layer, SlicedLayer)
            layer.select(rows)


def bytes_a_row(config: Any, dtype: torch.dtype, length: int) -> int:
    """Memory one row of `length` tokens takes in the cache; `config` is the text config."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * width
    return int(per_token * dtype.itemsize * length)
