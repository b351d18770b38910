"""The step of decoding as code compiled for this very processor: `compiled.c` beside this file.

On a CPU a step's time is that of reading the weights, and torch's operators, one after another, leave half of
the memory's bandwidth unused. `compiled.c` computes all layers of a step in one go. It is
compiled on first use with the C compiler the machine has, and kept in the user's cache; where there is
none, or what comes out computes something else, `find()` says so and weights are packed instead.

The threads are torch's own (its OpenMP library's), so that there is never a second set of them
waiting for the same cores.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from janus4o.files import write_atomic
from janus4o.generate.cache import Memory

SOURCE = Path(__file__).with_suffix(".c")
INSTRUCTIONS = ("avx512f", "avx512bw", "avx512vl", "avx512_bf16")
"""What the processor must have: Zen 4, Cooper Lake, Sapphire Rapids and later."""

FLAGS = (
    "-O3",
    "-mavx512f",
    "-mavx512bw",
    "-mavx512vl",
    "-mavx512bf16",
    "-mfma",
    "-shared",
    "-fPIC",
)
MOST = 8
"""Rows: with more of them a step is no longer a matter of reading, and torch's products are faster."""

LANES, STREAMS = 16, 8
"""A head's width must be divisible by LANES, a layer's input by twice that, its output by STREAMS."""

HUGE_PAGE = 2**21
_MADV_HUGEPAGE = 14


class _Layer(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_void_p)
        for name in ("norm", "q", "k", "v", "out", "mlp_norm", "gate", "up", "down",
                     "keys", "values", "shared_keys", "shared_values")
    ]  # fmt: skip


class _Step(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in (
            "layers", "rows", "hidden", "inner", "heads", "key_heads", "width",
            "share", "longest", "start", "filled", "capacity")),
        ("epsilon", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in (
            "lengths", "cosines", "sines", "norm", "layer", "input", "output",
            "stream", "projected", "attended", "gated", "own", "scores", "counters", "barrier")),
    ]  # fmt: skip


class _Linear(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "in", "out")),
        *((name, ctypes.c_void_p) for name in ("x", "weight", "bias", "y", "counter")),
    ]


@dataclass(frozen=True, slots=True)
class Library:
    """Addresses of compiled functions and of OpenMP's, and what calls them."""

    layers_step: int
    linear: int
    barrier: int
    parallel: Any

    def call(self, function: int, job: ctypes.Structure, threads: int) -> None:
        """Runs a function on every one of torch's threads, with the same job."""
        self.parallel(function, ctypes.byref(job), threads, 0)


@functools.cache
def find() -> Library | str:
    """The library, compiled if it was not; or why there is none."""
    try:
        openmp = _openmp()
        binary = ctypes.CDLL(str(_compile()))
        parallel = openmp.GOMP_parallel
        parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        parallel.restype = None
        library = Library(
            layers_step=_address(binary.layers_step),
            linear=_address(binary.linear),
            barrier=_address(openmp.GOMP_barrier),
            parallel=parallel,
        )
        ramp = torch.arange(64 * 48).remainder(17).sub(8).bfloat16()
        weight, x = ramp.view(48, 64), ramp[: 3 * 64].view(3, 64)
        found = multiply(library, x, weight, None)
    except (OSError, AttributeError, RuntimeError, subprocess.SubprocessError) as error:
        return str(error)
    if not torch.equal(found, F.linear(x.float(), weight.float()).bfloat16()):
        return "what the C compiler made computes wrongly"
    return library


