"""Code compiled on this machine: `compiled.c` beside this file.

It is compiled on first use with the C compiler the machine has, and kept in the user's cache. Its threads
are torch's own (its OpenMP library's), so that there is never a second set of them waiting for the same cores.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from janus4o.files import write_atomic

SOURCE = Path(__file__).with_name("compiled.c")
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
FUNCTIONS = ("layers_step", "linear", "survey", "pack", "unpack")


@dataclass(frozen=True, slots=True)
class Library:
    """Addresses of compiled functions and of OpenMP's barrier, and what calls them."""

    functions: dict[str, int]
    barrier: int
    parallel: Any

    def call(self, function: str, job: ctypes.Structure, threads: int) -> None:
        """Runs a function on every one of torch's threads, with the same job."""
        self.parallel(self.functions[function], ctypes.byref(job), threads, 0)


def build() -> Library:
    """The library, compiled if it was not.

    Raises:
        OSError, ValueError, AttributeError, RuntimeError, SubprocessError: there is none here, and why.
    """
    openmp = _openmp()
    binary = _load()
    parallel = openmp.GOMP_parallel
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return Library(
        {name: _address(getattr(binary, name)) for name in FUNCTIONS},
        _address(openmp.GOMP_barrier),
        parallel,
    )


def _openmp() -> ctypes.CDLL:
    """The OpenMP library torch itself computes with."""
    torch.zeros(2**16).add_(1)  # some builds load it late
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        paths = {line.rstrip("\n").split(maxsplit=5)[-1] for line in maps if ".so" in line}
    # Other packages bring one of their own.
    for path in sorted(paths, key=lambda one: ("/torch/" not in one, one)):
        if any(name in Path(path).name for name in ("libgomp", "libiomp", "libomp")):
            return ctypes.CDLL(path)
    raise OSError("torch has no OpenMP library here")


def _load() -> ctypes.CDLL:
    """The compiled source, from the user's cache; compiled where it is not there or cannot be loaded."""
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
    with suppress(OSError):  # not there, cut short, or of another system that shares this home
        return ctypes.CDLL(str(binary))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, binary.name)
        subprocess.run(
            [*shlex.split(compiler), *FLAGS, str(SOURCE), "-o", str(made), "-lm"],
            check=True,
            capture_output=True,
            timeout=120,
        )
        with suppress(OSError):  # a cache that cannot be written to
            cache.mkdir(parents=True, exist_ok=True)
            write_atomic(binary, made.read_bytes())
        return ctypes.CDLL(str(made))


def _address(function: Any) -> int:
    found = ctypes.cast(function, ctypes.c_void_p).value
    assert found is not None
    return found
