"""Weights in bfloat16 held in 12 bits each, without loss: three quarters of the memory and of the reading.

The exponents of a layer's weights are few: fifteen in a row hold all but some in ten thousand. So an exponent takes
half a byte, and the others stand in a list; DFloat11 (arXiv 2504.11651) goes further on GPUs, with a variable
length that costs more to read. An input that is no multiple of 128 is filled up to one. Packing, products and unpacking are in `compiled.c`, whose head says how they lie.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus4o.generate.native import Library, build

MOST = 32
"""Rows: with more of them a product is no longer a matter of reading, and torch's are faster."""
LANES, TOGETHER = 16, 8
"""An input must be divisible by twice LANES, an output by TOGETHER."""
GROUP, GROUP_BYTES = 128, 192
WINDOW = 15
"""Exponents that have a place."""
LISTED = 256
"""One weight of so many may be listed, and GROUP more; with more of them there is little to gain."""

HUGE_PAGE = 2**21
_MADV_HUGEPAGE = 14


class CWeight(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("inputs", "outputs", "base")),
        *((name, ctypes.c_void_p) for name in ("blocks", "first", "column", "value")),
    ]


class _Linear(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("threads", "rows")),
        ("weight", CWeight),
        *((name, ctypes.c_void_p) for name in ("x", "bias", "y", "counter")),
    ]


class _Packing(ctypes.Structure):
    _fields_ = [
        ("weight", CWeight),
        *((name, ctypes.c_void_p) for name in ("plain", "blocks", "row", "column", "value")),
        ("most", ctypes.c_int64),
        ("counters", ctypes.c_void_p),
    ]


@dataclass(frozen=True, slots=True)
class Compact:
    """The weight of a linear layer.

    Attributes:
        shape: (outputs, inputs).
        base: the exponent that place 1 stands for.
        blocks: uint8, signs, mantissas and places of exponents.
        first, column, value: the list of the others, by output: int32 [outputs + 1], int32 and float32.
    """

    library: Library
    shape: tuple[int, int]
    base: int
    blocks: Tensor
    first: Tensor
    column: Tensor
    value: Tensor

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for one in (self.blocks, self.first, self.column, self.value))

    @property
    def pointed(self) -> CWeight:
        """For `compiled.c`; holds as long as this does."""
        outputs, inputs = self.shape
        parts = (self.blocks, self.first, self.column, self.value)
        return CWeight(inputs, outputs, self.base, *(one.data_ptr() for one in parts))

    def multiply(self, x_NI: Tensor, bias: Tensor | None = None) -> Tensor:
        """`F.linear` in bfloat16 for at most `MOST` rows, accumulated in float32 and rounded once."""
        if x_NI.dtype != torch.bfloat16 or x_NI.shape[1:] != self.shape[1:] or len(x_NI) > MOST:
            raise ValueError(
                f"{x_NI.dtype} {list(x_NI.shape)} where at most {MOST} rows of {self.shape[1]} in bfloat16 go"
            )
        x_NI = x_NI.contiguous()
        out = torch.empty(len(x_NI), self.shape[0], dtype=torch.bfloat16)
        counter = torch.zeros(1, dtype=torch.int64)
        threads = torch.get_num_threads()
        job = _Linear(threads, len(x_NI), self.pointed, *(
            None if one is None else one.data_ptr() for one in (x_NI, bias, out, counter)
        ))  # fmt: skip
        self.library.call("linear", job, threads)
        return out

    def unpack(self) -> Tensor:
        """The weight itself, bfloat16 [outputs, inputs], bit for bit."""
        plain, counters = torch.empty(self.shape, dtype=torch.bfloat16), _counters()
        job = _Packing(weight=self.pointed, plain=plain.data_ptr(), counters=counters.data_ptr())
        self.library.call("unpack", job, torch.get_num_threads())
        return plain


def can_compact(layer: nn.Module) -> bool:
    """Whether the layer's shape, kind and place allow it."""
    weight, bias = layer.weight, layer.bias
    return (
        isinstance(weight, Tensor)
        and weight.device.type == "cpu"
        and weight.dtype == torch.bfloat16
        and (bias is None or bias.dtype == torch.bfloat16)
        and weight.shape[0] % TOGETHER == 0
        and weight.shape[1] % (2 * LANES) == 0
    )


def compact(library: Library, weight: Tensor) -> Compact | None:
    """A bfloat16 weight [outputs, inputs] of a shape that allows it; None where its exponents are too many."""
    weight = weight.contiguous()
    outputs, inputs = weight.shape
    shape = CWeight(inputs, outputs)
    threads, counters = torch.get_num_threads(), _counters()
    job = _Packing(weight=shape, plain=weight.data_ptr(), counters=counters.data_ptr())
    library.call("survey", job, threads)
    exponents = counters[2:]
    base = 1 + int(exponents[1:].unfold(0, WINDOW, 1).sum(1).argmax())
    most = GROUP + weight.numel() // LISTED
    blocks = _large(outputs * -(-inputs // GROUP) * GROUP_BYTES)
    row, column = torch.empty(2, most, dtype=torch.int32)
    value = torch.empty(most)
    counters = _counters()
    shape.base = base
    job = _Packing(shape, weight.data_ptr(), *(one.data_ptr() for one in (blocks, row, column, value)),
                   most, counters.data_ptr())  # fmt: skip
    library.call("pack", job, threads)
    listed = int(counters[1])
    if listed > most:
        return None
    place = row[:listed].long() * inputs + column[:listed]  # threads list in any order
    order = place.argsort()
    first = torch.zeros(outputs + 1, dtype=torch.int32)
    first[1:] = torch.bincount(row[:listed], minlength=outputs).cumsum(0)
    return Compact(
        library,
        (outputs, inputs),
        base,
        blocks,
        first,
        column[:listed][order],
        value[:listed][order],
    )


@functools.cache
def find() -> Library | str:
    """The library, if what it computes is right; or why there is none."""
    try:
        library = build()
        ramp = torch.arange(64 * 48).remainder(17).sub(8).bfloat16()
        weight, x = ramp.view(48, 64), ramp[: 3 * 64].view(3, 64)
        held = compact(library, weight)
        is_right = held is not None and torch.equal(
            held.multiply(x), F.linear(x.float(), weight.float()).bfloat16()
        )
        if held is None or not is_right or not torch.equal(held.unpack(), weight):
            return "what the C compiler made computes wrongly"
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        return f"{error}: {said[-1]}" if said else str(error)
    except (OSError, ValueError, AttributeError, RuntimeError, subprocess.SubprocessError) as error:
        return str(error)
    return library


def _counters() -> Tensor:
    return torch.zeros(2 + 256, dtype=torch.int64)


def _large(size: int) -> Tensor:
    """Bytes in memory of large pages, which a CPU reads faster."""
    made = torch.empty(size, dtype=torch.uint8)
    start = -(-made.data_ptr() // HUGE_PAGE) * HUGE_PAGE
    length = (made.data_ptr() + size - start) // HUGE_PAGE * HUGE_PAGE
    if length > 0:
        advise = ctypes.CDLL(None).madvise
        advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        advise(start, length, _MADV_HUGEPAGE)  # advice: where it is not taken nothing is lost
    return made
