"""A small random model and the official golden tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from janus4o.model.geometry import SPECIALS, Geometry
from janus4o.model.loading import JanusModel, TinyConfig, new_model
from janus4o.model.text import TextTokenizer

GOLDEN = Path(__file__).parent.parent / "golden" / "janus"


@pytest.fixture(scope="session")
def official() -> dict[str, Any]:
    """Outputs of the official code."""
    data: dict[str, Any] = json.loads((GOLDEN / "official.json").read_text(encoding="utf-8"))
    return data


@pytest.fixture(scope="session")
def official_tokenizer() -> TextTokenizer:
    return TextTokenizer(PreTrainedTokenizerFast.from_pretrained(GOLDEN))


@pytest.fixture(scope="session")
def official_geometry(official_tokenizer: TextTokenizer) -> Geometry:
    ids = official_tokenizer.fast.get_vocab()
    sizes = (384, 16, 24, 576, 1024, 8, 64, 512, 4096)
    return Geometry(*sizes, *(ids[name] for name in SPECIALS))


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
