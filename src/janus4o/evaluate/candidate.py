"""A model under test: two callables that make pictures, and the settings they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from janus4o.evaluate.question import Question

Answer = Image.Image | NDArray[np.uint8]
"""A picture a model made: Pillow, or uint8 RGB [H, W, 3]."""

Progress = Callable[[str, int, int], None]
"""(what is being done, samples done, samples in all)."""


class DrawPictures(Protocol):
    """Text-to-image: picture i answers prompt i and depends on seed i alone."""

    def __call__(
        self, prompts: Sequence[str], seeds: Sequence[int], guidance: float
    ) -> Sequence[Answer]: ...


class EditPictures(Protocol):
    """Editing: picture i is source i after instruction i."""

    def __call__(
        self,
        sources: Sequence[Image.Image],
        instructions: Sequence[str],
        seeds: Sequence[int],
        guidance: float,
        semantic_weight: float,
    ) -> Sequence[Answer]: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model under test.

    Attributes:
        name: "base" or "tuned"; file names below the scores folder start with it.
        digest: hash of its weights and configuration.
        text_to_image, edit: make pictures; not called when its scores are already there.
    """

    name: str
    digest: str
    text_to_image: DrawPictures = field(repr=False)
    edit: EditPictures = field(repr=False)


@dataclass(frozen=True, slots=True)
class Setting:
    """Guidance of one kind of question; `semantic_weight` is None for text-to-image."""

    guidance: float
    semantic_weight: float | None = None

    def __str__(self) -> str:
        weight = self.semantic_weight
        return f"s={self.guidance:g}" + ("" if weight is None else f" s2={weight:g}")


def answer(
    candidate: Candidate,
    questions: Sequence[Question],
    setting: Setting,
    size: int,
    what: str,
    progress: Progress,
) -> list[Image.Image]:
    """The model's pictures, one a question, asked for in batches."""
    pictures: list[Image.Image] = []
    progress(what, 0, len(questions))
    for start in range(0, len(questions), size):
        batch = questions[start : start + size]
        prompts, seeds = [q.prompt for q in batch], [q.seed for q in batch]
        sources = [q.source for q in batch if q.source is not None]
        if setting.semantic_weight is None:
            made = candidate.text_to_image(prompts, seeds, setting.guidance)
        else:
            made = candidate.edit(
                sources, prompts, seeds, setting.guidance, setting.semantic_weight
            )
        if len(made) != len(batch):
            raise ValueError(f"{candidate.name} gave {len(made)} pictures for {len(batch)} prompts")
        pictures += [_image(picture) for picture in made]
        progress(what, len(pictures), len(questions))
    return pictures


def _image(answer: Answer) -> Image.Image:
    picture = answer if isinstance(answer, Image.Image) else Image.fromarray(answer)
    return picture.convert("RGB")
