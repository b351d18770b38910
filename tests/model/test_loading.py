"""Checkpoints: what was saved comes back; what is broken is refused in one line with a remedy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from janus4o.errors import CheckpointError
from janus4o.model import codebook, stored
from janus4o.model.loading import JanusModel, TinyConfig, load_model, new_model, save_model


@pytest.fixture
def saved(model: JanusModel, tmp_path: Path) -> Path:
    save_model(model, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def weights(model: JanusModel) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = model.network.state_dict()
    return state


def test_what_was_saved_comes_back(model: JanusModel, saved: Path) -> None:
    back = load_model(saved)
    assert back.geometry == model.geometry
    assert back.fit == model.fit == "crop"
    assert back.tokenizer.fast.get_vocab() == model.tokenizer.fast.get_vocab()
    text = "A red Circle, <|User|> zebra: what is this?"
    assert back.tokenizer.encode(text) == model.tokenizer.encode(text)
    ours, theirs = weights(model), weights(back)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(theirs[name], tensor), name
    assert not back.network.training


def test_half_precision_is_half_as_large_and_loads_as_float32(
    model: JanusModel, saved: Path, tmp_path: Path
) -> None:
    save_model(model, tmp_path / "half", torch.float16)
    size = {
        folder: (folder / "model.safetensors").stat().st_size
        for folder in (saved, tmp_path / "half")
    }
    assert size[tmp_path / "half"] < 0.55 * size[saved]
    assert load_model(tmp_path / "half").dtype == torch.float32
    assert model.dtype == torch.float32, "saving must not change the network"


def test_saving_replaces_a_checkpoint_and_leaves_nothing_behind(
    model: JanusModel, saved: Path
) -> None:
    (saved / "stale").touch()
    save_model(model, saved)
    assert not (saved / "stale").exists()
    assert os.listdir(saved.parent) == [saved.name]
    other = saved.parent / "notes"
    other.mkdir()
    (other / "diary.txt").touch()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        save_model(model, other)


def test_new_model_is_its_arguments_and_leaves_the_global_seed_alone(model: JanusModel) -> None:
    small = TinyConfig(hidden=32, layers=1, heads=1, mlp=32, vision_hidden=32, vision_heads=1)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, same, other = (
        new_model(["a"], small),
        new_model(["a"], small),
        new_model(["a"], small, seed=1),
    )
    assert torch.equal(torch.rand(1), expected)
    head = "model.generation_head.vision_head.weight"
    assert torch.equal(weights(one)[head], weights(same)[head])
    assert not torch.equal(weights(one)[head], weights(other)[head])


def test_the_output_layer_is_its_own(model: JanusModel) -> None:
    network = model.network
    assert network.lm_head.weight is not network.model.language_model.embed_tokens.weight
    assert network.model.language_model.embed_tokens.padding_idx is None


def test_codes_ignore_the_length_of_codebook_rows(model: JanusModel, saved: Path) -> None:
    pixels = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codes = codebook.encode(model.network, pixels)
    assert codes.shape == (4, model.geometry.tokens)
    assert codes.dtype == torch.int64
    stretched = load_model(saved)
    rows = stretched.network.model.vqmodel.quantize.embedding.weight
    with torch.no_grad():
        rows.mul_(torch.linspace(0.5, 1.5, len(rows))[:, None])
    assert torch.equal(codebook.encode(stretched.network, pixels), codes)
    save_model(stretched, saved)
    loaded = load_model(saved).network.model.vqmodel.quantize.embedding.weight
    torch.testing.assert_close(loaded.norm(dim=-1), torch.ones(len(rows)))
    assert codebook.decode(model.network, codes).shape == (4, 64, 64, 3)


def change_json(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = json.loads((folder / name).read_text(encoding="utf-8"))
        change(data)
        (folder / name).write_text(json.dumps(data), encoding="utf-8")

    return apply


def truncate(name: str, share: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return apply


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def without_placeholder(data: dict[str, Any]) -> None:
    data["added_tokens"] = [t for t in data["added_tokens"] if "placeholder" not in t["content"]]
    data["model"]["vocab"].pop("<image_placeholder>")


BROKEN = {
    "no config": (remove("config.json"), "config.json is missing"),
    "no weights": (remove("model.safetensors"), "no .*safetensors"),
    "no tokenizer": (remove("tokenizer.json"), "tokenizer.json is missing"),
    "header cut": (truncate("model.safetensors", 0.001), "cannot be read"),
    "weights cut": (truncate("model.safetensors", 0.7), "cannot be read"),
    "config cut": (truncate("config.json", 0.5), "not readable JSON"),
    "tokenizer cut": (truncate("tokenizer.json", 0.5), "tokenizer.json cannot be read"),
    "another model": (
        change_json("config.json", lambda c: c.update(model_type="llama")),
        "'llama'",
    ),
    "official name alone": (
        change_json("config.json", lambda c: c.update(model_type="multi_modality")),
        "no vision_config",
    ),
    "other sizes": (
        change_json("config.json", lambda c: c["text_config"].update(intermediate_size=96)),
        "weight",
    ),
    "fewer layers": (
        change_json("config.json", lambda c: c["text_config"].update(num_hidden_layers=1)),
        "unexpected weight",
    ),
    "more layers": (
        change_json("config.json", lambda c: c["text_config"].update(num_hidden_layers=3)),
        "missing weight",
    ),
    "odd patch": (
        change_json("config.json", lambda c: c["vision_config"].update(patch_size=8)),
        "shrinks by 16",
    ),
    "no placeholder": (
        change_json("tokenizer.json", without_placeholder),
        "lacks the special token <image_placeholder>",
    ),
    "odd fit": (change_json("janus4o.json", lambda c: c.update(fit="stretch")), "fit 'stretch'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_checkpoint_is_refused_with_a_remedy(case: str, saved: Path) -> None:
    break_it, message = BROKEN[case]
    break_it(saved)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(saved)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        load_model(tmp_path / "nowhere")


def test_absent_fit_means_letterbox(saved: Path) -> None:
    (saved / stored.OWN_FILE).unlink()
    assert load_model(saved).fit == "letterbox"
