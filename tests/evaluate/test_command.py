"""`janus4o eval sketch`: the wiring of a real (untrained) model to the exam, and its refusals."""

import json

import pytest

from janus4o.cli.app import main
from janus4o.cli.eval import digest_of, newest_checkpoint
from janus4o.errors import DataError

RECIPE = """
name: wired
output: {folder}
model: {{init: {base}}}
evaluate: {{prompts_per_task: 1, validation_per_task: 1, guidance: [1.0, 2.0], semantic_weights: [0.0]}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with an untrained checkpoint, and its recipe."""
    pytest.importorskip("torch")
    from janus4o.model.loading import TinyConfig, new_model, save_model
    from janus4o.sketch import grammar

    folder = tmp_path_factory.mktemp("wired")
    model = new_model(grammar.VOCABULARY, TinyConfig(hidden=24, layers=1, heads=2, mlp=48))
    (folder / "checkpoints").mkdir()
    save_model(model, folder / "checkpoints" / "9")
    save_model(model, folder / "checkpoints" / "10")
    recipe = folder / "wired.yaml"
    recipe.write_text(RECIPE.format(folder=folder, base=folder / "checkpoints" / "9"))
    return folder, recipe


def test_it_scores_a_real_model_once(run, capsys):
    folder, recipe = run
    assert main(["eval", "sketch", str(recipe), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == json.loads((folder / "scores" / "summary.json").read_text())
    assert summary["meta"]["judge"] == "sketch-1"
    assert {entry["n"] for entry in summary["tuned"]["t2i"].values()} == {1}
    # Equal weights, prompts and seeds: equal pictures.
    made = folder / "scores" / "pictures"
    for picture in sorted((made / "base").iterdir()):
        if summary["meta"]["guidance"]["base"] == summary["meta"]["guidance"]["tuned"]:
            assert picture.read_bytes() == (made / "tuned" / picture.name).read_bytes()
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.png")}
    assert main(["eval", "sketch", str(recipe)]) == 0
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*.png")} == before
    assert "what the base could do" in capsys.readouterr().out


def test_the_newest_checkpoint_is_the_highest_step(run):
    folder, _ = run
    assert newest_checkpoint(folder).name == "10"


def test_without_a_checkpoint_it_says_what_to_do(tmp_path, capsys):
    with pytest.raises(DataError):
        newest_checkpoint(tmp_path)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"name: empty\noutput: {tmp_path / 'run'}\n")
    assert main(["eval", "sketch", str(recipe)]) == 3
    assert "janus4o train" in capsys.readouterr().err


def test_other_weights_have_another_digest(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"a")
    first = digest_of(str(tmp_path))
    (tmp_path / "notes.txt").write_text("not part of a model")
    assert digest_of(str(tmp_path)) == first
    (tmp_path / "model.safetensors").write_bytes(b"b")
    assert digest_of(str(tmp_path)) != first
    assert digest_of("some/hub-id") != digest_of("other/hub-id")
