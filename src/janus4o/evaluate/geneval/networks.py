"""What GenEval needs of a detector and of a colour classifier, whoever they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from janus4o.evaluate.geneval.rules import Boxes, Options

Mask: TypeAlias = NDArray[np.bool_]
"""[H, W] of the whole picture, true where the object is."""


@dataclass(frozen=True, slots=True)
class Found:
    """The instances of one class in one picture.

    Attributes:
        boxes: [n, 5], as the detector gave them.
        masks: one a box; empty where the detector makes none.
    """

    boxes: Boxes
    masks: tuple[Mask, ...] = field(default=(), repr=False)

    def mask(self, index: int) -> Image.Image | None:
        return Image.fromarray(self.masks[index]) if self.masks else None


class Detector(Protocol):
    """Finds instances of GenEval's classes. `name` says which weights it runs, `options` which
    thresholds its scores are meant for."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Options: ...

    def detect(self, image: Image.Image) -> dict[str, Found]:
        """Class → instances of an upright RGB picture."""
        ...


class ColourClassifier(Protocol):
    """Names the colour of objects that were cut out. `name` says which weights it runs."""

    @property
    def name(self) -> str: ...

    def classify(self, crops: Sequence[Image.Image], class_name: str) -> list[str]:
        """One of GenEval's ten colours for each crop."""
        ...
