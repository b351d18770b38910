"""Where a network computes."""

from __future__ import annotations

import torch
from torch import nn

from janus4o.errors import UsageError


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


def move(network: nn.Module, device: torch.device) -> None:
    """Moves a network in place."""
    network.to(device)
