"""The loss of a row depends on the row alone, not on how the batch was cut or padded."""

import copy
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from janus4o.model import sequence as layout
from janus4o.model.embed import embed_batch, understand
from janus4o.model.loading import new_model
from janus4o.model.preprocess import to_pixel_values
from janus4o.recipe import Dropout
from janus4o.train.batch import Kind, collate, hide, lay_out, row_generator
from janus4o.train.division import Size, divide
from janus4o.train.gradients import Gradients, attention_for_training
from janus4o.train.loss import batch_loss, embed

from .conftest import TINY, WORDS


@pytest.fixture(scope="module")
def model():
    made = new_model(WORDS, TINY)
    made.network.double()
    return made


def example(model, kind, text, seed, sources=1):
    rng = np.random.default_rng(seed)
    t, side = model.geometry.tokens, model.geometry.image_size
    codes = [rng.integers(0, model.geometry.codebook, t) for _ in range(sources + 1)]
    pictures = [rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(sources)]
    if kind is Kind.TEXT_TO_IMAGE:
        laid = layout.text_to_image(text, model.geometry, model.tokenizer)
        return lay_out(kind, laid, target=codes[0])
    if kind is Kind.EDIT:
        laid = layout.edit(text, model.geometry, model.tokenizer, sources)
        return lay_out(kind, laid, target=codes[0], sources=codes[1:], pictures=pictures)
    laid = layout.describe("what is this", model.geometry, model.tokenizer, text)
    return lay_out(kind, laid, pictures=pictures[:1])


@pytest.fixture(scope="module")
def examples(model):
    return [
        example(model, Kind.TEXT_TO_IMAGE, "a red circle", 0),
        example(model, Kind.EDIT, "make it blue", 1),
        example(model, Kind.TEXT_TO_IMAGE, "star", 2),
        example(model, Kind.EDIT, "make it a red star", 3, sources=2),
        example(model, Kind.DESCRIBE, "a blue star", 4),
        example(model, Kind.DESCRIBE, "star", 5),
    ]


