"""What one prompt asks for, drawn from the taxonomy by the recipe's shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from janus4o.recipe import TextToImage
from janus4o.synth import categories
from janus4o.synth.taxonomy import Taxonomy, Values, values

REPEATS = (2, 3, 4)
"""Instance counts of a category that is asked for more than once."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One category, how many of it, and its colour (None: left to the painter)."""

    category: str
    count: int = 1
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class Attributes:
    """The six dimensions of one prompt; None is left to the writer and the painter.

    Attributes:
        objects: distinct categories.
        composition: where the first of two objects stands, seen from the second, or where on the
            canvas a lone one does.
        layout: how the whole picture is composed.
    """

    objects: tuple[Thing, ...]
    background: str | None = None
    style: str | None = None
    lighting: str | None = None
    camera: str | None = None
    composition: str | None = None
    layout: str | None = None

    @property
    def kind(self) -> str:
        """What the prompt exercises, in GenEval's terms; "many_objects" for three and more."""
        if len(self.objects) > 2:
            return "many_objects"
        if len(self.objects) == 2:
            if self.composition:
                return "position"
            coloured = all(thing.colour for thing in self.objects)
            return "color_attr" if coloured else "two_object"
        thing = self.objects[0]
        if thing.count > 1:
            return "counting"
        return "colors" if thing.colour else "single_object"

    def to_json(self) -> dict[str, Any]:
        return {
            "objects": [
                {"category": thing.category, "count": thing.count, "colour": thing.colour}
                for thing in self.objects
            ],
            "background": self.background,
            "style": self.style,
            "lighting": self.lighting,
            "camera": self.camera,
            "composition": self.composition,
            **({"layout": self.layout} if self.layout else {}),
        }


def draw(
    rng: np.random.Generator, taxonomy: Taxonomy, shares: TextToImage, max_categories: int
) -> Attributes:
    """Draws what one prompt asks for.

    Style, lighting, camera and layout are asked for as often as a background is (`shares.background`),
    each on its own, where the taxonomy has values for them.

    Args:
        max_categories: the largest number of distinct categories the painter can be asked for.
    """

    def maybe(share: float, choices: Values) -> str | None:
        # Both numbers are always drawn, so that one share does not shift what the others draw.
        asked, at = rng.random() < share, rng.random()
        return choices[int(at * len(choices))] if asked and choices else None

    names = values(taxonomy.objects)
    k = categories.draw(rng, shares.category_decay, largest_count(taxonomy, max_categories))
    repeated, repeats = rng.random() < shares.repeated, int(rng.choice(REPEATS))
    things = tuple(
        Thing(
            names[i],
            repeats if k == 1 and repeated and names[i] not in taxonomy.people else 1,
            maybe(shares.colour, () if names[i] in taxonomy.people else taxonomy.colours),
        )
        for i in rng.permutation(len(names))[:k]
    )
    return Attributes(
        things,
        background=maybe(shares.background, values(taxonomy.background)),
        style=maybe(shares.background, values(taxonomy.style)),
        lighting=maybe(shares.background, values(taxonomy.lighting)),
        camera=maybe(shares.background, values(taxonomy.camera)),
        composition=maybe(shares.composition, values(taxonomy.composition)) if k == 2 else None,
        layout=maybe(shares.background, values(taxonomy.layout)),
    )


def draw_share(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """One of the names, by their shares, which need not add up to 1."""
    at = rng.random() * sum(shares.values())
    for name, share in shares.items():
        at -= share
        if at < 0:
            return name
    return name


def largest_count(taxonomy: Taxonomy, max_categories: int) -> int:
    """The most distinct categories that can be drawn: what the painter and the taxonomy allow."""
    return min(max_categories, len(values(taxonomy.objects)), categories.MAX_CATEGORIES)
