"""A preset is a set of named choices, and what the recipe writes wins over it."""

import pytest

from janus4o import recipe
from janus4o.train import presets


def resolve(**train):
    return presets.resolve(recipe.parse({"name": "x", "train": train}).train)


def test_official_is_the_released_script():
    official = resolve(preset="official")
    assert not official.first_token
    assert official.fit == "letterbox"
    assert official.dropout == recipe.Dropout(unit="block", prompt=0.1, source=0.5, null=0.0)
    assert (official.rate, official.min_rate, official.warmup) == (5e-6, 0.15, 0.05)
    assert (official.weight_decay, official.decay) == (0.1, "not_biases")
    assert official.warmup_from_zero


def test_corrected_is_the_default_and_mends_every_named_defect():
    corrected, official = resolve(), resolve(preset="official")
    assert corrected.preset == "corrected"
    for name in ("first_token", "fit", "accumulation", "decay", "warmup_from_zero", "dropout"):
        assert getattr(corrected, name) != getattr(official, name), name


def test_paper_drops_tokens():
    assert resolve(preset="paper").dropout.unit == "token"


@pytest.mark.parametrize("preset", ["official", "paper", "corrected"])
def test_what_the_recipe_gives_wins(preset):
    got = resolve(
        preset=preset, first_token=True, decay="matrices", accumulation="exact", batch=4, rate=1e-3
    )
    assert (got.first_token, got.decay, got.accumulation) == (True, "matrices", "exact")
    assert (got.batch, got.rate) == (4, 1e-3)


def test_one_dropout_value_leaves_the_others_to_the_preset():
    got = resolve(preset="official", dropout={"source": 0.25}).dropout
    assert got == recipe.Dropout(unit="block", prompt=0.1, source=0.25, null=0.0)


@pytest.mark.parametrize(
    ("data", "fit"),
    [
        ({}, "crop"),
        ({"train": {"preset": "official"}}, "letterbox"),
        ({"train": {"preset": "official"}, "model": {"fit": "crop"}}, "crop"),
        ({"model": {"fit": "letterbox"}}, "letterbox"),
    ],
)
def test_fit_comes_from_the_recipe_then_the_preset(data, fit):
    assert presets.resolve_fit(recipe.parse({"name": "x", **data})) == fit
