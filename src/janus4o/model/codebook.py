"""Pictures to VQ codes and back, with our own nearest search.

transformers' `vqmodel.encode` forgets to normalise the latents (the official code does); here both
sides are unit vectors, so the nearest row is the one of largest cosine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import JanusForConditionalGeneration

PIXELS_AT_ONCE = {"cpu": 16 * 64 * 64, "cuda": 16 * 384 * 384}
"""Pictures are encoded in groups of about this many pixels, to bound memory."""


def normalise_codebook(network: JanusForConditionalGeneration) -> None:
    """Makes every codebook row a unit vector, in place. Decoding does not change by it.

    Rows that are unit vectors already stay bit for bit, so loading what was saved changes nothing.
    """
    weight = network.model.vqmodel.quantize.embedding.weight
    with torch.no_grad():
        rows = weight.float()
        is_off = (rows.norm(dim=-1, keepdim=True) - 1).abs() > 1e-6
        weight.copy_(torch.where(is_off, F.normalize(rows, dim=-1), rows))


@torch.no_grad()
def latents(network: JanusForConditionalGeneration, pixel_values: Tensor) -> Tensor:
    """Encoder outputs before any normalisation, [B, D, grid, grid]."""
    vq = network.model.vqmodel
    z: Tensor = vq.quant_conv(vq.encoder(pixel_values.to(_place(network))))
    return z


@torch.no_grad()
def encode(network: JanusForConditionalGeneration, pixel_values: Tensor) -> Tensor:
    """VQ codes of pictures.

    Args:
        pixel_values: float [B, 3, S, S] in -1..1.

    Returns:
        int64 [B, T], row-major over the grid, on the CPU.
    """
    codebook = F.normalize(network.model.vqmodel.quantize.embedding.weight.float(), dim=-1)
    codes = []
    pixels = PIXELS_AT_ONCE.get(codebook.device.type, PIXELS_AT_ONCE["cpu"])
    for part in torch.split(pixel_values, max(1, pixels // pixel_values.shape[-1] ** 2)):
        z_BTD = latents(network, part).flatten(2).transpose(1, 2)
        codes.append((F.normalize(z_BTD.float(), dim=-1) @ codebook.T).argmax(-1).cpu())
    return torch.cat(codes)


@torch.no_grad()
def decode(network: JanusForConditionalGeneration, codes: Tensor) -> NDArray[np.uint8]:
    """Pictures of VQ codes.

    Args:
        codes: int64 [B, T].

    Returns:
        uint8 [B, S, S, 3]; levels are cut off, not rounded, as officially.
    """
    vq = network.model.vqmodel
    codebook = F.normalize(vq.quantize.embedding.weight.float(), dim=-1)
    grid, place = vq.quantize.quant_state_dims, _place(network)
    pictures = []
    # One at a time: convolutions round differently for every batch size, cutting off makes that a
    # level, and a picture must not depend on its neighbours. On a CPU it costs nothing.
    for one in torch.split(codes, 1):
        z_BhwD = codebook[one.to(codebook.device)].view(1, *grid, -1)
        # Left in channels-last order, which every convolution then keeps: on a CPU in bfloat16 a
        # fifth faster than the other.
        z_BDhw = z_BhwD.permute(0, 3, 1, 2).to(place)
        x = vq.decoder(vq.post_quant_conv(z_BDhw))
        levels = ((x.float() + 1) / 2 * 255).clamp(0, 255).to(torch.uint8)
        pictures.append(levels.permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(pictures)


def _place(network: JanusForConditionalGeneration) -> Tensor:
    """A weight of the tokenizer: `x.to(_place(network))` takes its device and dtype."""
    weight: Tensor = network.model.vqmodel.quant_conv.weight
    return weight
