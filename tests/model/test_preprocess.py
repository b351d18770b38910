"""Fitting pictures: the official rule to the byte, crops that lose nothing of a square."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus4o.model.geometry import Geometry
from janus4o.model.loading import JanusModel
from janus4o.model.preprocess import Fit, fit_image, to_pixel_values


def test_letterbox_is_the_official_rule_to_the_bit(
    golden: Path, official_geometry: Geometry
) -> None:
    """Square, wide, tall, and a size whose shorter side would be rounded up."""
    facts = json.loads((golden / "outputs/preprocess.json").read_text(encoding="utf-8"))
    for name, digest in zip(facts["files"], facts["sha256_float32"], strict=True):
        with Image.open(golden / "images" / name) as image:
            fitted = fit_image(image, official_geometry, "letterbox")
        values = to_pixel_values(fitted[None])[0].numpy()
        assert hashlib.sha256(values.tobytes()).hexdigest() == digest, name


def test_a_checkpoint_says_the_colour_of_bars_and_the_least_side(
    official_geometry: Geometry,
) -> None:
    geometry = replace(official_geometry, minimum_side=100, background=(1, 2, 3))
    fitted = fit_image(Image.new("RGB", (400, 4), (200, 200, 200)), geometry, "letterbox")
    assert fitted[0, 0].tolist() == [1, 2, 3]
    assert (fitted == 200).all(-1).sum() == 100 * 384


def test_a_thread_of_a_picture_takes_no_more_memory_than_a_square(model: JanusModel) -> None:
    """Enlarged until its width fills the square, it would be a million pixels long."""
    image = Image.new("RGB", (1, 20_000), (200, 10, 10))
    image.putpixel((0, 0), (0, 0, 0))
    assert (fit_image(image, model.geometry, "crop") == (200, 10, 10)).all()


@pytest.mark.parametrize("fit", ["letterbox", "crop"])
@pytest.mark.parametrize("size", [(64, 64), (200, 31), (7, 500), (1, 1), (333, 500)])
def test_any_size_becomes_the_square(size: tuple[int, int], fit: Fit, model: JanusModel) -> None:
    image = Image.new("RGB", size, (200, 10, 10))
    fitted = fit_image(image, model.geometry, fit)
    assert fitted.shape == (64, 64, 3)
    assert fitted.dtype == np.uint8
    middle = fitted[32, 32].tolist()
    assert middle == [200, 10, 10]
    grey = (fitted == 127).all(-1).any()
    assert grey == (fit == "letterbox" and size[0] != size[1])


def test_a_picture_of_the_right_size_is_left_alone(model: JanusModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for fit in ("letterbox", "crop"):
        assert np.array_equal(fit_image(Image.fromarray(pixels), model.geometry, fit), pixels)
