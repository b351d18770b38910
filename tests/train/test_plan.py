"""What is reckoned before a training is what the training does."""

import json
import shutil

import pytest
from torch.profiler import ProfilerActivity, profile

from janus4o import recipe
from janus4o.cli import app
from janus4o.errors import DataError
from janus4o.model.loading import TinyConfig, new_model
from janus4o.synth.export import export
from janus4o.train import plan
from janus4o.train.batch import collate
from janus4o.train.dataset import Dataset
from janus4o.train.encode import encode_rows
from janus4o.train.gradients import Gradients, attention_for_training
from janus4o.train.learnt import make_optimizer, prepare
from janus4o.train.loop import train
from janus4o.train.presets import resolve
from janus4o.train.shape import JANUS_PRO_7B, read_shape

from .conftest import WORDS, write_data_set

LARGER = TinyConfig(
    image_size=64, patch_size=8, hidden=128, layers=4, heads=2, mlp=384,
    vision_hidden=64, vision_layers=2, vision_heads=2, vq_codes=512, vq_multipliers=(1, 1, 1, 1),
)  # fmt: skip


def peak_of(step):
    """Most bytes of tensors that `step` adds, by torch's own account of every allocation."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    now = most = 0
    for event in sorted(seen.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"precision": "fp32", "micro_batch": None, "packing": 1000},
        {"precision": "bf16", "recompute": "layers"},
        {"precision": "bf16", "weights": "bf16", "lora": {"rank": 4}},
    ],
    ids=["bf16", "fp32-packed", "recompute", "lora"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_memory_is_that_of_a_real_step(tmp_path, changes):
    model = new_model(WORDS, LARGER)
    codes = encode_rows(write_data_set(tmp_path, 0, 8), model, tmp_path / "codes")
    data = Dataset(codes, model)
    settings = resolve(recipe.Train(batch=8, **{"micro_batch": 4, **changes}))
    shape = read_shape(model.network.config.to_dict())
    examples = [data[row] for row in range(8)]
    held = sum(p.nbytes for p in model.network.parameters())
    learnt = prepare(model, settings)
    assert sum(p.numel() for p in learnt.values()) == plan.learnt_parameters(shape, settings)
    optimizer = make_optimizer(settings, learnt)
    gradients = Gradients(model.network, list(learnt.values()), settings.precision)
    cut = 4 if settings.packing is None else 5
    groups = [examples[:cut], examples[cut:]]
    batches = [collate(g, model.geometry.pad, True, bool(settings.packing)) for g in groups]
    model.network.train()

    def step():
        gradients.add(batches, [1.0, 1.0])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    length = len(examples[0])
    reckoned = plan.memory(shape, settings, 1, plain_attention=True, length=length)
    held = sum(p.nbytes for p in model.network.parameters())
    assert held == pytest.approx(reckoned["weights"], rel=0.02)
    with attention_for_training(model.network, bool(settings.packing)):
        step()  # from now on the moments are there
        moments = sum(t.nbytes for s in optimizer.state.values() for t in s.values() if t.ndim)
        assert moments == pytest.approx(reckoned["optimizer"], rel=0.02)
        added = peak_of(step)
    rest = sum(reckoned.values()) - reckoned["weights"] - reckoned["optimizer"]
    print(f"{added / 1e6:.1f} MB, reckoned {rest / 1e6:.1f}")
    assert added == pytest.approx(rest, rel=0.2)


def test_steps_rows_and_positions_are_those_of_the_run(tmp_path, fresh_model):
    model = fresh_model()
    run = tmp_path / "run"
    codes = encode_rows(write_data_set(tmp_path / "data"), model, run / "codes")
    made = recipe.parse(
        {"name": "r", "output": str(run), "train": {"epochs": 2, "batch": 4, "validation": 3}}
    )
    reckoned = plan.plan_training(made)
    assert (reckoned.rows, plan.count_rows(made).by_sources) == (16, {0: 8, 1: 8})
    assert train(resolve(made.train), model, codes, run).steps == reckoned.steps == 6


def test_rows_of_an_imported_data_set(tmp_path):
    write_data_set(tmp_path / "data", 5, 3)
    made = recipe.parse({"name": "r", "output": str(tmp_path / "run")})
    assert app.main(["import", str(tmp_path / "data"), "--into", str(tmp_path / "run")]) == 0
    assert plan.count_rows(made).by_sources == {0: 5, 1: 3}
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="holds no data set"):
        plan.count_rows(made)
    (tmp_path / "data" / "text_to_image.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        plan.count_rows(made)


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_rows_of_an_imported_data_set_in_another_layout(tmp_path, form):
    write_data_set(tmp_path / "data", 5, 3)
    export(tmp_path / "data", tmp_path / "out", form)
    made = recipe.parse({"name": "r", "output": str(tmp_path / "run")})
    assert app.main(["import", str(tmp_path / "out"), "--into", str(tmp_path / "run")]) == 0
    assert plan.count_rows(made).by_sources == {0: 5, 1: 3}
    assert plan.plan_training(made).to_json()["flops"] > 0


def test_without_rows_no_training_is_reckoned(tmp_path, capsys):
    pipelines = ("text_to_image", "image_first", "document", "editing")
    counts = ", ".join(f"{one}: {{count: 0}}" for one in pipelines)
    path = tmp_path / "r.yaml"
    path.write_text(f"output: {tmp_path / 'run'}\nsynthesis: {{{counts}}}\n")
    assert app.main(["plan", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"] is None
    assert app.main(["plan", str(path)]) == 0
    assert "no rows" in capsys.readouterr().out


FITS = {
    ("24gb_lora", 1): (["RTX 3090", "RTX 4090"], []),
    ("80gb_full", 1): (["A100/A800 80 GB", "H100"], ["L40S"]),
    ("8gpu_paper", 8): (["A100/A800 80 GB"], ["RTX 4090"]),
}


@pytest.mark.parametrize(("name", "gpus"), FITS)
def test_recipes_fit_where_their_names_say(root, capsys, name, gpus):
    words = ["plan", str(root / "recipes" / f"{name}.yaml"), "--gpus", str(gpus)]
    assert app.main([*words, "--json"]) == 0
    training = json.loads(capsys.readouterr().out)["training"]
    yes, no = FITS[name, gpus]
    assert all(training["on"][gpu]["fits"] for gpu in yes), training["memory_total"]
    assert not any(training["on"][gpu]["fits"] for gpu in no), training["memory_total"]
    assert training["rows"] == 92_256
    assert app.main(words) == 0
    assert "not measured" in capsys.readouterr().out


def test_the_paper_s_training(root):
    made = plan.plan_training(recipe.load(root / "recipes" / "8gpu_paper.yaml"), 8)
    # 2,162 steps less those of the rows held out; 339 million positions, about 12.8 EFLOP
    assert made.steps == pytest.approx(2162, abs=8)
    assert made.tokens / 1e6 == pytest.approx(339, rel=0.02)
    assert made.flops / 1e18 == pytest.approx(12.9, rel=0.03)


def test_a_model_whose_size_nothing_says(tmp_path, capsys):
    path = tmp_path / "r.yaml"
    path.write_text("model: {init: somebody/model}\n")
    assert app.main(["plan", str(path)]) == 0
    assert "sizes unknown" in capsys.readouterr().out
    assert plan.find_shape("deepseek-ai/Janus-Pro-7B@main") == JANUS_PRO_7B
