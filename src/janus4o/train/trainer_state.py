"""An optimiser's moments and the random states as plain named tensors, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from janus4o.train.ranks import Ranks

Put = Callable[[Tensor], None]


def trainer_state(
    learnt: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, ranks: Ranks
) -> dict[str, Tensor]:
    """Every tensor of the training that the model folder does not hold, by name.

    Moments in 8 bits become the tensors they consist of. The random states are this process's own.
    """
    state: dict[str, Tensor] = {}
    for name, parameter in learnt.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if _is_composed(value):
                for part in value.__tensor_flatten__()[0]:
                    state[f"{name}|{key}|{part}"] = getattr(value, part)
            else:
                state[f"{name}|{key}"] = value
    state[f"random|cpu|{ranks.rank}"] = torch.get_rng_state()
    if torch.cuda.is_available():
        state[f"random|cuda|{ranks.rank}"] = torch.cuda.get_rng_state()
    return state


def trainer_template(
    names: set[str],
    learnt: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    ranks: Ranks,
) -> dict[str, tuple[Tensor, Put]]:
    """For every stored tensor this process wants: an empty one like it, and what to do when filled."""
    wanted: dict[str, tuple[Tensor, Put]] = {}
    for name, parameter in learnt.items():
        keys = {rest.split("|")[0] for rest in _after(f"{name}|", names)}
        for key in sorted(keys):
            if f"{name}|{key}" in names:
                where = parameter.device if isinstance(optimizer, torch.optim.AdamW) else "cpu"
                empty = (
                    torch.zeros((), device=where)
                    if key == "step"
                    else torch.zeros_like(parameter.detach())
                )
                optimizer.state[parameter][key] = empty
                wanted[f"{name}|{key}"] = (empty, _nothing)
                continue
            # Moments in 8 bits are made by the optimiser itself, and filled part by part.
            whole = optimizer._new_buffer(parameter, key == "exp_avg")  # type: ignore[attr-defined]
            optimizer.state[parameter][key] = whole
            for part in whole.__tensor_flatten__()[0]:
                wanted[f"{name}|{key}|{part}"] = (getattr(whole, part), _nothing)
    if (cpu := f"random|cpu|{ranks.rank}") in names:
        wanted[cpu] = (torch.get_rng_state(), torch.set_rng_state)
    if (cuda := f"random|cuda|{ranks.rank}") in names and torch.cuda.is_available():
        wanted[cuda] = (torch.cuda.get_rng_state(), torch.cuda.set_rng_state)
    return wanted


def copied(tensor: Tensor) -> Tensor:
    """A copy on the CPU, cut among processes as the original is."""
    if isinstance(tensor, DTensor):
        return tensor.detach().clone() if tensor.device.type == "cpu" else tensor.detach().cpu()
    return tensor.detach().to("cpu", copy=True)


def _after(start: str, names: set[str]) -> list[str]:
    return [name.removeprefix(start) for name in names if name.startswith(start)]


def _is_composed(value: Any) -> bool:
    return hasattr(value, "__tensor_flatten__") and not isinstance(value, DTensor)


def _nothing(_: Tensor) -> None:
    pass
