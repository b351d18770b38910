"""LoRA, frozen parts and recomputation: what is learnt, and that nothing else moves."""

import json
from dataclasses import replace

import pytest
import torch

from janus4o.errors import DataError, Interrupted, Janus4oError, RecipeError
from janus4o.model.loading import load_model
from janus4o.recipe import Lora, Recipe, Train, parse
from janus4o.train import presets
from janus4o.train.learnt import merged_state, prepare
from janus4o.train.loop import train

from .test_loop import SETTINGS, after, assert_same, metrics, weights

LORA = replace(SETTINGS, lora=Lora(rank=4, alpha=8))


def test_lora_resumes_to_the_bit_and_its_checkpoint_is_an_ordinary_model(
    tmp_path, codes, fresh_model
):
    settings = replace(LORA, lora=Lora(rank=4, alpha=8, dropout=0.2))
    straight, cut = fresh_model(), fresh_model()
    result = train(settings, straight, codes, tmp_path / "straight")
    with pytest.raises(Interrupted):
        train(settings, fresh_model(), codes, tmp_path / "cut", stop=after(3))
    assert train(settings, cut, codes, tmp_path / "cut").trained == 3
    assert_same(weights(cut), weights(straight))
    merged, before = dict(merged_state(straight.network)), weights(fresh_model())
    loaded = weights(load_model(result.checkpoint))
    codebook = "model.vqmodel.quantize.embedding.weight"
    loaded.pop(codebook)
    assert_same(loaded, {name: merged[name] for name in loaded})
    moved = {name for name in loaded if not torch.equal(loaded[name], before[name])}
    assert len(moved) == 7 * 2  # seven layers in each of two blocks
    assert all(name.startswith("model.language_model.layers.") for name in moved)


