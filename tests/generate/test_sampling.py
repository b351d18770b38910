"""Drawing codes: the right distribution, each row from its own generator."""

from __future__ import annotations

import torch

from janus4o.generate.sampling import new_generator, sample


def test_draws_follow_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    draws, temperature = 20_000, 2.0
    generators = [new_generator(seed) for seed in range(200)]
    counts = torch.zeros(4)
    for _ in range(draws // 200):
        counts += sample(logits.expand(200, 4), generators, temperature).bincount(minlength=4)
    expected = torch.softmax(logits / temperature, 0) * draws
    chi_squared = ((counts - expected).square() / expected).sum()
    assert chi_squared < 16.3  # 3 degrees of freedom: exceeded once in a thousand


def test_zero_temperature_takes_the_best_and_draws_nothing() -> None:
    generator = new_generator(0)
    before = generator.get_state()
    assert sample(torch.tensor([[0.0, 3.0, 1.0]]), [generator], 0.0).tolist() == [1]
    assert torch.equal(generator.get_state(), before)


def test_top_k_draws_only_from_the_best() -> None:
    generators = [new_generator(seed) for seed in range(500)]
    logits = torch.tensor([0.0, 0.3, 0.2, 0.1]).expand(500, 4)
    assert set(sample(logits, generators, 1.0, top_k=2).tolist()) == {1, 2}
    assert set(sample(logits, generators, 1.0, top_k=99).tolist()) == {0, 1, 2, 3}


def test_a_row_is_drawn_from_its_own_generator() -> None:
    logits = torch.randn(5, 100, generator=new_generator(1))
    together = sample(logits, [new_generator(seed) for seed in range(5)], 1.0)
    alone = [int(sample(logits[i : i + 1], [new_generator(i)], 1.0)) for i in range(5)]
    assert together.tolist() == alone
