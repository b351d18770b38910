"""A small random model that listens to its prompt, and three pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from janus4o.generate.api import Janus
from janus4o.model.loading import TinyConfig, new_model

WORDS = (
    *("a", "red", "blue", "circle", "square", "make", "it", "on", "the", "left", "of"),
    *("what", "is", "this"),
)


@pytest.fixture(scope="session")
def janus() -> Janus:
    sizes = TinyConfig(
        hidden=64,
        layers=2,
        heads=2,
        mlp=128,
        vision_hidden=64,
        vision_layers=1,
        vision_heads=2,
        std=0.15,
        embedding_std=1.0,
    )
    return Janus(new_model(WORDS, sizes))


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = ((80, 100), (64, 64), (31, 90))
    return [
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for height, width in sizes
    ]
