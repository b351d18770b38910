"""Trains the picture tokenizer of the offline world: transformers' stock `JanusVQVAE`, from nothing.

Codes must be canonical (the same patch gives the same code whatever surrounds it), or the language
model has to predict the tokenizer's noise. Four phases:

1. a plain autoencoder of unit-norm latents, no codes yet;
2. the codebook: one code per distinct patch of the learnable scenes, placed at its mean latent;
3. the encoder learns to name each patch's code (cross-entropy), the decoder to draw from the codes
   alone, and the codebook to keep the two apart;
4. the decoder alone, on crowded pictures: codes no longer change, edges get sharp.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.janus.modeling_janus import JanusVQVAE

from janus4o.model.preprocess import to_pixel_values
from janus4o.sketch import render
from janus4o.sketch.scene import (
    LEARNABLE_BACKGROUNDS,
    LEARNABLE_COLOURS,
    LEARNABLE_SHAPES,
    Item,
    Scene,
    Slot,
    overlap,
)

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TokenizerOptions:
    """How the tokenizer is trained.

    Attributes:
        autoencoder_steps, code_steps, decoder_steps: optimiser steps of phases 1, 3 and 4.
        batch: pictures a step.
        learning_rate: peak AdamW rate; decays to 0 over each phase.
        painted: side in pixels at which scenes are painted before they are shrunk.
        temperature: of the cross-entropy over cosine similarities.
        noise: standard deviation of the pixel noise the encoder must shrug off (pixels in -1..1).
    """

    autoencoder_steps: int = 400
    code_steps: int = 1300
    decoder_steps: int = 2500
    batch: int = 16
    learning_rate: float = 1e-3
    painted: int = 128
    temperature: float = 0.05
    noise: float = 0.02
    seed: int = 0


def random_scene(rng: np.random.Generator, fewest: int = 1) -> Scene:
    """A learnable scene of up to 4 objects (as they fit) in any slots that do not overlap."""
    wanted = int(rng.integers(fewest, 5))
    slots: list[Slot] = []
    for slot in rng.permutation(np.array(list(Slot), dtype=object)):
        if len(slots) < wanted and not any(overlap(slot, other) for other in slots):
            slots.append(slot)
    items = tuple(
        Item(
            LEARNABLE_SHAPES[rng.integers(len(LEARNABLE_SHAPES))],
            LEARNABLE_COLOURS[rng.integers(len(LEARNABLE_COLOURS))],
            slot,
        )
        for slot in slots
    )
    return Scene(items, LEARNABLE_BACKGROUNDS[rng.integers(len(LEARNABLE_BACKGROUNDS))])


def shrink(scene: Scene, painted: int, size: int) -> NDArray[np.uint8]:
    """The scene as the model sees it: painted large, reduced bicubically. uint8 [size, size, 3]."""
    image = render.picture(scene, painted)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), np.uint8)


class PatchLabels:
    """Numbers every distinct patch of the learnable scenes."""

    def __init__(self, painted: int, size: int, patch: int) -> None:
        self.patch = patch
        self.pictures: list[NDArray[np.uint8]] = []
        distinct: dict[bytes, NDArray[np.uint8]] = {}
        for background in LEARNABLE_BACKGROUNDS:
            for shape in LEARNABLE_SHAPES:
                for colour in LEARNABLE_COLOURS:
                    scene = Scene((Item(shape, colour, Slot.CENTRE),), background)
                    pixels = shrink(scene, painted, size)
                    self.pictures.append(pixels)
                    distinct.update((one.tobytes(), one) for one in self._split(pixels))
        self._patches = np.stack([p.ravel() for p in distinct.values()]).astype(np.float32)
        self._squares = np.square(self._patches).sum(1)

    def __len__(self) -> int:
        return len(self._patches)

    def _split(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        p, rows = self.patch, pixels.shape[0] // self.patch
        return pixels.reshape(rows, p, -1, p, 3).swapaxes(1, 2).reshape(-1, p, p, 3)

    def of(self, pictures_BHWC: NDArray[np.uint8]) -> Tensor:
        """The number of the nearest patch, int64 [B, patches], row-major.

        Nearest, not equal: Pillow's fixed-point filter rounds a level up or down by position.
        """
        flat = np.concatenate([self._split(one) for one in pictures_BHWC]).astype(np.float32)
        distance = self._squares - 2 * flat.reshape(len(flat), -1) @ self._patches.T
        return torch.from_numpy(distance.argmin(1)).view(len(pictures_BHWC), -1)


def reconstruction_loss(got: Tensor, wanted: Tensor, ground: Tensor) -> Tensor:
    """L1 + L2, with pixels that differ from the background weighted sevenfold."""
    weight = 1.0 + 6.0 * ((wanted - ground).abs().amax(1, keepdim=True) > 0.05).float()
    difference = got - wanted
    return (weight * (difference.abs() + difference.square())).mean()


def latents(vq: JanusVQVAE, pixels: Tensor) -> Tensor:
    """Unit-norm encoder outputs, [B, h, w, D]."""
    z: Tensor = vq.quant_conv(vq.encoder(pixels))
    return F.normalize(z.permute(0, 2, 3, 1), dim=-1)


def draw_from(vq: JanusVQVAE, z_BhwD: Tensor) -> Tensor:
    """Pictures decoded from latents, [B, 3, H, W]."""
    return vq.decoder(vq.post_quant_conv(z_BhwD.permute(0, 3, 1, 2).contiguous()))  # type: ignore[no-any-return]


def train_tokenizer(
    vq: JanusVQVAE, size: int, patch: int, options: TokenizerOptions, log: Log = print
) -> JanusVQVAE:
    """Trains `vq` in place on learnable scenes of `size` pixels and returns it."""
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    labels = PatchLabels(options.painted, size, patch)
    codes = vq.quantize.num_embeddings
    log(f"{len(labels)} distinct patches, {codes} codes")
    if len(labels) > codes:
        raise ValueError(f"{len(labels)} distinct patches do not fit {codes} codes")
    for module in vq.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    vq.train()

    def batch(fewest: int) -> tuple[Tensor, Tensor, Tensor]:
        scenes = [random_scene(rng, fewest) for _ in range(options.batch)]
        pictures = np.stack([shrink(scene, options.painted, size) for scene in scenes])
        named = labels.of(pictures)
        grounds = torch.tensor([render.GROUND_RGB[s.background] for s in scenes])
        ground = grounds.float().div(127.5).sub(1.0)[:, :, None, None]
        return to_pixel_values(pictures), named, ground

    started = time.monotonic()

    def phase(
        steps: int,
        name: str,
        loss_of: Callable[[Tensor, Tensor, Tensor], Tensor],
        learnt: list[nn.Parameter],
        fewest: int = 1,
    ) -> None:
        optimiser = torch.optim.AdamW(learnt, lr=options.learning_rate, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, options.learning_rate, total_steps=max(1, steps), pct_start=0.05
        )
        for step in range(steps):
            pixels, named, ground = batch(fewest)
            loss = loss_of(pixels, named, ground)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(learnt, 1.0)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                weight = vq.quantize.embedding.weight
                weight.copy_(F.normalize(weight, dim=-1))
            if step % 100 == 99:
                spent = time.monotonic() - started
                log(f"{name} {step + 1}/{steps} loss {loss.item():.4f} {spent:.0f} s")

    def autoencode(pixels: Tensor, _named: Tensor, ground: Tensor) -> Tensor:
        return reconstruction_loss(draw_from(vq, latents(vq, pixels)), pixels, ground)

    def name_and_draw(pixels: Tensor, named: Tensor, ground: Tensor) -> Tensor:
        codebook = F.normalize(vq.quantize.embedding.weight, dim=-1)
        noisy = pixels + options.noise * torch.randn_like(pixels)
        z = latents(vq, noisy).flatten(1, 2)
        naming = F.cross_entropy(
            (z @ codebook.T / options.temperature).flatten(0, 1), named.flatten()
        )
        return naming + draw_only(pixels, named, ground)

    def draw_only(pixels: Tensor, named: Tensor, ground: Tensor) -> Tensor:
        codebook = F.normalize(vq.quantize.embedding.weight, dim=-1)
        side = size // patch
        drawn = draw_from(vq, codebook[named].unflatten(1, (side, side)))
        return reconstruction_loss(drawn, pixels, ground)

    everything = list(vq.parameters())
    phase(options.autoencoder_steps, "autoencoder", autoencode, everything)
    _place_codes(vq, labels)
    phase(options.code_steps, "codes", name_and_draw, everything)
    drawing = [*vq.decoder.parameters(), *vq.post_quant_conv.parameters()]
    vq.requires_grad_(False)
    for parameter in drawing:
        parameter.requires_grad_(True)
    phase(options.decoder_steps, "decoder", draw_only, drawing, fewest=4)
    vq.eval()
    return vq


@torch.no_grad()
def _place_codes(vq: JanusVQVAE, labels: PatchLabels) -> None:
    """Puts each patch's code at its mean latent; codes no patch uses stay random."""
    weight = vq.quantize.embedding.weight
    weight.copy_(F.normalize(torch.randn_like(weight), dim=-1))
    sums = torch.zeros(len(labels), weight.shape[1])
    for start in range(0, len(labels.pictures), 64):
        pictures = np.stack(labels.pictures[start : start + 64])
        z = latents(vq, to_pixel_values(pictures)).flatten(0, 2)
        sums.index_add_(0, labels.of(pictures).flatten(), z)
    weight[: len(sums)] = F.normalize(sums, dim=-1)
