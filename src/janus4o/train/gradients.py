"""Gradients of one optimiser step, micro-batch by micro-batch, on a CPU several at once.

Two cores computing a micro-batch each are much faster than two cores sharing one: the matrices of a
small model are too small to be cut in half. Gradients are added in the order of the micro-batches,
whoever computed them, so the number of workers does not change what is learnt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import JanusForConditionalGeneration

from janus4o.train.batch import Batch
from janus4o.train.loss import Losses, batch_loss


class Gradients:
    """Adds the gradients of batches to `.grad` of what is learnt.

    Args:
        workers: micro-batches computed at the same time; more than one on the CPU only, where each
            gets its share of torch's threads.
    """

    def __init__(
        self,
        network: JanusForConditionalGeneration,
        learnt: Sequence[nn.Parameter],
        precision: Literal["fp32", "bf16"],
        workers: int = 1,
    ) -> None:
        self._network = network
        self._learnt = learnt
        self._precision = precision
        self._device = network.device
        self._workers = workers if self._device.type == "cpu" else 1
        self._threads = max(1, torch.get_num_threads() // self._workers)

    def add(self, batches: Sequence[Batch], weights: Sequence[float]) -> list[Tensor]:
        """Adds the gradient of Σ summed losses of a batch / its weight.

        Returns:
            For each batch the summed loss of each of its target pictures, [R], on the CPU.
        """
        sums = []
        for losses, gradients in self._all(batches, weights):
            sums.append(losses.image_RT.detach().sum(1).cpu())
            for parameter, gradient in zip(self._learnt, gradients, strict=True):
                if gradient is None:
                    continue
                if parameter.grad is None:
                    parameter.grad = gradient
                else:
                    parameter.grad += gradient
        return sums

    def _all(
        self, batches: Sequence[Batch], weights: Sequence[float]
    ) -> Iterator[tuple[Losses, Sequence[Tensor | None]]]:
        if self._workers == 1 or len(batches) == 1:
            yield from map(self._of_one, batches, weights)
            return
        with ThreadPoolExecutor(self._workers, initializer=self._take_share) as pool:
            yield from pool.map(self._of_one, batches, weights)

    def _take_share(self) -> None:
        torch.set_num_threads(self._threads)  # of this thread only

    def _of_one(self, batch: Batch, weight: float) -> tuple[Losses, Sequence[Tensor | None]]:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            losses = batch_loss(self._network, batch.to(self._device))
        return losses, torch.autograd.grad(
            losses.total / weight, list(self._learnt), allow_unused=True
        )


@contextmanager
def attention_for_training(network: JanusForConditionalGeneration) -> Iterator[None]:
    """Plain attention while training on a CPU.

    The backward pass of torch's fused CPU kernel is three to eight times slower on rows this short.
    """
    if network.device.type != "cpu":
        yield
        return
    before = network.config._attn_implementation
    network.set_attn_implementation("eager")
    try:
        yield
    finally:
        network.set_attn_implementation(before)