def multiply(library: Library, x_NI: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear` in bfloat16 for at most `MOST` rows, accumulated in float32 and rounded once."""
    threads = torch.get_num_threads()
    x_NI = x_NI.contiguous()
    rows, width = x_NI.shape
    out = torch.empty(rows, len(weight), dtype=torch.bfloat16)
    counter = torch.zeros(1, dtype=torch.int64)
    job = _Linear(rows, width, len(weight), *(
        None if one is None else one.data_ptr() for one in (x_NI, weight, bias, out, counter)
    ))  # fmt: skip
    library.call(library.linear, job, threads)
    return out


def can_compute(layer: nn.Module) -> bool:
    """Whether `multiply` can stand for this linear layer."""
    weight = layer.weight
    return (
        isinstance(weight, Tensor)
        and weight.is_contiguous()
        and weight.shape[0] % STREAMS == 0
        and weight.shape[1] % (2 * LANES) == 0
    )


class Layers:
    """The layers of a language model, for steps of one token a row.

    Args:
        library: what `find` found.
        language: transformers' `LlamaModel` in bfloat16 on the CPU, of which `fits` is true.
    """

    def __init__(self, library: Library, language: Any) -> None:
        self._library = library
        self._language = language  # keeps the weights that are pointed to
        self._norm = language.norm.weight
        config = language.config
        self._shape = {
            "layers": config.num_hidden_layers,
            "hidden": config.hidden_size,
            "inner": config.intermediate_size,
            "heads": config.num_attention_heads,
            "key_heads": config.num_key_value_heads,
            "width": language.layers[0].self_attn.head_dim,
            "epsilon": config.rms_norm_eps,
        }

    def step(self, x_RD: Tensor, cosines_RW: Tensor, sines_RW: Tensor, memory: Memory) -> Tensor:
        """Last hidden states, [R, D], of one more token a row; its keys and values go to `memory`.

        Args:
            cosines_RW, sines_RW: float32, of the tokens' positions; sines signed (see `Decoder`).
        """
        kept = memory.scratch
        if not isinstance(kept, _Scratch):
            kept = memory.scratch = _Scratch(self._shape, self._pointers(memory), memory)
        x_RD, cosines_RW, sines_RW = (one.contiguous() for one in (x_RD, cosines_RW, sines_RW))
        out = torch.empty_like(x_RD)
        kept.counters.zero_()
        job = kept.job
        job.filled = memory.filled
        job.input, job.output = x_RD.data_ptr(), out.data_ptr()
        job.cosines, job.sines = cosines_RW.data_ptr(), sines_RW.data_ptr()
        job.norm, job.barrier = self._norm.data_ptr(), self._library.barrier
        self._library.call(self._library.layers_step, job, kept.threads)
        return out

    def _pointers(self, memory: Memory) -> ctypes.Array[_Layer]:
        layers = self._language.layers[: self._shape["layers"]]
        found = (_Layer * len(layers))()
        for index, layer in enumerate(layers):
            attention, mlp = layer.self_attn, layer.mlp
            shared = memory.prompts[index] if memory.share > 1 else (None, None)
            pointed = [
                layer.input_layernorm.weight, attention.q_proj.weight, attention.k_proj.weight,
                attention.v_proj.weight, attention.o_proj.weight, layer.post_attention_layernorm.weight,
                mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight,
                memory.keys[index], memory.values[index], *shared,
            ]  # fmt: skip
            assert all(one is None or one.is_contiguous() for one in pointed)
            found[index] = _Layer(*(None if one is None else one.data_ptr() for one in pointed))
        return found


class _Scratch:
    """What a step of one memory needs, allocated once."""

    def __init__(self, shape: dict[str, Any], layers: ctypes.Array[_Layer], memory: Memory) -> None:
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
    """Whether `Layers` can stand for the layers of this language model."""
    config = language.config
    layer = language.layers[0]
    linear = [getattr(layer.self_attn, f"{name}_proj") for name in "qkvo"]
    linear += [layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj]
    return (
        config.hidden_act == "silu"
        and layer.self_attn.head_dim % LANES == 0
        and all(one.bias is None and can_compute(one) for one in linear)
    )


def spread_out(layers: Sequence[nn.Module]) -> None:
    """Moves the weights of linear layers into memory of large pages, where a CPU reads them faster."""
    for layer in layers:
        old = layer.weight
        assert isinstance(old, Tensor)
        new = torch.empty(old.shape, dtype=old.dtype)
        start = -(-new.data_ptr() // HUGE_PAGE) * HUGE_PAGE
        length = (new.data_ptr() + new.nbytes - start) // HUGE_PAGE * HUGE_PAGE
        if length > 0:
            advise = ctypes.CDLL(None).madvise
            advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
            advise(start, length, _MADV_HUGEPAGE)  # advice: where it is not taken nothing is lost
        new.copy_(old.detach())
        layer.weight = nn.Parameter(new, requires_grad=old.requires_grad)


def _openmp() -> ctypes.CDLL:
    """The OpenMP library torch itself computes with."""
    torch.zeros(2**16).add_(1)  # some builds load it late
    with open("/proc/self/maps", encoding="utf-8") as maps:
        paths = {line.rstrip("\n").split(maxsplit=5)[-1] for line in maps if ".so" in line}
    # Other packages bring one of their own.
    for path in sorted(paths, key=lambda one: ("/torch/" not in one, one)):
        if any(name in Path(path).name for name in ("libgomp", "libiomp", "libomp")):
            return ctypes.CDLL(path)
    raise OSError("torch has no OpenMP library here")


def _compile() -> Path:
    """The compiled source, in the user's cache; its name says of what and for which processor."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise OSError("there is no C compiler (cc, gcc or clang)")
    with open("/proc/cpuinfo", encoding="utf-8") as about:
        able = next((line.split() for line in about if line.startswith("flags")), [])
    if lacking := [one for one in INSTRUCTIONS if one not in able]:
        raise OSError(f"this processor has no {lacking[0]}")
    asked = "\0".join((SOURCE.read_text("utf-8"), compiler, *FLAGS))
    digest = hashlib.sha256(asked.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "janus4o"
    binary = cache / f"compiled-{digest}.so"
    if binary.is_file():
        return binary
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, binary.name)
        subprocess.run(
            [*shlex.split(compiler), *FLAGS, str(SOURCE), "-o", str(made), "-lm"],
            check=True,
            capture_output=True,
            timeout=120,
        )
        cache.mkdir(parents=True, exist_ok=True)
        write_atomic(binary, made.read_bytes())
    return binary


def _address(function: Any) -> int:
    found = ctypes.cast(function, ctypes.c_void_p).value
    assert found is not None
    return found
