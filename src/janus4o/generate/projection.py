"""Linear layers as inference wants them: side by side, and in the processor's own order.

A network's weights are stored row by row. Reading them that way leaves half of a CPU's memory
bandwidth unused, so a model that is loaded to generate has them reordered once, layer by layer, and
the originals are released. The reordering is oneDNN's; its operators are private to torch, so what
they compute is checked before they are used, and plain weights are used where they are missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus4o.errors import UsageError
from janus4o.generate import compact
from janus4o.generate.compact import MOST, Compact, can_compact
from janus4o.generate.native import Library
from janus4o.model.loading import UNPACKED

Weights = Literal["plain", "compiled", "packed", "int8", "int4"]
"""How a model holds its weights while it generates.

plain: as loaded; they may be trained and saved.
compiled: in 12 bits each, read by code made for this processor (see compact.py); the same numbers.
packed: reordered for this processor; the same numbers.
int8: a byte each, scaled by row; other numbers, half the memory of bfloat16.
int4: half a byte each, scaled by group of 64; others still.
"""

Projection = Callable[[Tensor], Tensor]
"""One or more linear layers on the same input, [N, in] → [N, all their outputs side by side]."""

GROUP = 64
"""Weights that share a scale in int4."""

FULL = 4
"""Rows below which oneDNN takes kernels that read weights more slowly: measured on Zen 4 at 2048 by
11264 in bfloat16, 22 GB/s with two rows and 30 with four, of 31 there were."""


def project(layers: Sequence[nn.Module], weights: Weights) -> Projection:
    """The projection that computes `layers`; unless plain, their own weights are gone after it."""
    if weights == "plain":
        return _plain(layers)
    with torch.no_grad():
        if weights == "compiled" and (made := _compiled(layers)) is not None:
            for layer in layers:
                _release(layer)
            return made
        whole = torch.cat([_weight(layer) for layer in layers]) if len(layers) > 1 else None
        weight = _weight(layers[0]) if whole is None else whole
        bias = _bias(layers)
        for layer in layers:
            _release(layer)
        if weights == "int4" and weight.shape[1] % GROUP == 0 and weight.shape[0] % 16 == 0:
            return _int4(weight, bias)
        if weights in ("int8", "int4") and weight.shape[1] % 32 == 0:  # the kernel crashes else
            return _int8(weight, bias)
        if can_pack(weight.device.type, weight.dtype):
            return _packed(weight, bias)
        return functools.partial(F.linear, weight=weight, bias=bias)


def pick_weights(name: str, device: torch.device, dtype: torch.dtype) -> Weights:
    """The kind of that name; "auto" is compiled in bfloat16 on a CPU that can, else packed.

    Raises:
        UsageError: there is no such kind, or not on this device or in this dtype.
    """
    can_compile = device.type == "cpu" and dtype == torch.bfloat16
    if name == "auto":
        return "compiled" if can_compile and isinstance(compact.find(), Library) else "packed"
    if name not in ("plain", "compiled", "packed", "int8", "int4"):
        raise UsageError(f"weights {name!r}", "auto, plain, compiled, packed, int8 or int4")
    if name == "compiled":
        if not can_compile:
            raise UsageError(
                f"compiled weights, {dtype} on {device.type}", "bfloat16 on a cpu; else packed"
            )
        if not isinstance(why := compact.find(), Library):
            raise UsageError(f"no compiled step: {why}", "install a C compiler, or use packed")
    if name in ("int8", "int4"):
        if dtype != torch.bfloat16:
            raise UsageError(f"{name} weights and dtype {dtype}", "use dtype bfloat16 with them")
        if name == "int4" and device.type != "cpu":
            raise UsageError(f"int4 weights on {device.type}", "cpu only; use int8 or packed")
    return name  # type: ignore[return-value]


@functools.cache
def can_pack(device: str, dtype: torch.dtype) -> bool:
    """Whether oneDNN's reordered linear layers exist here and compute the right thing."""
    if device != "cpu" or dtype not in (torch.float32, torch.bfloat16):
        return False
    try:
        if not torch.backends.mkldnn.is_available():
            return False
        if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        ramp = torch.arange(32 * 48, dtype=torch.float32).remainder(17).sub(8).to(dtype)
        weight, x = ramp.view(48, 32), ramp[: 3 * 32].view(3, 32)
        found = _packed(weight, None)(x)
    except (RuntimeError, AttributeError, NotImplementedError, TypeError):
        return False
    return torch.equal(found, F.linear(x, weight))  # small whole numbers: exact in any order


