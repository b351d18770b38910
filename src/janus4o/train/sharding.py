"""A network cut among processes with FSDP2: each keeps a part of every weight, gradient and moment.

Layers of the language model are gathered one at a time. Everything else, the understanding tower with
it, is one group that stays gathered during a step: a process whose rows have no source picture never
calls the tower, and collectives that only some processes call would wait forever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from transformers import JanusForConditionalGeneration

from janus4o.train.batch import Batch
from janus4o.train.loss import Losses, batch_loss
from janus4o.train.ranks import Ranks


class _Step(nn.Module):
    """The forward pass as a module of its own, because FSDP gathers weights where a module is called."""

    def __init__(self, network: JanusForConditionalGeneration) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        losses = batch_loss(self.network, batch)
        # Plain tensors, and no views: FSDP hangs its backward pass on them.
        return losses.image_RT.clone(), losses.text_K.clone()


def shard(
    network: JanusForConditionalGeneration, ranks: Ranks, precision: Literal["fp32", "bf16"]
) -> Callable[[Batch], Losses]:
    """Cuts `network` in place; its parameters become DTensors. Returns its forward pass.

    The picture tokenizer, which training never calls, stays whole.
    """
    assert ranks.mesh is not None
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if precision == "bf16" else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for layer in network.model.language_model.layers:
        fully_shard(layer, mesh=ranks.mesh, mp_policy=policy)
    whole = set(network.model.vqmodel.parameters())
    step = _Step(network)
    cut: FSDPModule = fully_shard(step, mesh=ranks.mesh, mp_policy=policy, ignored_params=whole)
    for part in step.modules():
        if isinstance(part, FSDPModule):
            # Weights of the loss make it a mean over all processes already: gradients are summed.
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
    cut.set_reduce_scatter_unused_params(True)

    def forward(batch: Batch) -> Losses:
        return Losses(*step(batch))

    return forward
