"""Makes the base of the offline world: the Janus-Pro that fine-tuning starts from.

It knows single objects, in words and pixels: it draws "a blue heart in the top left corner", says
what a picture of one object shows, draws what it is shown again, and of several captions in one
message it draws the one whose turn it is. It has also copied mosaics of patches, which teaches
where things are. No picture it has seen holds two objects, no caption names two, it has never
drawn anything that differs from what it was shown, and it has never seen an edit.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
        listed, redrawn, mosaics: conversations in each step, see `BaseData`. They give the model
            what a language model has from text, telling phrases apart, and what an eye has, telling
            places apart.
        rate: peak AdamW rate; linear warm-up over `warmup` steps, cosine to zero.
        centred: how often the object stands in the middle.
        painted: side in pixels at which scenes are painted before they are shrunk.
        workers: batches computed at the same time.
    """

    steps: int = 4500
    drawn: int = 16
    described: int = 12
    listed: int = 28
    redrawn: int = 12
    mosaics: int = 16
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
        grid, side = model.geometry.grid, model.geometry.patch_size
        tiles = self.pictures.reshape(-1, grid, side, grid, side, 3).transpose(0, 1, 3, 2, 4, 5)
        self._patch_codes, first = np.unique(self.codes.ravel(), return_index=True)
        self._patches: NDArray[np.uint8] = tiles.reshape(-1, side, side, 3)[first]

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

    def listing(self, rng: np.random.Generator) -> Example:
        """Two to four captions in one message; the pictures so far, and the next one to draw."""
        geometry, words = self.model.geometry, self.model.tokenizer
        asked = [self._place(rng) for _ in range(rng.integers(2, 5))]
        text = ". ".join(grammar.base_caption(self.scenes[i], rng, 0.7, 0.2) for i in asked)
        ids = sequence.text_to_image(text, geometry, words).prompt_ids.tolist()
        drawn = asked[: rng.integers(1, len(asked) + 1)]
        at: list[int] = []
        for _ in drawn[:-1]:
            at += range(len(ids), len(ids) + geometry.tokens)
            ids += [geometry.pad] * geometry.tokens
            ids += [geometry.end_of_image, geometry.begin_of_image]
        shown = [self.codes[i] for i in drawn[:-1]]
        return Example(
            Kind.TEXT_TO_IMAGE,
            np.array(ids, np.int64),
            target_codes=self.codes[drawn[-1]],
            source_at=np.array(at, np.int64),
            source_codes=np.concatenate([*shown, np.empty(0, np.int64)]),
        )

    def redraw(self, rng: np.random.Generator) -> Example:
        """A picture, mostly with a caption that leaves much open, and the same picture drawn again."""
        geometry, words = self.model.geometry, self.model.tokenizer
        index = self._place(rng)
        caption = grammar.base_caption(self.scenes[index], rng, 0.3, 0.1)
        ids = sequence.text_to_image(caption, geometry, words).prompt_ids.tolist()
        if rng.random() < 0.3:
            ids[3:-1] = [geometry.pad] * (len(ids) - 4)
        return self._looking(ids, self.pictures[index], self.codes[index])

    def mosaic(self, rng: np.random.Generator) -> Example:
        """A mosaic of patches in any order, and then, without a word, the same again."""
        geometry = self.model.geometry
        kinds = int(rng.integers(2, 7)) if rng.random() < 0.5 else geometry.tokens
        palette = rng.integers(len(self._patches), size=kinds)
        chosen = palette[rng.integers(kinds, size=geometry.tokens)]
        ids = [geometry.bos, geometry.user, geometry.pad]
        ids += [*[geometry.pad] * int(rng.integers(0, 12)), geometry.begin_of_image]
        return self._looking(ids, self._pasted(chosen), self._patch_codes[chosen])

    def _place(self, rng: np.random.Generator) -> int:
        """Number of a scene."""
        if rng.random() < self.options.centred:
            return int(self._centred[rng.integers(len(self._centred))])
        return int(rng.integers(len(self.scenes)))

    def _looking(
        self, ids: list[int], picture: NDArray[np.uint8], target: NDArray[np.int64]
    ) -> Example:
        """A message that begins with a picture, after <bos> <|User|> and ":"."""
        geometry = self.model.geometry
        shown = [geometry.begin_of_image, *[geometry.image] * geometry.tokens]
        return Example(
            Kind.TEXT_TO_IMAGE,
            np.array([*ids[:3], *shown, geometry.end_of_image, *ids[3:]], np.int64),
            target_codes=target,
            picture_at=np.arange(4, 4 + geometry.tokens),
            pictures=(picture,),
        )

    def _pasted(self, patches: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """A picture of these patches, [S, S, 3]."""
        geometry = self.model.geometry
        grid, side = geometry.grid, geometry.patch_size
        tiles = self._patches[patches].reshape(grid, grid, side, side, 3)
        picture: NDArray[np.uint8] = tiles.transpose(0, 2, 1, 3, 4).reshape(grid * side, -1, 3)
        return picture


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
            named = {
                "list": [data.listing(rng) for _ in range(options.listed)],
                "redraw": [data.redraw(rng) for _ in range(options.redrawn)],
                "mosaic": [data.mosaic(rng) for _ in range(options.mosaics)],
                "draw": [hide(one, dropout, pad, rng) for one in drawn],
                "describe": [data.draw(Kind.DESCRIBE, rng) for _ in range(options.described)],
            }
            batches = [collate(examples, pad) for examples in named.values()]
            optimiser.zero_grad(set_to_none=True)
            sums = gradients.add(batches, [batch.targets for batch in batches])
            nn.utils.clip_grad_norm_(learnt, 1.0)
            optimiser.step()
            tokens += sum(batch.tokens for batch in batches)
            if step % 100 == 99:
                spent = time.monotonic() - started
                shown = " ".join(
                    f"{name} {per_picture.mean() / model.geometry.tokens:.4f}"
                    for name, per_picture in zip(named, sums, strict=True)
                    if len(per_picture)
                )
                log(
                    f"base {step + 1}/{options.steps} {shown} {spent:.0f} s "
                    f"{tokens / spent:.0f} tokens/s"
                )
    network.eval()
    return model
