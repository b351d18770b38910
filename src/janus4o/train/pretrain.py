"""Makes the base of the offline world: the Janus-Pro that fine-tuning starts from.

It knows single objects, in words and pixels: it draws "a blue heart in the top left corner", says
what a picture of one object shows, and in a conversation draws again what it drew before. It has
never seen a caption of two things, nor an edit.
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
from janus4o.train.gradients import Gradients, attention_for_training

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BaseOptions:
    """How the base is trained, after its tokenizer.

    Attributes:
        steps: optimiser steps.
        drawn, described: captions to draw and pictures to describe in each step.
        recalled: conversations in each step, in which a caption comes back and with it the picture.
            They give the model what a language model of that size would have from text: looking
            back and copying.
        rate: peak AdamW rate; linear warm-up over `warmup` steps, cosine to zero.
        centred: how often the object stands in the middle.
        painted: side in pixels at which scenes are painted before they are shrunk.
        workers: batches computed at the same time.
    """

    steps: int = 2400
    drawn: int = 32
    described: int = 16
    recalled: int = 24
    rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    centred: float = 0.3
    painted: int = 128
    workers: int = 2
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

    def recall(self, rng: np.random.Generator) -> Example:
        """A conversation of two to four captions and pictures in which one comes back at the end.

        Captions leave much open, or all of it where only one picture came before, so that the last
        picture can only be known by looking back.
        """
        geometry, words = self.model.geometry, self.model.tokenizer
        turns = [self._place(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        captions = [self._vague_caption(index, rng) for index in turns]
        back = int(rng.integers(len(turns)))
        turns.append(turns[back])
        captions.append(captions[back])
        ids: list[int] = [geometry.bos]
        at: list[int] = []
        for number, caption in enumerate(captions):
            turn = sequence.text_to_image(caption, geometry, words).prompt_ids[1:].tolist()
            if len(turns) == 2 and (number == 1 or rng.random() < 0.5):
                turn[:-1] = [geometry.pad] * (len(turn) - 1)
            ids += turn
            if number < len(captions) - 1:
                at += range(len(ids), len(ids) + geometry.tokens)
                ids += [geometry.pad] * geometry.tokens + [geometry.end_of_image]
        return Example(
            Kind.TEXT_TO_IMAGE,
            np.array(ids, np.int64),
            target_codes=self.codes[turns[-1]],
            source_at=np.array(at, np.int64),
            source_codes=np.concatenate([self.codes[index] for index in turns[:-1]]),
        )

    def _vague_caption(self, index: int, rng: np.random.Generator) -> str:
        return grammar.base_caption(self.scenes[index], rng, 0.3, 0.1)

    def _place(self, rng: np.random.Generator) -> int:
        """Number of a scene."""
        if rng.random() < self.options.centred:
            return int(self._centred[rng.integers(len(self._centred))])
        return int(rng.integers(len(self.scenes)))

    def draw(self, kind: Kind, rng: np.random.Generator) -> Example:
        """One example: a caption to draw, or a picture to describe.

        Raises:
            ValueError: an edit is asked for; the base never sees one.
        """
        if kind is Kind.EDIT:
            raise ValueError("the base never sees an edit")
        index = self._place(rng)
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
    gradients = Gradients(network, learnt, "bf16", options.workers)
    pad, started, tokens = model.geometry.pad, time.monotonic(), 0
    with attention_for_training(network):
        for step in range(options.steps):
            rate = options.rate * min(1.0, (step + 1) / options.warmup)
            rate *= 0.5 + 0.5 * math.cos(math.pi * step / options.steps)
            for group in optimiser.param_groups:
                group["lr"] = rate
            drawn = [data.draw(Kind.TEXT_TO_IMAGE, rng) for _ in range(options.drawn)]
            batches = [
                collate([data.recall(rng) for _ in range(options.recalled)], pad),
                collate([hide(one, dropout, pad, rng) for one in drawn], pad),
                collate([data.draw(Kind.DESCRIBE, rng) for _ in range(options.described)], pad),
            ]
            optimiser.zero_grad(set_to_none=True)
            recalled, drew, _ = gradients.add(batches, [batch.targets for batch in batches])
            nn.utils.clip_grad_norm_(learnt, 1.0)
            optimiser.step()
            tokens += sum(batch.tokens for batch in batches)
            if step % 100 == 99:
                spent = time.monotonic() - started
                codes = model.geometry.tokens
                log(
                    f"base {step + 1}/{options.steps} draw {drew.mean() / codes:.4f} "
                    f"recall {recalled.mean() / codes:.4f} {spent:.0f} s "
                    f"{tokens / spent:.0f} tokens/s"
                )
    network.eval()
    return model
