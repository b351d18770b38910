"""Where a network computes."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from janus4o.errors import Refused, UsageError


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" takes a GPU if there is one.

    Raises:
        UsageError: torch does not know it or it is not here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {name!r}: {reason}", "auto or cpu") from error


def pick_devices(name: str) -> list[torch.device]:
    """Every GPU there is for "auto" and "cuda", else the one of that name; raises as `pick_device`."""
    if name in ("auto", "cuda") and torch.cuda.is_available():
        return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return [pick_device(name)]


@contextmanager
def enough_memory(
    what: str, remedy: str = "use dtype bfloat16, a smaller model, or a machine with more"
) -> Iterator[None]:
    """Turns running out of memory into Refused: `what` does not fit."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        told = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not told and "can't allocate memory" not in str(error):
            raise
        raise Refused(f"{what} does not fit in memory", remedy) from error


def move(network: nn.Module, device: torch.device) -> None:
    """Moves a network in place."""
    network.to(device)


def free_memory(device: torch.device) -> int:
    """Bytes a GPU has free; 0 for a CPU, whose memory is everyone's."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def return_memory() -> None:
    """Gives freed memory back to the system, which glibc does not do with blocks below 32 MB."""
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (AttributeError, OSError):  # another C library, which may do it by itself
            return
