"""The algebra of guidance, against the formulas of the model card written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from janus4o.generate import guidance

weights = st.floats(0.01, 20.0)


def logits(branches: int) -> torch.Tensor:
    return torch.randn(branches, 3, 50, generator=torch.Generator().manual_seed(branches))


@given(s=weights.filter(lambda s: s != 1.0))
def test_text_to_image(s: float) -> None:
    c, u = logits(2)
    torch.testing.assert_close(
        guidance.for_text_to_image(s).combine(torch.stack([c, u])), u + s * (c - u)
    )


@given(s=weights.filter(lambda s: s != 1.0), s2=weights)
def test_edit(s: float, s2: float) -> None:
    full, part, u = logits(3)
    c = (full + s2 * part) / (1 + s2)
    torch.testing.assert_close(guidance.for_edit(s, s2).combine(logits(3)), u + s * (c - u))


@given(s=weights, s2=weights)
def test_equal_branches_leave_nothing_to_guide(s: float, s2: float) -> None:
    how = guidance.for_edit(s, s2)
    one = logits(1)
    combined = how.combine(one.expand(how.branches, -1, -1))
    torch.testing.assert_close(combined, one[0], rtol=1e-4, atol=1e-4)


def test_a_lower_semantic_weight_listens_more_to_the_source_codes() -> None:
    full, part, u = logits(3)
    gaps = [
        (guidance.for_edit(1.0, s2).combine(torch.stack([full, part])) - full).norm()
        for s2 in (0.5, 1.0, 5.0)
    ]
    assert gaps == sorted(gaps)
    no_part = guidance.for_edit(3.0, 0.0)
    assert no_part.branches == 2
    torch.testing.assert_close(no_part.combine(torch.stack([full, u])), u + 3 * (full - u))


@pytest.mark.parametrize(("s", "s2", "branches"), [(1, 0, 1), (1, 5, 2), (5, 0, 2), (5, 5, 3)])
def test_branches_that_weigh_nothing_are_not_computed(s: float, s2: float, branches: int) -> None:
    assert guidance.for_edit(s, s2).branches == branches


def test_any_number_of_branches() -> None:
    how = guidance.Guidance(2.0, (1.0, 2.0, 3.0, 4.0))
    a, b, c, d, u = logits(5)
    mean = (a + 2 * b + 3 * c + 4 * d) / 10
    torch.testing.assert_close(how.combine(logits(5)), u + 2 * (mean - u))
