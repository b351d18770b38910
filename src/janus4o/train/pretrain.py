"""Makes the base of the offline world: the Janus-Pro that fine-tuning starts from.

It knows single objects, in words and pixels: it draws "a blue heart in the top left corner" and says
what a picture of one object shows. It has never seen a caption of two things, nor an edit.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from janus4o.model import codebook, sequence
from janus4o.model.loading import JanusModel
from janus4o.model.preprocess import fit_image, to_pixel_values
from janus4o.recipe import Dropout
from janus4o.sketch import grammar, render
from janus4o.sketch.scene import (
    LEARNABLE_BACKGROUNDS,
    LEARNABLE_COLOURS,
    LEARNABLE_SHAPES,
    Item,
    Scene,
    Slot,
)
from janus4o.train.batch import Example, Kind, collate, hide, lay_out
from janus4o.train.loss import batch_loss, computing

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BaseOptions:
    """How the base is trained, after its tokenizer.

    Attributes:
        steps: optimiser steps.
        drawn, described: captions to draw and pictures to describe in each step.
        rate: peak AdamW rate; linear warm-up over `warmup` steps, cosine to zero.
        centred: how often the object stands in the middle.
        painted: side in pixels at which scenes are painted before they are shrunk.
    """

    steps: int = 2200
    drawn: int = 64
    described: int = 32
    rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    centred: float = 0.3
    painted: int = 128
    seed: int = 0


def base_scenes() -> list[Scene]:
    """Every scene the base ever sees: one object, anywhere."""
    return [
        Scene((Item(shape, colour, slot),), background)
        for shape, colour, slot, background in itertools.product(
            LEARNABLE_SHAPES, LEARNABLE_COLOURS, Slot, LEARNABLE_BACKGROUNDS
        )
    ]


class BaseData:
    """Examples of single objects, drawn without end."""

    def __init__(self, model: JanusModel, options: BaseOptions) -> None:
        self.model = model
        self.options = options
        self.scenes = base_scenes()
        self._centred = [i for i, s in enumerate(self.scenes) if s.items[0].slot is Slot.CENTRE]
        pictures = [
            fit_image(render.picture(scene, options.painted), model.geometry, model.fit)
            for scene in self.scenes
        ]
        self.pictures: NDArray[np.uint8] = np.stack(pictures)
        self.codes = codebook.encode(model.network, to_pixel_values(self.pictures)).numpy()

    def draw(self, kind: Kind, rng: np.random.Generator) -> Example:
        """One example: a caption to draw, or a picture to describe.

        Raises:
            ValueError: an edit is asked for; the base never sees one.
        """
        if kind is Kind.EDIT:
            raise ValueError("the base never sees an edit")
        if rng.random() < self.options.centred:
            index = self._centred[rng.integers(len(self._centred))]
        else:
            index = int(rng.integers(len(self.scenes)))
        scene, geometry, words = self.scenes[index], self.model.geometry, self.model.tokenizer
        if kind is Kind.DESCRIBE:
            asked, answer = grammar.question(scene, rng)
            laid = sequence.describe(asked, geometry, words, answer)
            return lay_out(kind, laid, pictures=[self.pictures[index]])
        laid = sequence.text_to_image(grammar.base_caption(scene, rng), geometry, words)
        return lay_out(kind, laid, target=self.codes[index])


def pretrain(model: JanusModel, options: BaseOptions, log: Log = print) -> JanusModel:
    """Trains everything but the picture tokenizer, in place, and returns the model."""
    network, rng = model.network, np.random.default_rng(options.seed)
    data = BaseData(model, options)
    dropout = Dropout(prompt=0.1, source=0.0, null=0.0)
    network.model.vqmodel.requires_grad_(False)
    network.train()
    network.model.vqmodel.eval()
    learnt = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in learnt if p.ndim > 1], "weight_decay": options.weight_decay},
            {"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=options.rate,
        betas=(0.9, 0.98),
    )
    log(f"{sum(p.numel() for p in learnt):,} parameters, {len(data.scenes)} scenes")
    started, tokens = time.monotonic(), 0
    for step in range(options.steps):
        rate = options.rate * min(1.0, (step + 1) / options.warmup)
        rate *= 0.5 + 0.5 * math.cos(math.pi * step / options.steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        shown = []
        for kind, count in (
            (Kind.TEXT_TO_IMAGE, options.drawn),
            (Kind.DESCRIBE, options.described),
        ):
            examples = [
                hide(data.draw(kind, rng), dropout, model.geometry.pad, rng) for _ in range(count)
            ]
            batch = collate(examples, model.geometry.pad)
            with computing("bf16", model.device):
                loss = batch_loss(network, batch).mean
            loss.backward()
            tokens += batch.tokens
            shown.append(f"{kind} {loss.item():.4f}")
        nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        if step % 100 == 99:
            spent = time.monotonic() - started
            log(
                f"base {step + 1}/{options.steps} {' '.join(shown)} {spent:.0f} s "
                f"{tokens / spent:.0f} tokens/s"
            )
    network.eval()
    return model
