"""The models this package knows, from `models.yaml`: prices, sizes, and when they are switched off."""

from __future__ import annotations

import datetime
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from janus4o.recipe import Rates

REGISTRY = Path(__file__).with_name("models.yaml")


class Sizes(BaseModel):
    """Sizes a model paints: `only` these, or any of two sides that are a `multiple` of so many
    pixels, at most `ratio` times as long as each other and within `largest`, either way round."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    only: tuple[tuple[int, int], ...] = ()
    multiple: int = 1
    ratio: float = 100.0
    largest: tuple[int, int] = (8192, 8192)

    def refuses(self, size: tuple[int, int]) -> str:
        """Why a size cannot be asked for; empty where it can."""
        if self.only:
            known = ", ".join(f"{w}×{h}" for w, h in self.only)
            return "" if size in self.only else f"it paints {known}"
        if any(side % self.multiple for side in size):
            return f"both sides must be multiples of {self.multiple}"
        if max(size) > self.ratio * min(size):
            return f"one side may be {self.ratio:g} times the other at most"
        if max(size) > max(self.largest) or min(size) > min(self.largest):
            return f"{self.largest[0]}×{self.largest[1]} is the largest"
        return ""


class Model(BaseModel):
    """One model; see the head of `models.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    asks: Literal["chat", "images"]
    price: Rates | None = None
    picture: dict[str, float] = {}
    picture_tokens: int = 5000
    quality: tuple[str, ...] = ()
    sizes: Sizes = Sizes()
    shutdown: datetime.date | None = None
    instead: str = ""
    source: str
    read: datetime.date

    @property
    def rates(self) -> Rates | None:
        """Its price with the price of a picture in it; None where a part of it is not known."""
        if self.price is None or (self.asks == "images" and not self.picture):
            return None
        return self.price.model_copy(update={"picture": self.picture})


@cache
def models() -> dict[str, Model]:
    """Name → model."""
    data = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
    return {name: Model.model_validate(model) for name, model in data.items()}


def find(name: str) -> Model | None:
    """A model by the name it is asked for or served under.

    "models/gemini-2.5-pro", "openai/gpt-image-2" and "gpt-image-2-2026-04-21" are found as well.
    """
    bare = name.rpartition("/")[2]
    known = models()
    while bare:
        if bare in known:
            return known[bare]
        head, _, tail = bare.rpartition("-")
        if not tail.isdigit():  # only a date may be left off: other suffixes are other models
            return None
        bare = head
    return None


def warnings(name: str, today: datetime.date, days: int = 60) -> str:
    """What a user of a model should know about its end; empty where nothing is near."""
    model = find(name)
    if model is None or model.shutdown is None:
        return ""
    left = (model.shutdown - today).days
    instead = f"; named instead: {model.instead}" if model.instead else ""
    if left <= 0:
        return f"{name} was switched off on {model.shutdown}{instead}"
    if left <= days:
        return f"{name} is switched off on {model.shutdown}, in {left} days{instead}"
    return ""