def test_merged_weights_draw_what_lora_draws(tmp_path, codes, fresh_model):
    model = fresh_model()
    checkpoint = train(LORA, model, codes, tmp_path).checkpoint
    ids = torch.arange(12)[None]
    model.network.eval()
    with torch.no_grad():
        ours = model.network.model.language_model(input_ids=ids).last_hidden_state
        merged = load_model(checkpoint).network.model.language_model(input_ids=ids)
    torch.testing.assert_close(merged.last_hidden_state, ours, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # PEFT asks
def test_peft_loads_the_adapter(tmp_path, codes, fresh_model):
    from peft import PeftModel

    model = fresh_model()
    checkpoint = train(LORA, model, codes, tmp_path).checkpoint
    theirs = PeftModel.from_pretrained(fresh_model().network, checkpoint / "adapter")
    theirs = dict(theirs.base_model.model.named_parameters())
    small = {name: tensor for name, tensor in weights(model).items() if ".lora_" in name}
    assert_same({name: theirs[name].detach() for name in small}, small)


def test_bfloat16_weights_keep_codes_and_learn_in_float32(tmp_path, codes, fresh_model):
    settings = replace(LORA, weights="bf16", precision="bf16")
    model = fresh_model()
    checkpoint = train(settings, model, codes, tmp_path).checkpoint
    dtypes = {name: p.dtype for name, p in model.network.named_parameters()}
    for name, dtype in dtypes.items():
        wide = ".lora_" in name or "vqmodel" in name
        assert dtype == (torch.float32 if wide else torch.bfloat16), name
    stored = load_model(checkpoint, None)
    assert stored.network.model.language_model.embed_tokens.weight.dtype == torch.bfloat16
    with_words = [line["loss"] for line in metrics(tmp_path)]
    assert with_words[-1] < with_words[0]


def test_frozen_parts_do_not_move(tmp_path, codes, fresh_model):
    model, before = fresh_model(), weights(fresh_model())
    train(replace(SETTINGS, freeze=("vision", "aligner", "language")), model, codes, tmp_path)
    moved = {n.split(".")[1] for n, t in weights(model).items() if not torch.equal(t, before[n])}
    assert moved == {"generation_embeddings", "generation_aligner", "generation_head"}


@pytest.mark.parametrize("recompute", ["selective", "layers"])
def test_computing_again_changes_nothing(tmp_path, codes, fresh_model, recompute):
    learnt = []
    for what in ("none", recompute):
        model = fresh_model()
        train(replace(SETTINGS, recompute=what, steps=2), model, codes, tmp_path / what)
        learnt.append(weights(model))
    for name, tensor in learnt[0].items():
        torch.testing.assert_close(learnt[1][name], tensor, atol=1e-5, rtol=1e-4, msg=name)


def test_packed_training_learns_the_same(tmp_path, codes, fresh_model):
    train(SETTINGS, fresh_model(), codes, tmp_path / "rows")
    packed = replace(SETTINGS, micro_batch=None, packing=128)
    train(packed, fresh_model(), codes, tmp_path / "packed")
    for a, b in zip(metrics(tmp_path / "rows"), metrics(tmp_path / "packed"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["tokens"] == b["tokens"]


def test_the_loss_of_rows_held_out_is_measured_and_they_are_not_trained_on(
    tmp_path, codes, fresh_model
):
    settings = replace(SETTINGS, validation=4, validate_every=2, steps=4)
    train(settings, fresh_model(), codes, tmp_path / "a")
    lines = metrics(tmp_path / "a")
    assert [bool(line.get("validation")) for line in lines] == [False, True, False, True]
    assert set(lines[-1]["validation"]) <= {"text_to_image", "edit"}
    assert "held out" in (tmp_path / "a/checkpoints/4/README.md").read_text()
    with pytest.raises(DataError, match="holds out"):
        train(replace(settings, validation=16), fresh_model(), codes, tmp_path / "b")


def test_a_row_that_breaks_the_loss_is_named(tmp_path, codes, fresh_model):
    model = fresh_model()
    with torch.no_grad():
        model.network.model.vision_model.post_layernorm.weight[0] = float("nan")
    with pytest.raises(Janus4oError, match=r"worst row \d+ \('make it .*'\): nan"):
        train(replace(SETTINGS, batch=16), model, codes, tmp_path)


def test_a_jump_of_the_loss_is_listed_with_its_rows(tmp_path, codes, fresh_model):
    settings = replace(SETTINGS, steps=13, batch=2, rate=1e-4, spike=1.05)
    model = fresh_model()

    def upset(step, _):
        if step.step == 11:
            with torch.no_grad():
                model.network.model.generation_head.proj_out.weight.mul_(20)

    train(settings, model, codes, tmp_path, on_step=upset)
    listed = [json.loads(line) for line in (tmp_path / "spikes.jsonl").read_text().splitlines()]
    assert 12 in [one["step"] for one in listed]
    assert all(one["rows"][0].startswith("row ") for one in listed)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"weights": "bf16", "precision": "bf16"}, "rounds small updates away"),
        ({"packing": 512, "micro_batch": 2}, "takes the place"),
        ({"lora": {"rank": 2}, "freeze": ["language"]}, "freeze"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong, said):
    with pytest.raises(RecipeError, match=said):
        parse({"name": "x", "train": wrong})
    assert isinstance(parse({"name": "x"}), Recipe)


def test_targets_that_name_no_layer_and_nothing_to_learn(fresh_model):
    with pytest.raises(RecipeError, match="name no layer"):
        prepare(fresh_model(), replace(SETTINGS, lora=Lora(targets=["nothing"])))
    everything = presets.resolve(Train(freeze=["vision", "aligner", "language", "generation"]))
    with pytest.raises(RecipeError, match="nothing to learn"):
        prepare(fresh_model(), everything)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, where it compiles
def test_moments_in_8_bits_resume_to_the_bit(tmp_path, codes, fresh_model):
    pytest.importorskip("torchao", reason="an optional package")
    settings = replace(SETTINGS, optimizer="adamw_8bit", weights="bf16", precision="bf16", steps=4)
    straight, cut = fresh_model(), fresh_model()
    train(settings, straight, codes, tmp_path / "straight")
    with pytest.raises(Interrupted):
        train(settings, fresh_model(), codes, tmp_path / "cut", stop=after(2))
    train(settings, cut, codes, tmp_path / "cut")
    assert_same(weights(cut), weights(straight))
