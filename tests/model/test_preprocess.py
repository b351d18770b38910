"""Fitting pictures: the official rule to the byte, crops that lose nothing of a square."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from janus4o.model import preprocess
from janus4o.model.geometry import Geometry
from janus4o.model.loading import JanusModel
from janus4o.model.preprocess import Fit, fit_image, to_pixel_values

GOLDEN = Path(__file__).parent.parent / "golden" / "janus"


def test_letterbox_is_the_official_rule(
    official: dict[str, Any], official_geometry: Geometry
) -> None:
    with Image.open(GOLDEN / "1_wide_400x225.png") as image:
        fitted = fit_image(image, official_geometry, "letterbox")
    assert hashlib.sha256(fitted.tobytes()).hexdigest() == official["fitted_sha256"]


def test_levels_are_the_official_ones(official: dict[str, Any]) -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    values = to_pixel_values(every)[0, 0].flatten().numpy()
    assert hashlib.sha256(values.tobytes()).hexdigest() == official["levels_sha256"]


@pytest.mark.parametrize("fit", ["letterbox", "crop"])
@pytest.mark.parametrize("size", [(64, 64), (200, 31), (7, 500), (1, 1), (333, 500)])
def test_any_size_becomes_the_square(size: tuple[int, int], fit: Fit, model: JanusModel) -> None:
    image = Image.new("RGB", size, (200, 10, 10))
    fitted = fit_image(image, model.geometry, fit)
    assert fitted.shape == (64, 64, 3)
    assert fitted.dtype == np.uint8
    middle = fitted[32, 32].tolist()
    assert middle == [200, 10, 10]
    grey = (fitted == preprocess.GREY[0]).all(-1).any()
    assert grey == (fit == "letterbox" and size[0] != size[1])


def test_a_picture_of_the_right_size_is_left_alone(model: JanusModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for fit in ("letterbox", "crop"):
        assert np.array_equal(fit_image(Image.fromarray(pixels), model.geometry, fit), pixels)
