"""A model and a data set small enough to train in a test."""

import json

import numpy as np
import pytest
from PIL import Image

from janus4o.model.loading import TinyConfig, new_model
from janus4o.rows import open_rows
from janus4o.train.encode import encode_rows

WORDS = ("a", "red", "circle", "blue", "star", "make", "it", "what", "is", "this")
TINY = TinyConfig(
    image_size=32, patch_size=8, hidden=32, layers=2, heads=2, mlp=48,
    vision_hidden=32, vision_layers=1, vision_heads=2, vq_codes=64,
    vq_multipliers=(1, 1, 1, 1), embedding_std=1.0, std=0.2,
)  # fmt: skip


@pytest.fixture
def fresh_model():
    """Makes the same random model every time."""
    return lambda seed=0: new_model(WORDS, TINY, seed)


def write_data_set(folder, drawn=8, edits=8, broken=()):
    """A published layout of plain PNG files; `broken` names pictures cut in half."""
    rng = np.random.default_rng(0)
    (folder / "image").mkdir(parents=True, exist_ok=True)

    def picture(name):
        path = folder / "image" / name
        if not path.exists():
            pixels = rng.integers(0, 256, (4, 6, 3), np.uint8)
            Image.fromarray(pixels).resize((48, 36)).save(path)
        if name in broken:
            path.write_bytes(path.read_bytes()[:60])
        return f"image/{name}"

    def text(verb):
        return f"{verb} {' '.join(rng.choice(WORDS, rng.integers(1, 6)))}"

    t2i = [
        {
            "input_prompt": text("a"),
            "output_image": picture(f"{i}.png"),
            "output_image_resolution": [48, 36],
        }
        for i in range(drawn)
    ]
    edit = [
        {
            "input_prompt": text("make it"),
            "input_image": [picture(f"{i % max(1, drawn)}.png")],
            "input_image_resolution": [48, 36],
            "output_image": picture(f"e{i}.png"),
            "output_image_resolution": [48, 36],
        }
        for i in range(edits)
    ]
    (folder / "text_to_image.json").write_text(json.dumps(t2i))
    (folder / "text_and_image_to_image.json").write_text(json.dumps(edit))
    return open_rows(folder)


@pytest.fixture(scope="session")
def codes(tmp_path_factory):
    """Eight text-to-image rows and eight edits, encoded for the model of seed 0."""
    folder = tmp_path_factory.mktemp("data")
    return encode_rows(write_data_set(folder), new_model(WORDS, TINY), folder / "codes")