def _plain(layers: Sequence[nn.Module]) -> Projection:
    if len(layers) == 1:
        return layers[0]
    return lambda x: torch.cat([layer(x) for layer in layers], dim=-1)


@dataclass(frozen=True, slots=True)
class Compacted:
    """Compact layers on the same input."""

    parts: tuple[Compact, ...]
    biases: tuple[Tensor | None, ...]

    def __call__(self, x: Tensor) -> Tensor:
        made = [
            part.multiply(x, bias) if len(x) <= MOST else F.linear(x, part.unpack(), bias)
            for part, bias in zip(self.parts, self.biases, strict=True)
        ]
        return made[0] if len(made) == 1 else torch.cat(made, dim=-1)


def _compiled(layers: Sequence[nn.Module]) -> Compacted | None:
    """None where there is no compiler, or a layer's shape or numbers do not allow it."""
    library = compact.find()
    if isinstance(library, str) or not all(map(can_compact, layers)):
        return None
    parts = [compact.compact(library, _weight(layer)) for layer in layers]
    found = tuple(part for part in parts if part is not None)
    biases = tuple(None if layer.bias is None else _bias([layer]) for layer in layers)
    return Compacted(found, biases) if len(found) == len(parts) else None


def _packed(weight: Tensor, bias: Tensor | None) -> Projection:
    reordered = torch.ops.mkldnn._reorder_linear_weight(weight)
    linear = torch.ops.mkldnn._linear_pointwise.default

    def apply(x: Tensor) -> Tensor:
        rows = len(x)
        if rows < FULL:
            x = F.pad(x, (0, 0, 0, FULL - rows))
        out: Tensor = linear(x, reordered, bias, "none", [], "")
        return out[:rows]

    return apply


def _int8(weight: Tensor, bias: Tensor | None) -> Projection:
    scales = (weight.abs().amax(1).float() / 127).clamp(min=1e-12).to(weight.dtype)
    rounded = (weight.float() / scales.float()[:, None]).round().clamp(-128, 127).to(torch.int8)

    def apply(x: Tensor) -> Tensor:
        out = torch._weight_int8pack_mm(x.contiguous(), rounded, scales)
        return out if bias is None else out + bias

    return apply


def _int4(weight: Tensor, bias: Tensor | None) -> Projection:
    rows, width = weight.shape
    groups = weight.float().view(rows, width // GROUP, GROUP)
    low, high = groups.amin(-1), groups.amax(-1)
    scale = ((high - low) / 15).clamp(min=1e-8).to(weight.dtype).float()
    zero = (low + scale * 8).to(weight.dtype).float()
    rounded = ((groups - zero[..., None]) / scale[..., None] + 8).round().clamp(0, 15)
    quarters = rounded.to(torch.int32).view(rows, width)
    parameters = torch.stack([scale, zero], -1).transpose(0, 1).contiguous().to(weight.dtype)
    stored = torch.ops.aten._convert_weight_to_int4pack_for_cpu(quarters, 1)
    linear = torch.ops.aten._weight_int4pack_mm_for_cpu.default

    def apply(x: Tensor) -> Tensor:
        out: Tensor = linear(x.contiguous(), stored, GROUP, parameters)
        return out if bias is None else out + bias

    return apply


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    if not isinstance(weight, Tensor):
        raise UsageError("this model was packed to generate", UNPACKED)
    return weight.detach()


def _bias(layers: Sequence[nn.Module]) -> Tensor | None:
    found = [layer.bias for layer in layers]
    biases = [bias.detach() for bias in found if isinstance(bias, Tensor)]
    return torch.cat(biases) if biases else None


def _release(layer: nn.Module) -> None:
    """Drops the numbers; who asks the layer itself from now on is told why it has none."""

    def refuse(*_: Tensor) -> Tensor:
        raise UsageError("this model was packed to generate", UNPACKED)

    layer.weight = None  # type: ignore[assignment]
    layer.forward = refuse
