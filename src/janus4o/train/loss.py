"""What is learnt: cross-entropy of the target's codes, or of the answer's words, in nats.

Losses come back one number per supervised token, so that whoever calls decides what the mean is over:
divide sums by the targets of the whole optimiser step and micro-batches change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from janus4o.model.embed import embed_codes, understand
from janus4o.model.preprocess import to_pixel_values
from janus4o.train.attention import Packed, positions_of
from janus4o.train.batch import Batch

if TYPE_CHECKING:
    from transformers import JanusForConditionalGeneration


@dataclass(frozen=True, slots=True)
class Losses:
    """Cross-entropies in nats.

    Attributes:
        image_RT: one for each supervised code of each target picture.
        text_K: one for each supervised word.
    """

    image_RT: Tensor
    text_K: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.image_RT.sum() + self.text_K.sum()

    @property
    def mean(self) -> Tensor:
        """Their mean over all supervised tokens of the batch."""
        return self.total / (self.image_RT.numel() + self.text_K.numel())


def embed(network: JanusForConditionalGeneration, batch: Batch) -> Tensor:
    """The input embeddings of a batch, [B, L, D]; gradients reach every part that makes them."""
    words_BLD: Tensor = network.model.language_model.embed_tokens(batch.ids_BL)
    flat = words_BLD.flatten(0, 1)
    if batch.feature_at.numel():
        values = to_pixel_values(batch.pictures_PSS3.numpy()).to(flat.device)
        features = understand(network, values).flatten(0, 1)
        flat = flat.index_copy(0, batch.feature_at, features.to(flat.dtype))
    if batch.code_at_N.numel():
        codes = embed_codes(network, batch.codes_N)
        flat = flat.index_copy(0, batch.code_at_N, codes.to(flat.dtype))
    return flat.view_as(words_BLD)


def batch_loss(network: JanusForConditionalGeneration, batch: Batch) -> Losses:
    """One forward pass. Only the positions that predict something go through the output heads.

    There is no attention mask: padding stands on the right, where causal attention never looks, and
    packed rows are kept apart by `train.attention` (or, under any other attention, by the mask that
    transformers makes of positions that start again).
    """
    embeds = embed(network, batch)
    more: dict[str, Any] = {}
    if batch.lengths:
        more["packed"] = Packed.of(batch.lengths, embeds.device)
        more["position_ids"] = positions_of(batch.lengths).to(embeds.device)
    hidden = network.model.language_model(
        inputs_embeds=embeds, use_cache=False, **more
    ).last_hidden_state.flatten(0, 1)
    image, text = batch.image_at_RT, batch.text_at_K
    image_losses = hidden.new_zeros(image.shape, dtype=torch.float32)
    text_losses = hidden.new_zeros(text.shape, dtype=torch.float32)
    if image.numel():
        logits = network.model.generation_head(hidden.index_select(0, image.flatten()))
        image_losses = _cross_entropy(logits, batch.image_targets_RT.flatten()).view_as(image)
    if text.numel():
        logits = network.lm_head(hidden.index_select(0, text))
        text_losses = _cross_entropy(logits, batch.text_targets_K)
    return Losses(image_losses, text_losses)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    # At least float32: bfloat16 logits would lose the small differences late training lives on.
    precise = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(precise, targets, reduction="none")
