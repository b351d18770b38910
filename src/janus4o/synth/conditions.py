"""Conditioning pictures of the two tasks of structured generation, each made by a tool with a name.

What has no tool is refused by name: poses and depth need networks and their weights, which nothing
here has. Segmentation is of regions that look alike, not of things that have names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter, ImageOps

from janus4o.errors import RecipeError

Grey = NDArray[np.float64]

KINDS = {
    "from_line_art": ("sketch", "line_art", "edges", "canny"),
    "from_condition_map": ("depth", "segmentation", "pose"),
}
"""Editing task → kinds of conditioning picture that serve it."""
NO_TOOL = {
    "pose": "there is no tool yet that finds poses",
    "depth": "there is no tool yet that estimates depth",
}
"""Kinds that cannot be made, and why."""


@dataclass(frozen=True, slots=True)
class Tool:
    """How one kind is made.

    Attributes:
        words: what the picture is, with its article, as the writer is told.
        name: of the tool, for provenance.
        make: RGB picture → RGB picture of the same size.
    """

    words: str
    name: str
    make: Callable[[Image.Image], Image.Image]


def choices(task: str, shares: Mapping[str, float]) -> dict[str, float]:
    """Kind → share of those that serve a task and are wanted.

    Raises:
        RecipeError: an unknown kind, one without a tool, or none at all.
    """
    known = [kind for kinds in KINDS.values() for kind in kinds]
    for kind, share in shares.items():
        if kind not in known:
            raise RecipeError(
                f"synthesis.editing.conditions: unknown kind {kind!r}",
                f"known: {', '.join(known)}",
            )
        if share and kind in NO_TOOL:
            raise RecipeError(f"synthesis.editing.conditions: {kind}: {NO_TOOL[kind]}", "remove it")
    wanted = {kind: shares[kind] for kind in KINDS[task] if shares.get(kind, 0) > 0}
    able = ", ".join(kind for kind in KINDS[task] if kind not in NO_TOOL)
    if not able:
        reasons = "; ".join(f"{kind}: {NO_TOOL[kind]}" for kind in KINDS[task])
        raise RecipeError(f"synthesis.editing.tasks: {task}: {reasons}", "remove this task")
    if not wanted:
        raise RecipeError(
            f"synthesis.editing.tasks: {task}: no kind of conditioning picture is asked for it",
            f"give one of {able} a share in synthesis.editing.conditions, or remove the task",
        )
    return wanted


@cache
def tool_of(kind: str) -> Tool:
    """The tool of a kind; raises RecipeError where its package is not installed."""
    return _TOOLS[kind]()


def _grey(image: Image.Image) -> Grey:
    return np.asarray(ImageOps.grayscale(image), np.float64)


def _picture(grey: Grey) -> Image.Image:
    return Image.fromarray(np.rint(grey.clip(0, 255)).astype(np.uint8)).convert("RGB")


def _edges() -> Tool:
    def make(image: Image.Image) -> Image.Image:
        """Gradient magnitude by Sobel's masks, white on black, the strongest 1 % at full white."""
        grey = np.pad(_grey(image), 1, mode="edge")
        rows = grey[:-2] + 2 * grey[1:-1] + grey[2:]
        columns = grey[:, :-2] + 2 * grey[:, 1:-1] + grey[:, 2:]
        strength = np.hypot(rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2])
        return _picture(255 * strength / max(float(np.quantile(strength, 0.99)), 1.0))

    return Tool("an edge map", "Sobel gradient, numpy", make)


def _line_art() -> Tool:
    def make(image: Image.Image) -> Image.Image:
        """Difference of two Gaussians, black lines on white."""
        grey = ImageOps.grayscale(image)
        radius = max(1.0, max(image.size) / 512)
        fine, coarse = (
            np.asarray(grey.filter(ImageFilter.GaussianBlur(r)), np.float64)
            for r in (radius, 1.6 * radius)
        )
        # Lines are where it is darker than its surroundings by more than two levels.
        return _picture(255 * (1 + np.minimum(np.tanh((fine - coarse + 2.0) / 4), 0)))

    return Tool("line art", "difference of Gaussians, Pillow", make)


def _sketch() -> Tool:
    def make(image: Image.Image) -> Image.Image:
        """Pencil drawing: the grey picture dodged by its blurred negative."""
        grey = ImageOps.grayscale(image)
        blurred = ImageChops.invert(grey).filter(ImageFilter.GaussianBlur(max(image.size) / 64))
        top, below = np.asarray(grey, np.float64), 255.0 - np.asarray(blurred, np.float64)
        return _picture(255 * top / np.maximum(below, 1.0))

    return Tool("a pencil sketch", "colour dodge, Pillow", make)


def _canny() -> Tool:
    try:
        from skimage.feature import canny
    except ImportError:
        raise RecipeError(
            "synthesis.editing.conditions: canny needs the package scikit-image",
            "pip install 'janus4o[data]', or take edges",
        ) from None

    def make(image: Image.Image) -> Image.Image:
        return _picture(255.0 * canny(_grey(image) / 255, sigma=max(1.0, max(image.size) / 512)))

    return Tool("an edge map", "Canny, scikit-image", make)


def _segmentation() -> Tool:
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError:
        raise RecipeError(
            "synthesis.editing.conditions: segmentation needs the package scikit-image",
            "pip install 'janus4o[data]', or remove it",
        ) from None

    def make(image: Image.Image) -> Image.Image:
        """Regions by Felzenszwalb and Huttenlocher, each in a flat colour of its own."""
        side = max(image.size)
        labels = felzenszwalb(np.asarray(image), scale=side, sigma=side / 512, min_size=side)
        colours = np.random.default_rng(0).integers(0, 256, (int(labels.max()) + 1, 3), np.uint8)
        return Image.fromarray(colours[labels])

    return Tool("a segmentation map", "Felzenszwalb-Huttenlocher, scikit-image", make)


_TOOLS: dict[str, Callable[[], Tool]] = {
    "edges": _edges,
    "line_art": _line_art,
    "sketch": _sketch,
    "canny": _canny,
    "segmentation": _segmentation,
}
