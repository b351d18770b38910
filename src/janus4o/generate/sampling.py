"""Draws codes so that a picture depends on its own seed and on nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def new_generator(seed: int) -> torch.Generator:
    """One picture's source of randomness. It lives on the CPU, so devices agree."""
    return torch.Generator("cpu").manual_seed(seed)


def sample(
    logits_BV: Tensor,
    generators: Sequence[torch.Generator],
    temperature: float,
    top_k: int | None = None,
) -> Tensor:
    """One code a row, int64 [B].

    The draw is an exponential race: with q ~ Exp(1), argmax(p / q) is distributed as p. Each row
    takes its noise from its own generator, and rounding changes a draw only at a near tie.

    Args:
        logits_BV: float32.
        generators: one for each row; not advanced when greedy.
        temperature: 0 means greedy.
        top_k: only the k likeliest codes can be drawn; all that tie with the k-th can.
    """
    if temperature == 0:
        return logits_BV.argmax(-1)
    if top_k is not None and top_k < logits_BV.shape[-1]:
        least = logits_BV.topk(top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least, -torch.inf)
    race = torch.empty(logits_BV.shape, dtype=torch.float32)
    for row, generator in zip(race, generators, strict=True):
        row.exponential_(generator=generator)
    smallest = torch.finfo(torch.float32).tiny
    return (logits_BV / temperature - race.clamp(min=smallest).log().to(logits_BV)).argmax(-1)
