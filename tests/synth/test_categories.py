"""k distinct object categories are drawn with weight exp(-λ(k-1)) over 1..100, nothing else."""

import math
from fractions import Fraction

import numpy as np
import pytest

from janus4o.recipe import TextToImage
from janus4o.sketch.wanted import World
from janus4o.synth import attributes, categories, taxonomy


@pytest.mark.parametrize("decay", [0.01, 0.5, 0.7, 1.0, 3.0])
def test_the_law_is_the_papers_renormalised(decay: float) -> None:
    law = categories.probabilities(decay)
    assert law.shape == (100,)
    assert math.fsum(law) == pytest.approx(1)
    assert law[1:] / law[:-1] == pytest.approx(math.exp(-decay))
    exact = sum(Fraction(float(p)) * (k + 1) for k, p in enumerate(law))
    assert categories.mean(decay) == pytest.approx(float(exact))
    if decay >= 0.5:
        assert categories.mean(decay) == pytest.approx(1 / (1 - math.exp(-decay)))


@pytest.mark.parametrize(("decay", "largest"), [(0.02, 100), (0.3, 100), (1.0, 4)])
def test_draws_follow_the_law_up_to_the_end(decay: float, largest: int) -> None:
    rng = np.random.default_rng(7)
    n = 40_000
    drawn = np.array([categories.draw(rng, decay, largest) for _ in range(n)])
    assert drawn.min() == 1
    assert drawn.max() <= largest
    if decay == 0.02:
        assert drawn.max() == 100
    expected = n * categories.probabilities(decay, largest)
    counts = np.bincount(drawn, minlength=largest + 1)[1:]
    # Bins of at least ten expected draws, the tail in one.
    bins = np.minimum(np.cumsum(expected[::-1])[::-1] // 10, 1).astype(bool) & (expected >= 10)
    chi2 = ((counts - expected) ** 2 / expected)[bins].sum()
    degrees = bins.sum() - 1
    assert chi2 < degrees + 5 * math.sqrt(2 * degrees), (chi2, degrees)


def test_the_mass_cut_is_what_lies_above() -> None:
    assert categories.mass_cut(1.0, 4) == pytest.approx(math.exp(-4), rel=1e-9)
    assert categories.mass_cut(1.0, 100) == 0
    cut = categories.probabilities(1.0, 4)
    full = categories.probabilities(1.0)
    assert cut == pytest.approx(full[:4] / (1 - categories.mass_cut(1.0, 4)))


def test_counts_are_an_attribute_of_their_own() -> None:
    rng = np.random.default_rng(0)
    shares = TextToImage(category_decay=0.5, repeated=0.5)
    offered = taxonomy.of_world(World.RICH)
    drawn = [attributes.draw(rng, offered, shares, 4) for _ in range(4000)]
    ks = np.array([len(d.objects) for d in drawn])
    assert ks.mean() == pytest.approx(categories.mean(0.5, 4), abs=0.05)
    assert all(len({t.category for t in d.objects}) == len(d.objects) for d in drawn)
    lone = [d for d in drawn if len(d.objects) == 1]
    repeated = np.mean([d.objects[0].count > 1 for d in lone])
    assert repeated == pytest.approx(0.5, abs=0.05)
    assert all(t.count == 1 for d in drawn if len(d.objects) > 1 for t in d.objects)
    assert all(d.composition is None for d in drawn if len(d.objects) != 2)


def test_a_hundred_categories_can_be_asked_for_where_a_world_has_them() -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"thing {i}" for i in range(300))
    wide = taxonomy.Taxonomy({"things": names}, ("red",), {}, {}, {}, {}, {})
    shares = TextToImage(category_decay=1e-9)
    ks = [len(attributes.draw(rng, wide, shares, 1000).objects) for _ in range(2000)]
    assert min(ks) == 1
    assert max(ks) == 100
    assert np.mean(ks) == pytest.approx(50.5, abs=2.5)
