"""An optimiser's moments as plain named tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def trainer_state(
    learnt: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Every moment by name; those in 8 bits become the tensors they consist of."""
    state: dict[str, Tensor] = {}
    for name, parameter in learnt.items():
        for key, value in sorted(optimizer.state.get(parameter, {}).items()):
            if _is_composed(value):
                for part in value.__tensor_flatten__()[0]:
                    state[f"{name}|{key}|{part}"] = getattr(value, part)
            else:
                state[f"{name}|{key}"] = value
    return state


def trainer_template(
    names: set[str],
    learnt: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> dict[str, Tensor]:
    """For every stored moment an empty tensor like it, which `optimizer` has already."""
    wanted: dict[str, Tensor] = {}
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
                wanted[f"{name}|{key}"] = empty
                continue
            # Moments in 8 bits are made by the optimiser itself, and filled part by part.
            whole = optimizer._new_buffer(parameter, key == "exp_avg")  # type: ignore[attr-defined]
            optimizer.state[parameter][key] = whole
            for part in whole.__tensor_flatten__()[0]:
                wanted[f"{name}|{key}|{part}"] = getattr(whole, part)
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
