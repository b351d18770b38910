"""A step of decoding as one piece of C: all layers of the language model for one new token a row.

On a CPU a step's time is that of reading the weights, and torch's operators, one after another, leave half of
the memory's bandwidth unused. `compiled.c` reads compact weights (see `compact`) and computes all layers in one go.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from janus4o.generate.cache import Memory
from janus4o.generate.compact import LANES, Compact, CWeight
from janus4o.generate.native import Library


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("norm", "mlp_norm")),
        *((name, CWeight) for name in ("q", "k", "v", "out", "gate", "up", "down")),
        *((name, ctypes.c_void_p) for name in ("keys", "values", "shared_keys", "shared_values")),
    ]


class _Step(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in (
            "threads", "layers", "rows", "hidden", "inner", "heads", "key_heads", "width",
            "share", "longest", "start", "filled", "capacity")),
        ("epsilon", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in (
            "lengths", "cosines", "sines", "norm", "layer", "input", "output",
            "stream", "projected", "attended", "gated", "own", "scores", "counters", "barrier")),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Weights:
    """Of one layer: the norms', and q, k, v, out, gate, up, down."""

    norm: Tensor
    mlp_norm: Tensor
    linear: tuple[Compact, ...]


class Layers:
    """The layers of a language model, for steps of one token a row.

    Args:
        layers: their weights.
        norm: the weight of the last norm.
        config: transformers' `LlamaConfig` of a model of which `fits` is true.
    """

    def __init__(self, layers: Sequence[Weights], norm: Tensor, config: Any) -> None:
        self._library: Library = layers[0].linear[0].library
        self._layers = layers
        self._norm = norm
        self._shape = {
            "layers": config.num_hidden_layers,
            "hidden": config.hidden_size,
            "inner": config.intermediate_size,
            "heads": config.num_attention_heads,
            "key_heads": config.num_key_value_heads,
            "width": layers[0].linear[0].shape[0] // config.num_attention_heads,
            "epsilon": config.rms_norm_eps,
        }

    def step(self, x_RD: Tensor, cosines_RW: Tensor, sines_RW: Tensor, memory: Memory) -> Tensor:
        """Last hidden states, [R, D], of one more token a row; its keys and values go to `memory`.

        Args:
            cosines_RW, sines_RW: float32, of the tokens' positions; sines signed (see `Decoder`).
        """
        kept = memory.scratch
        if not isinstance(kept, _Scratch) or kept.owner is not self:
            kept = memory.scratch = _Scratch(self, self._shape, self._pointers(memory), memory)
        capacity = memory.keys[0].shape[2]
        if memory.start + memory.filled >= capacity:
            raise ValueError(f"a step past the {capacity} positions there is memory for")
        x_RD, cosines_RW, sines_RW = (one.contiguous() for one in (x_RD, cosines_RW, sines_RW))
        out = torch.empty_like(x_RD)
        kept.counters.zero_()
        job = kept.job
        job.filled = memory.filled
        job.input, job.output = x_RD.data_ptr(), out.data_ptr()
        job.cosines, job.sines = cosines_RW.data_ptr(), sines_RW.data_ptr()
        job.norm, job.barrier = self._norm.data_ptr(), self._library.barrier
        self._library.call("layers_step", job, kept.threads)
        return out

    def _pointers(self, memory: Memory) -> ctypes.Array[_Layer]:
        found = (_Layer * len(self._layers))()
        for index, layer in enumerate(self._layers):
            shared = memory.prompts[index] if memory.share > 1 else (None, None)
            kept = (memory.keys[index], memory.values[index], *shared)
            assert all(one is None or one.is_contiguous() for one in kept)
            found[index] = _Layer(
                layer.norm.data_ptr(),
                layer.mlp_norm.data_ptr(),
                *(one.pointed for one in layer.linear),
                *(None if one is None else one.data_ptr() for one in kept),
            )
        return found


class _Scratch:
    """What a step of one memory needs, allocated once."""

    def __init__(
        self,
        owner: Layers,
        shape: dict[str, Any],
        layers: ctypes.Array[_Layer],
        memory: Memory,
    ) -> None:
        self.owner = owner  # whose weights are pointed to
        self.threads = torch.get_num_threads()
        rows, hidden, inner = memory.rows, shape["hidden"], shape["inner"]
        queries = shape["heads"] * shape["width"]
        capacity, longest = memory.keys[0].shape[2], memory.longest
        self.counters = torch.zeros(5 * shape["layers"] + 1, dtype=torch.int64)
        self._layers, self._lengths = layers, memory.lengths
        self._numbers = {
            "stream": torch.empty(rows, hidden),
            "projected": torch.empty(rows, queries + 2 * shape["key_heads"] * shape["width"]),
            "attended": torch.empty(rows, queries, dtype=torch.bfloat16),
            "gated": torch.empty(rows, inner, dtype=torch.bfloat16),
            "own": torch.empty(self.threads, rows * hidden, dtype=torch.bfloat16),
            "scores": torch.empty(self.threads, capacity + longest + LANES),
        }
        self.job = _Step(
            **shape,
            threads=self.threads,
            rows=rows,
            share=memory.share,
            longest=longest,
            start=memory.start,
            capacity=capacity,
            lengths=self._lengths.data_ptr(),
            layer=ctypes.addressof(layers),
            counters=self.counters.data_ptr(),
            **{name: one.data_ptr() for name, one in self._numbers.items()},
        )


def fits(language: Any) -> bool:
    """Whether `Layers` can stand for the layers of this language model, whose weights are compact."""
    layer = language.layers[0]
    linear = [getattr(layer.self_attn, f"{name}_proj") for name in "qkvo"]
    linear += [layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj]
    return (
        language.config.hidden_act == "silu"
        and layer.self_attn.head_dim % LANES == 0
        and all(one.bias is None for one in linear)
    )
