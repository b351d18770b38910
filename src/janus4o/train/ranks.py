"""The processes that train together, and the few things they tell each other.

One process alone needs none of this: `ALONE` answers every question by itself. Several are started by
`torchrun` or Slurm, which number them in the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR,
MASTER_PORT); they talk through NCCL between GPUs and gloo between CPUs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from janus4o.errors import Interrupted, UsageError

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others before it gives up."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among all.

    Attributes:
        rank: its number; 0 writes files and talks to the user.
        world: how many there are.
        mesh: all of them, where there are several.
        quiet: a group of their own for checkpoints, which are written beside the training.
    """

    rank: int = 0
    world: int = 1
    mesh: DeviceMesh | None = None
    quiet: Any = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def add_up(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def any(self, mine: bool, device: torch.device) -> bool:
        """Does any process say yes?"""
        if self.world == 1:
            return mine
        return bool(self.add_up(torch.tensor(float(mine), device=device)) > 0)

    def from_first(self, value: Any) -> Any:
        """What the first process has."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, group=self.quiet)
        return box[0]

    def add_gradients(self, learnt: Sequence[torch.nn.Parameter]) -> None:
        """Sums `.grad` over all processes, a few large messages instead of many small ones.

        A process that had nothing for a parameter takes part with zeros.
        """
        if self.world == 1:
            return
        has = torch.tensor([p.grad is not None for p in learnt], dtype=torch.float32)
        has = self.add_up(has.to(learnt[0].device))
        used = [p for p, given in zip(learnt, has.tolist(), strict=True) if given]
        for start in range(0, len(used), 64):
            part = used[start : start + 64]
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in part]
            flat = self.add_up(torch.cat([g.flatten().float() for g in grads]))
            for p, g, whole in zip(
                part, grads, flat.split([g.numel() for g in grads]), strict=True
            ):
                p.grad = g.copy_(whole.view_as(g))


ALONE = Ranks()


def started() -> int:
    """How many processes were started together, by the environment."""
    try:
        return max(1, int(os.environ.get("WORLD_SIZE", "1")))
    except ValueError:
        raise UsageError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']!r}", "start several processes with torchrun"
        ) from None


@contextmanager
def join(device: torch.device) -> Iterator[Ranks]:
    """Meets the other processes; leaves them at the end. Alone, does nothing.

    Args:
        device: where this process computes; says how they talk.
    """
    world = started()
    if world == 1:
        yield ALONE
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UsageError(
            f"WORLD_SIZE is {world} but {missing[0]} is not set",
            "start several processes with torchrun (docs/training.md)",
        )
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", timeout=PATIENCE, device_id=device if on_gpu else None
    )
    try:
        mesh = init_device_mesh(device.type, (world,))
        quiet = dist.new_group(backend="gloo", timeout=PATIENCE)
        yield Ranks(dist.get_rank(), world, mesh, quiet)
    finally:
        dist.destroy_process_group()


@contextmanager
def noticing(ranks: Ranks) -> Iterator[None]:
    """Says in one line that another process is gone, where a collective fails because of it.

    Raises:
        Interrupted: it is; checkpoints that were complete still are.
    """
    try:
        yield
    except RuntimeError as error:
        if ranks.world == 1 or not _is_loss(error):
            raise
        raise Interrupted(
            f"another of the {ranks.world} processes that train together is gone",
            "see what ended it; the same command goes on from the last checkpoint",
        ) from error


def _is_loss(error: RuntimeError) -> bool:
    words = r"gloo|nccl|connection (closed|reset|refused)|broken pipe"
    return isinstance(error, dist.DistError) or bool(re.search(words, str(error), re.IGNORECASE))


def local_device(name: str) -> str:
    """The device of this process: its own GPU where there are several processes on a machine."""
    if started() > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return name
