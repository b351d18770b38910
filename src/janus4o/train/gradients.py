"""Gradients of one optimiser step, micro-batch by micro-batch, on a CPU several at once.

Two cores computing a micro-batch each are much faster than two cores sharing one: the matrices of a
small model are too small to be cut in half. Gradients are added in the order of the micro-batches,
whoever computed them, so the number of workers does not change what is learnt.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import JanusForConditionalGeneration

from janus4o.train.attention import use_for_training
from janus4o.train.batch import Batch
from janus4o.train.loss import Losses, batch_loss


@dataclass(frozen=True, slots=True)
class _Copy:
    """A learnt parameter in bfloat16, where it belongs, and its place among what is learnt."""

    module: nn.Module
    name: str
    place: int
    half: nn.Parameter


class Gradients:
    """Adds the gradients of batches to `.grad` of what is learnt.

    Args:
        workers: micro-batches computed at the same time; more than one on the CPU only, where each
            gets its share of torch's threads.
        sharded: the forward pass of a network whose weights are cut among processes; it gathers
            them, and its backward pass hands the gradients round by itself.
    """

    def __init__(
        self,
        network: JanusForConditionalGeneration,
        learnt: Sequence[nn.Parameter],
        precision: Literal["fp32", "bf16"],
        workers: int = 1,
        sharded: Callable[[Batch], Losses] | None = None,
    ) -> None:
        self._network = network
        self._learnt = learnt
        self._precision = precision
        self._device = network.device
        self._workers = workers if self._device.type == "cpu" and sharded is None else 1
        self._threads = max(1, torch.get_num_threads() // self._workers)
        self._sharded = sharded
        # Kept from step to step, since memory fresh from the system costs time at its first touch.
        self._copies: list[_Copy] | None = None
        self._sums: dict[int, Tensor] = {}

    def add(self, batches: Sequence[Batch], weights: Sequence[float]) -> list[Tensor]:
        """Adds the gradient of Σ summed losses of a batch / its weight.

        Returns:
            For each batch the summed loss of each of its target pictures, [R], on the CPU.
        """
        if self._sharded is not None or self._workers == 1:
            return [self._backward(*one) for one in zip(batches, weights, strict=True)]
        sums = []
        with self._cast_once() as used:
            for losses, gradients in self._all(batches, weights, used):
                sums.append(losses.image_RT.detach().sum(1).cpu())
                for place, gradient in enumerate(gradients):
                    if gradient is not None:
                        self._add(place, gradient)
        return sums

    def _add(self, place: int, gradient: Tensor) -> None:
        parameter = self._learnt[place]
        if parameter.grad is not None:
            parameter.grad += gradient
            return
        if place not in self._sums:
            self._sums[place] = torch.empty_like(
                parameter, dtype=parameter.grad_dtype or parameter.dtype, requires_grad=False
            )
        parameter.grad = self._sums[place].copy_(gradient)

    @contextmanager
    def _cast_once(self) -> Iterator[list[Tensor]]:
        """What stands for each of what is learnt meanwhile: bfloat16 copies of what autocast would cast in
        every micro-batch, there and its gradient back. The numbers are the same.
        """
        used: list[Tensor] = list(self._learnt)
        if self._copies is None:
            self._copies = list(self._to_copy())
        try:
            for one in self._copies:
                one.half.data.copy_(self._learnt[one.place].data)
                used[one.place] = one.half
                setattr(one.module, one.name, one.half)
            yield used
        finally:
            for one in self._copies:
                setattr(one.module, one.name, self._learnt[one.place])

    def _to_copy(self) -> Iterator[_Copy]:
        if self._precision != "bf16":
            return
        places = {id(parameter): place for place, parameter in enumerate(self._learnt)}
        modules = list(self._network.modules())
        # What several share (tied embeddings) is left: its gradient comes from all of them.
        owners = Counter(id(one) for module in modules for one in module.parameters(recurse=False))
        for module in modules:
            if not isinstance(module, nn.Linear | nn.Conv2d):
                continue
            for name, one in module.named_parameters(recurse=False):
                if one.dtype == torch.float32 and id(one) in places and owners[id(one)] == 1:
                    half = nn.Parameter(torch.empty_like(one, dtype=torch.bfloat16))
                    yield _Copy(module, name, places[id(one)], half)

    @torch.no_grad()
    def losses(self, batch: Batch) -> Tensor:
        """The summed loss of each target picture, [R], on the CPU; nothing is learnt."""
        return self._losses(batch).image_RT.sum(1).cpu()

    def _all(
        self, batches: Sequence[Batch], weights: Sequence[float], learnt: Sequence[Tensor]
    ) -> Iterator[tuple[Losses, Sequence[Tensor | None]]]:
        of_one = partial(self._of_one, learnt=learnt)
        if len(batches) == 1:
            yield from map(of_one, batches, weights)
            return
        with ThreadPoolExecutor(self._workers, initializer=self._take_share) as pool:
            begun: deque[Future[tuple[Losses, Sequence[Tensor | None]]]] = deque()
            for one in zip(batches, weights, strict=True):
                # Each holds a gradient of everything; those behind a slow one wait in memory.
                if len(begun) == 2 * self._workers:
                    yield begun.popleft().result()
                begun.append(pool.submit(of_one, *one))
            while begun:
                yield begun.popleft().result()

    def _take_share(self) -> None:
        torch.set_num_threads(self._threads)  # of this thread only

    def _of_one(
        self, batch: Batch, weight: float, learnt: Sequence[Tensor]
    ) -> tuple[Losses, Sequence[Tensor | None]]:
        losses = self._losses(batch)
        return losses, torch.autograd.grad(losses.total / weight, list(learnt), allow_unused=True)

    def _backward(self, batch: Batch, weight: float) -> Tensor:
        losses = self._losses(batch)
        (losses.total / weight).backward()
        return losses.image_RT.detach().sum(1).cpu()

    def _losses(self, batch: Batch) -> Losses:
        batch = batch.to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            if self._sharded is not None:
                return self._sharded(batch)
            return batch_loss(self._network, batch)


@contextmanager
def attention_for_training(
    network: JanusForConditionalGeneration, packed: bool = False
) -> Iterator[None]:
    """`train.attention` meanwhile: on a CPU everywhere, on a GPU in the language model if rows are packed."""
    config = network.config
    text, vision = config.text_config, config.vision_config
    changed: list[Any] = (
        [text, vision] if network.device.type == "cpu" else [text] if packed else []
    )
    before = [one._attn_implementation for one in changed]
    try:
        for one in changed:
            use_for_training(one)
        yield
    finally:
        for one, name in zip(changed, before, strict=True):
            one._attn_implementation = name
