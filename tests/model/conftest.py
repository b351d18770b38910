"""A small random model and the official golden tokenizer."""

from __future__ import annotations

from typing import Any

import pytest

from janus4o.model.geometry import Geometry
from janus4o.model.loading import JanusModel, TinyConfig, new_model
from janus4o.model.text import TextTokenizer


@pytest.fixture(scope="session")
def official_tokenizer(official_janus: Any) -> TextTokenizer:
    tokenizer: TextTokenizer = official_janus.model.tokenizer
    return tokenizer


@pytest.fixture(scope="session")
def official_geometry(official_janus: Any) -> Geometry:
    geometry: Geometry = official_janus.geometry
    return geometry


@pytest.fixture(scope="session")
def model() -> JanusModel:
    words = [
        "a",
        "red",
        "blue",
        "circle",
        "square",
        "make",
        "it",
        "what",
        "is",
        "this",
        "left",
        "of",
        "the",
    ]
    sizes = TinyConfig(
        hidden=64,
        layers=2,
        heads=2,
        mlp=128,
        vision_hidden=64,
        vision_layers=1,
        vision_heads=2,
        std=0.1,
        embedding_std=1.0,
    )
    return new_model(words, sizes)