def gradient(model, groups, first_token=True, packed=False):
    """Loss and gradient of the mean over all targets, accumulated over `groups`."""
    model.network.zero_grad(set_to_none=True)
    batches = [collate(group, model.geometry.pad, first_token, packed) for group in groups]
    targets = sum(batch.targets for batch in batches)
    total = 0.0
    for batch in batches:
        loss = batch_loss(model.network, batch).total / targets
        loss.backward()
        total += loss.item()
    return total, {
        name: p.grad.clone() for name, p in model.network.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("micro_batch", [1, 2, 5])
@pytest.mark.parametrize("in_order", [True, False])
def test_micro_batches_change_nothing(model, examples, micro_batch, in_order):
    whole, wanted = gradient(model, [examples])
    sizes = [Size(one.kind, len(one)) for one in examples]
    [groups] = divide(sizes, micro_batch, in_order=in_order)
    cut, got = gradient(model, [[examples[place] for place in group] for group in groups])
    assert cut == pytest.approx(whole, abs=1e-6)
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(got[name], tensor, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("attention", ["ours", "transformers' mask"])
@pytest.mark.parametrize("packing", [64, 10_000])
def test_packed_rows_learn_what_padded_rows_learn(model, examples, packing, attention):
    whole, wanted = gradient(model, [examples])
    sizes = [Size(one.kind, len(one)) for one in examples]
    [groups] = divide(sizes, packing=packing)
    assert sorted(place for group in groups for place in group) == list(range(len(examples)))
    assert packing == 64 or len(groups) == 1
    with attention_for_training(model.network, packed=attention == "ours"):
        rows = [[examples[place] for place in group] for group in groups]
        packed, got = gradient(model, rows, packed=True)
    assert packed == pytest.approx(whole, abs=1e-6)
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(got[name], tensor, atol=1e-6, rtol=1e-4, msg=name)


def test_a_packed_row_sees_nothing_of_its_neighbours(model, examples):
    def losses(rows):
        with attention_for_training(model.network, packed=True):
            return batch_loss(
                model.network, collate(rows, model.geometry.pad, packed=True)
            ).image_RT

    with torch.no_grad():
        alone, behind = losses([examples[0]]), losses([examples[3], examples[0]])
    torch.testing.assert_close(behind[1], alone[0], atol=1e-9, rtol=1e-9)


def test_every_part_that_should_learn_does_and_the_tokenizer_does_not(model, examples):
    _, grads = gradient(model, [examples])
    silent = {n for n, _ in model.network.named_parameters() if n not in grads}
    assert silent
    assert all(name.startswith("model.vqmodel.") for name in silent)
    assert all(tensor.abs().max() > 0 for tensor in grads.values())


def test_embeddings_are_those_of_generation(model, examples):
    one = examples[3]
    laid = layout.edit("make it a red star", model.geometry, model.tokenizer, 2)
    pictures = to_pixel_values(np.stack(one.pictures)).double()
    t = model.geometry.tokens
    wanted = embed_batch(
        model.network,
        [laid],
        pad=model.geometry.pad,
        semantic=understand(model.network, pictures),
        source=torch.from_numpy(one.source_codes).view(2, t),
        target=torch.from_numpy(one.target_codes).view(1, t),
    ).embeds
    got = embed(model.network, collate([one], model.geometry.pad))
    torch.testing.assert_close(got, wanted[:, :-1])


def test_code_zero_is_predicted_from_begin_of_image_and_skipped_officially(model, examples):
    one = examples[0]
    batch = collate([one], model.geometry.pad)
    assert one.ids[batch.image_at_RT[0, 0]] == model.geometry.begin_of_image
    everything = batch_loss(model.network, batch).image_RT
    official = batch_loss(model.network, collate([one], model.geometry.pad, False)).image_RT
    assert official.shape[1] == everything.shape[1] - 1
    torch.testing.assert_close(official, everything[:, 1:])


def test_few_gradients_wait_behind_a_slow_one(model):
    gradients = Gradients(model.network, [], "fp32", workers=2)
    begun = []
    gradients._of_one = lambda batch, weight, learnt: begun.append(batch)
    finished = gradients._all(list(range(12)), [1.0] * 12, [])
    for taken, _ in enumerate(finished, 1):
        time.sleep(0.01)
        assert len(begun) <= taken + 2 * 2
    assert sorted(begun) == list(range(12))


def test_the_dearest_micro_batch_comes_first_in_each_process():
    sizes = [Size(Kind.TEXT_TO_IMAGE, 50 + n % 7) for n in range(9)] + [Size(Kind.EDIT, 200)] * 3
    for world in (1, 2):
        shares = divide(sizes, 2, world=world)
        assert sorted(place for share in shares for group in share for place in group) == list(
            range(12)
        )
        assert len({len(share) for share in shares}) == 1
        for share in shares:
            costs = [
                len(group) * max((sizes[n].length for n in group), default=0) for group in share
            ]
            assert costs == sorted(costs, reverse=True)


def test_tied_embeddings_get_the_gradient_of_both_their_uses(model, examples):
    def gradient_of_embeddings(workers):
        network = copy.deepcopy(model.network).float()  # what is float32 is cast
        tied = network.model.language_model.embed_tokens.weight
        network.lm_head.weight = tied
        batches = [collate([one], model.geometry.pad) for one in (examples[0], examples[4])]
        gradients = Gradients(network, list(network.parameters()), "bf16", workers)
        gradients.add(batches, [1.0, 1.0])
        return tied.grad

    torch.testing.assert_close(gradient_of_embeddings(2), gradient_of_embeddings(1))


def test_answers_are_learnt_through_the_text_head_up_to_their_end(model, examples):
    one = examples[4]
    batch = collate([one], model.geometry.pad)
    assert one.target_ids[-1] == model.geometry.eos
    assert batch.text_targets_K.tolist() == one.target_ids.tolist()
    hidden = model.network.model.language_model(
        inputs_embeds=embed(model.network, batch)
    ).last_hidden_state[0, len(one.ids) - 1 :]
    wanted = F.cross_entropy(model.network.lm_head(hidden), batch.text_targets_K, reduction="none")
    torch.testing.assert_close(batch_loss(model.network, batch).text_K, wanted)


def always(**shares):
    return Dropout(**{"prompt": 0.0, "source": 0.0, "null": 0.0, **shares})


def test_a_hidden_prompt_is_the_branch_guidance_subtracts(model, examples):
    got = hide(examples[0], always(prompt=1.0), model.geometry.pad, row_generator(0, 0, 0))
    laid = layout.text_to_image("a red circle", model.geometry, model.tokenizer)
    wanted = layout.hide_prompt(laid, model.geometry)
    assert got.ids.tolist() == wanted.prompt_ids.tolist()
    assert got.ids[0] == model.geometry.bos
    assert got.ids[-1] == model.geometry.begin_of_image
    assert set(got.ids[1:-1].tolist()) == {model.geometry.pad}


def test_hidden_sources_leave_pads_and_keep_the_features(model, examples):
    one = examples[3]
    got = hide(one, always(source=1.0), model.geometry.pad, row_generator(0, 0, 0))
    assert len(got.source_at) == 0
    assert set(got.ids[one.source_at].tolist()) == {model.geometry.pad}
    assert got.picture_at is one.picture_at
    assert got.pictures is one.pictures


def test_the_null_branch_of_edits_holds_nothing_and_still_counts_as_an_edit(model, examples):
    got = hide(examples[1], always(null=1.0), model.geometry.pad, row_generator(0, 0, 0))
    laid = layout.edit("make it blue", model.geometry, model.tokenizer)
    wanted = layout.hide_prompt(laid, model.geometry)
    assert got.ids.tolist() == wanted.prompt_ids.tolist()
    batch = collate([got], model.geometry.pad)
    assert batch.feature_at.numel() == 0
    assert batch.edit_R.tolist() == [True]


def test_sources_are_dropped_whole_or_code_by_code(model, examples):
    one, t = examples[3], model.geometry.tokens
    rows = range(200)
    blocks = [
        len(hide(one, always(source=0.5), 0, row_generator(0, 0, row)).source_at) for row in rows
    ]
    assert set(blocks) == {0, t, 2 * t}
    tokens = [
        len(hide(one, always(source=0.5, unit="token"), 0, row_generator(0, 0, row)).source_at)
        for row in rows
    ]
    assert np.mean(tokens) == pytest.approx(t, rel=0.1)
    assert len(set(tokens)) > 5


@pytest.mark.parametrize("unit", ["block", "token"])
def test_shares_are_what_the_recipe_says(model, examples, unit):
    dropout = Dropout(unit=unit, prompt=0.1, source=0.5, null=0.1)
    rows = range(3000)
    pad = model.geometry.pad
    hidden = [hide(examples[0], dropout, pad, row_generator(1, 0, row)) for row in rows]
    share = np.mean([(one.ids[1:-1] == pad).mean() for one in hidden])
    assert share == pytest.approx(0.1, abs=0.02)
    null = [not hide(examples[1], dropout, pad, row_generator(1, 1, row)).pictures for row in rows]
    assert np.mean(null) == pytest.approx(0.1, abs=0.02)


def test_draws_depend_on_seed_step_and_row_only():
    def draw(*key):
        return row_generator(*key).random(4).tolist()

    assert draw(0, 1, 2) == draw(0, 1, 2)
    streams = [draw(seed, step, row) for seed in (0, 1) for step in (0, 1) for row in (0, 1)]
    assert len({tuple(s) for s in streams}) == 8


def test_batches_count_real_tokens_only(model, examples):
    batch = collate(examples, model.geometry.pad)
    assert batch.tokens == sum(len(one) for one in examples)
    assert batch.tokens < batch.ids_BL.numel()
    assert replace(batch).to("cpu").targets == batch.targets
