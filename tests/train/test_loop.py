"""A run that was stopped and went on ends with the same weights as one that was not."""

import errno
import json
import os
import signal
from concurrent.futures import wait
from dataclasses import replace

import pytest
import torch

from janus4o.errors import CheckpointError, Interrupted, Janus4oError, RecipeChanged
from janus4o.model.loading import load_model
from janus4o.recipe import Train
from janus4o.train import checkpoints, presets
from janus4o.train.checkpoints import list_steps
from janus4o.train.learnt import make_optimizer, prepare
from janus4o.train.loop import train

SETTINGS = presets.resolve(
    Train(steps=6, batch=8, micro_batch=3, rate=1e-2, warmup=0.2, checkpoint_every=100)
)


def weights(model):
    return {name: p.detach().clone() for name, p in model.network.named_parameters()}


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def after(steps):
    """A `stop` that says yes once so many steps were asked about."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= steps


def assert_same(got, wanted):
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(got[name], tensor), name


@pytest.mark.parametrize("preset", ["official", "paper", "corrected"])
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, codes, fresh_model, preset):
    settings = replace(
        presets.resolve(Train(preset=preset)),
        **{k: getattr(SETTINGS, k) for k in ("steps", "batch", "micro_batch", "rate", "warmup")},
    )
    straight = fresh_model()
    train(settings, straight, codes, tmp_path / "straight")
    with pytest.raises(Interrupted, match="step 3 of 6"):
        train(settings, fresh_model(), codes, tmp_path / "cut", stop=after(3))
    resumed = fresh_model()
    result = train(settings, resumed, codes, tmp_path / "cut")
    assert result.trained == 3
    assert_same(weights(resumed), weights(straight))
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "straight")


def test_a_kill_loses_the_steps_since_the_checkpoint_and_nothing_else(tmp_path, codes, fresh_model):
    settings = replace(SETTINGS, checkpoint_every=2)
    straight = fresh_model()
    train(settings, straight, codes, tmp_path / "straight")

    def die(step, _steps):
        if step.step == 5:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        train(settings, fresh_model(), codes, tmp_path / "cut", on_step=die)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    assert list_steps(tmp_path / "cut") == [2, 4]
    resumed = fresh_model()
    train(settings, resumed, codes, tmp_path / "cut")
    assert_same(weights(resumed), weights(straight))
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "straight")


def test_a_finished_run_does_nothing(tmp_path, codes, fresh_model):
    first = train(SETTINGS, fresh_model(), codes, tmp_path)
    again = train(SETTINGS, fresh_model(), codes, tmp_path)
    assert (again.checkpoint, again.trained) == (first.checkpoint, 0)
    assert len(metrics(tmp_path)) == 6


def test_training_learns_both_kinds_and_leaves_the_tokenizer_alone(tmp_path, codes, fresh_model):
    model, before = fresh_model(), weights(fresh_model())
    train(replace(SETTINGS, steps=25, batch=16, micro_batch=None), model, codes, tmp_path)
    lines = metrics(tmp_path)
    assert lines[-1]["t2i_loss"] < lines[0]["t2i_loss"] - 1
    assert lines[-1]["edit_loss"] < lines[0]["edit_loss"] - 1
    for name, tensor in weights(model).items():
        frozen = name.startswith(("model.vqmodel.", "lm_head."))
        assert torch.equal(tensor, before[name]) == frozen, name


def test_the_checkpoint_is_the_model(tmp_path, codes, fresh_model):
    model = fresh_model()
    result = train(SETTINGS, model, codes, tmp_path)
    loaded = load_model(result.checkpoint)
    assert loaded.fit == model.fit
    codebook = "model.vqmodel.quantize.embedding.weight"  # made unit vectors again when loaded
    got, wanted = weights(loaded), weights(model)
    torch.testing.assert_close(got.pop(codebook), wanted.pop(codebook))
    assert_same(got, wanted)


def test_only_the_newest_checkpoints_are_kept(tmp_path, codes, fresh_model):
    train(replace(SETTINGS, checkpoint_every=1, keep_checkpoints=2), fresh_model(), codes, tmp_path)
    assert list_steps(tmp_path) == [5, 6]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["5", "6"]


def test_what_a_kill_kept_from_being_removed_is_removed(tmp_path, codes, fresh_model, monkeypatch):
    settings = replace(SETTINGS, checkpoint_every=1, keep_checkpoints=1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "prune", lambda *_: None)
        train(settings, fresh_model(), codes, tmp_path)
    assert len(list_steps(tmp_path)) > 1
    last = train(settings, fresh_model(), codes, tmp_path).checkpoint
    assert list(last.parent.iterdir()) == [last]


def test_micro_batches_do_not_change_what_is_learnt(tmp_path, codes, fresh_model):
    one, all_at_once = fresh_model(), fresh_model()
    # Without momentum's division by the tiny: compare the first loss and gradient, not the weights.
    train(replace(SETTINGS, micro_batch=1, steps=1), one, codes, tmp_path / "one")
    train(replace(SETTINGS, micro_batch=None, steps=1), all_at_once, codes, tmp_path / "all")
    a, b = metrics(tmp_path / "one")[0], metrics(tmp_path / "all")[0]
    for key in ("loss", "t2i_loss", "edit_loss", "grad_norm"):
        assert a[key] == pytest.approx(b[key], rel=1e-5)
    assert a["tokens"] == b["tokens"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint(tmp_path, codes, fresh_model, number):
    before = signal.getsignal(number)

    def kill(step, _steps):
        if step.step == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match="step 2 of 6"):
        train(SETTINGS, fresh_model(), codes, tmp_path, on_step=kill)
    assert list_steps(tmp_path) == [2]
    assert signal.getsignal(number) is before


def test_a_loss_that_is_no_number_stops_before_it_spoils_the_weights(tmp_path, codes, fresh_model):
    model = fresh_model()
    with torch.no_grad():
        model.network.model.generation_head.proj_out.weight[0, 0] = float("nan")
    before = weights(model)
    with pytest.raises(Janus4oError, match="loss is nan"):
        train(SETTINGS, model, codes, tmp_path)
    name = "model.language_model.norm.weight"
    assert torch.equal(weights(model)[name], before[name])
    assert list_steps(tmp_path) == []


def test_other_settings_do_not_go_on_from_these_checkpoints(tmp_path, codes, fresh_model):
    train(SETTINGS, fresh_model(), codes, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(
        RecipeChanged, match=r"train\.rate: 0\.01 → 0\.5, train\.seed: 0 → 3 "
    ) as no:
        train(replace(SETTINGS, rate=0.5, seed=3), fresh_model(), codes, tmp_path)
    assert "--fork NEW_FOLDER" in no.value.remedy
    assert before == {path: path.read_bytes() for path in before}
    train(replace(SETTINGS, checkpoint_every=7), fresh_model(), codes, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "trainer/shard-00001-model-00001-of-00001.safetensors",
        "model.safetensors",
        "trainer/state.json",
    ],
)
def test_a_truncated_checkpoint_is_one_clear_error(tmp_path, codes, fresh_model, name):
    path = train(SETTINGS, fresh_model(), codes, tmp_path).checkpoint / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError) as caught:
        train(SETTINGS, fresh_model(), codes, tmp_path)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_norms_and_biases_decay_officially_and_not_by_default(fresh_model):
    model = fresh_model()
    learnt = prepare(model, SETTINGS)
    names = {id(p): name for name, p in learnt.items()}

    def shrunk(preset):
        groups = make_optimizer(presets.resolve(Train(preset=preset)), learnt).param_groups
        assert sum(len(group["params"]) for group in groups) == len(learnt)
        return {names[id(p)] for p in groups[0]["params"] if groups[0]["weight_decay"]}

    norm, bias = "model.language_model.norm.weight", "model.aligner.fc1.bias"
    assert norm in shrunk("official")
    assert norm not in shrunk("corrected")
    assert bias not in shrunk("official") | shrunk("corrected")
    assert not any("vqmodel" in name for name in names.values())


def test_bfloat16_learns_like_float32(tmp_path, codes, fresh_model):
    train(SETTINGS, fresh_model(), codes, tmp_path / "fp32")
    train(replace(SETTINGS, precision="bf16"), fresh_model(), codes, tmp_path / "bf16")
    for a, b in zip(metrics(tmp_path / "fp32"), metrics(tmp_path / "bf16"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=0.03)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_number_of_workers_does_not_change_what_is_learnt(
    tmp_path, codes, fresh_model, precision
):
    learnt = []
    for workers in (1, 3):
        model = fresh_model()
        settings = replace(SETTINGS, workers=workers, precision=precision)
        train(settings, model, codes, tmp_path / str(workers))
        learnt.append(weights(model))
    assert_same(*learnt)
    assert metrics(tmp_path / "1") == metrics(tmp_path / "3")


def test_a_checkpoint_that_cannot_be_written_is_heard_before_the_next_one(
    tmp_path, codes, fresh_model, monkeypatch
):
    seen, check = [], checkpoints.Saver.check

    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    def check_when_written(saver):
        wait([saver._writing] if saver._writing else [])
        check(saver)

    monkeypatch.setattr(checkpoints, "save_model", full)
    monkeypatch.setattr(checkpoints.Saver, "check", check_when_written)
    settings = replace(SETTINGS, checkpoint_every=2)
    with pytest.raises(OSError, match="No space left"):
        train(
            settings, fresh_model(), codes, tmp_path, on_step=lambda one, _: seen.append(one.step)
        )
    assert seen == [1, 2]
    assert list_steps(tmp_path) == []
