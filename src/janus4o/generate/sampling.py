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

    Each row takes its noise from its own generator, and rounding changes a draw only at a near tie.

    Args:
        logits_BV: float32.
        generators: one for each row; not advanced when greedy.
        temperature: 0 means greedy.
        top_k: only the k likeliest codes can be drawn; all that tie with the k-th can.
    """
    if temperature == 0:
        return logits_BV.argmax(-1)
    scores_BV = likely(logits_BV, temperature, top_k)
    noise = torch.stack([gumbel(logits_BV.shape[-1], one) for one in generators])
    return (scores_BV + noise.to(scores_BV)).argmax(-1)


def likely(logits_BV: Tensor, temperature: float, top_k: int | None) -> Tensor:
    """Logits of what is to be drawn from; greedy ones as they are."""
    if temperature == 0:
        return logits_BV
    if top_k is not None and top_k < logits_BV.shape[-1]:
        least = logits_BV.topk(top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least, -torch.inf)
    return logits_BV / temperature


def gumbel(count: int, generator: torch.Generator) -> Tensor:
    """Noise whose argmax with logits is a draw from their softmax: -log of Exp(1), float32 [count]."""
    race = torch.empty(count, dtype=torch.float32).exponential_(generator=generator)
    return race.clamp_(min=torch.finfo(torch.float32).tiny).log_().neg_()
