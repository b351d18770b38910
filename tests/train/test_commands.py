"""`janus4o encode` and `janus4o train` from a recipe, and what they say when something is missing."""

import shutil

import pytest
import torch
import yaml

from janus4o.cli import app
from janus4o.model.loading import load_model, save_model
from janus4o.recipe import load
from janus4o.report.drawn import progress
from janus4o.train import start

from .conftest import write_data_set


@pytest.fixture
def run(tmp_path, fresh_model):
    """A run folder with data, a checkpoint to start from, and the recipe of both."""
    write_data_set(tmp_path / "run")
    save_model(fresh_model(), tmp_path / "init")
    recipe = {
        "name": "tiny",
        "output": str(tmp_path / "run"),
        "model": {"init": str(tmp_path / "init"), "fit": "letterbox"},
        "train": {"steps": 2, "batch": 4, "rate": 1e-3},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_encode_then_train_then_nothing_left_to_do(run, tmp_path, capsys):
    for _ in range(2):
        assert app.main(["encode", str(run)]) == 0
        assert app.main(["train", str(run)]) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == str(tmp_path / "run" / "checkpoints" / "2")
    assert load_model(last).fit == "letterbox"
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def test_prompts_are_drawn_after_every_checkpoint_and_shown(run, tmp_path):
    """They change nothing that is learnt, and the same weights draw the same."""
    prompts = ["a red circle", "a blue star"]
    every = ["train.checkpoint_every=1", "train.keep_checkpoints=9", "--device", "cpu"]
    assert app.main(["encode", str(run)]) == 0
    assert app.main(["train", str(run), *every]) == 0
    plain = load_model(tmp_path / "run" / "checkpoints" / "2").network.state_dict()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert app.main(["train", str(run), f"train.samples={prompts}", *every]) == 0
    drawn = load_model(tmp_path / "run" / "checkpoints" / "2").network.state_dict()
    assert all(torch.equal(tensor, drawn[name]) for name, tensor in plain.items())
    made = progress(tmp_path / "run" / "progress")
    assert [prompt for prompt, _ in made] == prompts
    assert [[step for step, _ in frames] for _, frames in made] == [[1, 2], [1, 2]]
    assert app.main(["report", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert page.count("drawn after each checkpoint") == 2
    assert "<figcaption>step 2</figcaption>" in page


def test_training_without_codes_names_the_command_that_makes_them(run, capsys):
    assert app.main(["train", str(run)]) == 3
    assert "janus4o encode" in capsys.readouterr().err


def test_codes_of_another_fit_are_not_used(run, capsys):
    assert app.main(["encode", str(run), "model.fit=crop"]) == 0
    assert app.main(["train", str(run)]) == 3


def test_a_data_set_that_grew_must_be_encoded_again(run, tmp_path, capsys):
    assert app.main(["encode", str(run)]) == 0
    write_data_set(tmp_path / "run", drawn=9)
    assert app.main(["train", str(run)]) == 3
    assert "changed since" in capsys.readouterr().err
    assert app.main(["encode", str(run)]) == 0
    assert app.main(["train", str(run)]) == 0


def test_a_missing_data_set_or_model_is_bad_input(run, tmp_path, capsys):
    assert app.main(["encode", str(run), f"output={tmp_path / 'nothing'}"]) == 3
    assert app.main(["encode", str(run), "--init", str(tmp_path / "nothing")]) == 3
    assert app.main(["train", str(run), "train.stepz=3"]) == 3
    assert "did you mean" in capsys.readouterr().err


def test_changed_settings_are_refused_and_not_kept(run, tmp_path, capsys):
    assert app.main(["encode", str(run)]) == 0
    assert app.main(["train", str(run)]) == 0
    kept = load(tmp_path / "run" / "recipe.yaml")
    assert kept.train.rate == 1e-3
    assert app.main(["train", str(run), "train.rate=0.5"]) == 4
    assert "train.rate" in capsys.readouterr().err
    assert load(tmp_path / "run" / "recipe.yaml") == kept


def test_random_keeps_the_picture_tokenizer_only(tmp_path, fresh_model, monkeypatch):
    save_model(fresh_model(), tmp_path / "base")
    base = load_model(tmp_path / "base")
    monkeypatch.setattr(start, "load_model", lambda _name, _dtype: base)
    made, again = (start.start_model("random", "crop", seed=3) for _ in range(2))
    for name, tensor in made.network.state_dict().items():
        assert tensor.equal(again.network.state_dict()[name])
        same = tensor.equal(base.network.state_dict()[name])
        if name.startswith("model.vqmodel."):
            assert same, name
        elif tensor.ndim > 1:
            assert not same, name
