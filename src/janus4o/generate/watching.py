"""Looking on while pictures come into being, and stopping them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from janus4o.errors import Interrupted, UsageError
from janus4o.generate.engine import After
from janus4o.model import codebook
from janus4o.model.loading import JanusModel


@dataclass(frozen=True, slots=True)
class Partial:
    """A picture of which only the upper part is there; the rest has the colour of letterbox bars.

    Attributes:
        image: RGB.
        done: share of its codes that are there.
        seed: of the picture.
        prompt: what was asked for.
    """

    image: Image.Image
    done: float
    seed: int
    prompt: str


@dataclass(frozen=True, slots=True)
class Watch:
    """How to look on.

    Attributes:
        see: gets the pictures of a batch each time one of the shares in `at` is reached.
        at: shares of the codes, above 0 and below 1. A picture costs a decoding each time.
        stop: asked after every pass; True ends the call with `Interrupted`.
    """

    see: Callable[[list[Partial]], None] | None = None
    at: tuple[float, ...] = (0.25, 0.5, 0.75)
    stop: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        if not all(0 < share < 1 for share in self.at):
            raise UsageError(f"at = {self.at}", "give shares above 0 and below 1")


def watcher(model: JanusModel, watch: Watch, asked: Sequence[tuple[int, str]]) -> After:
    """What the engine calls after every pass of a batch; `asked` are its seeds and prompts."""
    tokens = model.geometry.tokens
    due = sorted({max(1, round(share * tokens)) for share in watch.at})

    def after(drawn: Sequence[Tensor]) -> None:
        count = sum(codes.shape[1] for codes in drawn)
        if watch.stop is not None and watch.stop():
            raise Interrupted(f"stopped after {count} of {tokens} codes", "ask again")
        if watch.see is None or not due or count < due[0] or count == tokens:
            return
        while due and due[0] <= count:
            due.pop(0)
        images = unfinished(model, torch.cat(list(drawn), 1).cpu())
        watch.see(
            [
                Partial(image, count / tokens, seed, prompt)
                for image, (seed, prompt) in zip(images, asked, strict=True)
            ]
        )

    return after


def unfinished(model: JanusModel, codes_BN: Tensor) -> list[Image.Image]:
    """Pictures of their first N codes."""
    geometry = model.geometry
    count, patch = codes_BN.shape[1], geometry.patch_size
    # What is not there yet is the last code again, so that the edge of what is there looks right.
    filler = codes_BN[:, -1:].expand(-1, geometry.tokens - count)
    pictures = codebook.decode(model.network, torch.cat([codes_BN, filler], 1))
    row, column = divmod(count, geometry.grid)
    blank = np.zeros((geometry.image_size, geometry.image_size), dtype=bool)
    blank[(row + 1) * patch :] = True
    blank[row * patch : (row + 1) * patch, column * patch :] = True
    pictures[:, blank] = geometry.background
    return [Image.fromarray(picture) for picture in pictures]
