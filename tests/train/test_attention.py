"""Attention for training gives what the textbook gives: values and gradients, at every length of block."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from janus4o.errors import UsageError
from janus4o.model.loading import new_model
from janus4o.train.attention import ROWS, Packed, attend
from janus4o.train.gradients import attention_for_training

from .conftest import TINY, WORDS

LENGTHS = [1, 7, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 5]
CAUSAL, WHOLE = SimpleNamespace(is_causal=True), SimpleNamespace(is_causal=False)


def some(length, rows=2, heads=3, kinds=3, width=8, dtype=torch.float64):
    rng = torch.Generator().manual_seed(length)
    shapes = [(rows, heads, length, width)] + [(rows, kinds, length, width)] * 2
    made = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]
    return [one.to(dtype).requires_grad_() for one in made]


def textbook(query, key, value, scaling, causal):
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(hidden, float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2)


def gradients(out, inputs):
    weights = torch.randn(
        out.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    return torch.autograd.grad((out.double() * weights).sum(), inputs)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("module", [CAUSAL, WHOLE], ids=["causal", "whole"])
@pytest.mark.parametrize("kinds", [3, 1], ids=["all heads", "shared keys"])
def test_values_and_gradients_are_the_textbook_s(length, module, kinds):
    inputs = some(length, kinds=kinds)
    out, _ = attend(module, *inputs, None, 0.3)
    wanted = textbook(*inputs, 0.3, module.is_causal)
    torch.testing.assert_close(out, wanted)
    for got, right in zip(gradients(out, inputs), gradients(wanted, inputs), strict=True):
        torch.testing.assert_close(got, right)


def test_packed_rows_are_computed_each_by_itself():
    lengths = (5, ROWS + 3, 1, 40)
    inputs = some(sum(lengths), rows=1)
    packed = Packed.of(lengths, torch.device("cpu"))
    out, _ = attend(CAUSAL, *inputs, None, 0.3, packed=packed)
    cut = zip(*(one.split(lengths, 2) for one in inputs), strict=True)
    wanted = torch.cat([textbook(*row, 0.3, True) for row in cut], 1)
    torch.testing.assert_close(out, wanted)
    for got, right in zip(gradients(out, inputs), gradients(wanted, inputs), strict=True):
        torch.testing.assert_close(got, right)


def test_half_precision_loses_no_more_than_its_digits():
    exact = some(3 * ROWS, width=64)
    half = [one.detach().bfloat16().requires_grad_() for one in exact]
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = attend(CAUSAL, *half, None, 0.125)
    assert out.dtype == torch.bfloat16
    wanted = textbook(*exact, 0.125, True)
    pairs = [
        (out, wanted),
        *zip(gradients(out, half), gradients(wanted, exact), strict=True),
    ]
    for got, right in pairs:
        assert (got.double() - right).norm() / right.norm() < 8e-3


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_what_is_kept_is_half_the_square(precision):
    length, kept = 4 * ROWS, 0

    def note(tensor):
        nonlocal kept
        kept += tensor.nbytes if tensor.shape[-1] > 8 else 0
        return tensor

    inputs = some(length, dtype=precision)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        attend(CAUSAL, *inputs, None, 0.3)
    assert kept == 2 * 3 * length**2 * precision.itemsize * 5 // 8


def test_computed_again_it_is_the_same():
    inputs = some(ROWS + 9)
    out = checkpoint(
        lambda *given: attend(CAUSAL, *given, None, 0.3)[0], *inputs, use_reentrant=False
    )
    wanted = gradients(attend(CAUSAL, *inputs, None, 0.3)[0], inputs)
    for got, right in zip(gradients(out, inputs), wanted, strict=True):
        assert torch.equal(got, right)


def test_a_mask_is_refused():
    with pytest.raises(ValueError, match="takes no mask"):
        attend(CAUSAL, *some(4), torch.zeros(4, 4), 0.3)


def test_a_model_with_dropout_is_refused_before_the_first_step():
    network = new_model(WORDS, TINY).network
    text, vision = network.config.text_config, network.config.vision_config
    before = text._attn_implementation, vision._attn_implementation
    vision.attention_dropout = 0.1
    with pytest.raises(UsageError, match=r"dropout of 0\.1"), attention_for_training(network):
        pass
    assert (text._attn_implementation, vision._attn_implementation) == before
