"""DeepSeek's own format: names, configs, and what the official code sees of a picture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import janus4o
from janus4o.errors import CheckpointError
from janus4o.generate.api import Janus
from janus4o.model import codebook, official
from janus4o.model.geometry import SYSTEM_PROMPT
from janus4o.model.loading import load_model
from janus4o.model.preprocess import fit_image, to_pixel_values
from janus4o.model.stored import skeleton


@pytest.fixture
def copied(official_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(official_folder, tmp_path / "copied"))


@pytest.fixture(scope="module")
def pictures(golden: Path) -> list[Path]:
    return sorted((golden / "images").iterdir())


def change(folder: Path, edit: Callable[[dict[str, Any]], Any], name: str = "config.json") -> Path:
    data = json.loads((folder / name).read_text(encoding="utf-8"))
    edit(data)
    (folder / name).write_text(json.dumps(data), encoding="utf-8")
    return folder


def rewrite(folder: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    state = load_file(folder / "model.safetensors")
    edit(state)
    save_file(state, folder / "model.safetensors")
    return folder


def test_names_and_shapes_are_those_of_the_official_state_dict(
    golden: Path, official_janus: Janus
) -> None:
    network = official_janus.model.network
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    named = {name: place.shape for name, place in official.places(shapes).items()}
    named |= official.unused(network.config)
    expected = json.loads((golden / "keys.json").read_text(encoding="utf-8"))
    assert named == {name: tuple(shape) for name, shape in expected.items()}


def test_a_config_written_reads_as_the_same(official_janus: Janus) -> None:
    config = official_janus.model.network.config
    again = official.read_config(official.write_config(config, torch.float32), "again")
    for part in ("text_config", "vision_config", "vq_config"):
        ours, theirs = getattr(config, part).to_dict(), getattr(again, part).to_dict()
        assert {k: v for k, v in ours.items() if k != "dtype"} == {
            k: v for k, v in theirs.items() if k != "dtype"
        }


def test_understanding_features(golden: Path, official_janus: Janus, pictures: list[Path]) -> None:
    expected = torch.from_numpy(np.load(golden / "outputs/understanding.npz")["features"])
    found = official_janus.features(pictures)[:, ::8]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_codes_and_latents(golden: Path, official_janus: Janus, pictures: list[Path]) -> None:
    """Without our normalising, 45 % of the codes would be right."""
    arrays = np.load(golden / "outputs/vq_encode.npz")
    assert official_janus.encode(pictures).tolist() == arrays["token_ids"].tolist()
    images = [janus4o.images.open_image(path) for path in pictures]
    fitted = np.stack([fit_image(one, official_janus.geometry, "letterbox") for one in images])
    found = codebook.latents(official_janus.model.network, to_pixel_values(fitted))
    expected = torch.from_numpy(arrays["latents"])
    torch.testing.assert_close(found[:, :, ::2, ::2], expected, atol=1e-4, rtol=0)


def test_pictures_of_codes(golden: Path, official_janus: Janus) -> None:
    arrays = np.load(golden / "outputs/vq_decode.npz")
    codes = torch.from_numpy(arrays["token_ids"].astype(np.int64))
    drawn = np.stack([np.asarray(one) for one in official_janus.decode(codes)])
    expected = arrays["image_u8_strided"].astype(int)
    assert abs(drawn[:, ::4, ::4].astype(int) - expected).max() <= 1
    # The levels before they are cut off, in -1..1, from the stored crop.
    crop = np.moveaxis(drawn[:, 176:208, 176:208], 3, 1).astype(int)
    levels = ((arrays["pixels_crop"] + 1) / 2 * 255).clip(0, 255).astype(int)
    assert abs(crop - levels).max() <= 1


def test_a_question_gets_the_official_system_prompt(official_janus: Janus, golden: Path) -> None:
    assert official_janus.model.system_prompt == SYSTEM_PROMPT
    answer = official_janus.describe(golden / "images/0_square_256x256.png", "What?", longest=4)
    assert isinstance(answer, str)


LANGUAGE: dict[str, tuple[dict[str, Any], Callable[[Any], Any], Any]] = {
    "norms": ({"rms_norm_eps": 1e-3}, lambda n: n.layers[0].input_layernorm.variance_epsilon, 1e-3),
    "rotation": (
        {"rope_theta": 500.0},
        lambda n: float(n.rotary_emb.inv_freq[1]),
        pytest.approx(500.0 ** (-1 / 8)),
    ),
    "longer": (
        {"rope_scaling": {"type": "linear", "factor": 4.0}},
        lambda n: float(n.rotary_emb.inv_freq[0]),
        pytest.approx(0.25),
    ),
    "positions": (
        {"max_position_embeddings": 999},
        lambda n: n.config.max_position_embeddings,
        999,
    ),
    "heads": (
        {"num_attention_heads": 8, "num_key_value_heads": 8},
        lambda n: n.layers[0].self_attn.head_dim,
        8,
    ),
    "activation": ({"hidden_act": "gelu"}, lambda n: n.config.hidden_act, "gelu"),
}


@pytest.mark.parametrize("case", LANGUAGE)
def test_language_config_is_honoured(case: str, copied: Path) -> None:
    given, look, expected = LANGUAGE[case]
    model = load_model(change(copied, lambda c: c["language_config"].update(given)))
    assert look(model.network.model.language_model) == expected


def test_a_config_as_transformers_4_stores_it(copied: Path, official_janus: Janus) -> None:
    """Janus-4o's was saved with every default of a config spelled out."""
    defaults = {
        "_attn_implementation_autoset": True,
        "_name_or_path": "somewhere",
        "add_cross_attention": False,
        "architectures": None,
        "bad_words_ids": None,
        "chunk_size_feed_forward": 0,
        "cross_attention_hidden_size": None,
        "exponential_decay_length_penalty": None,
        "finetuning_task": None,
        "head_dim": 16,
        "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
        "is_decoder": False,
        "label2id": {"LABEL_0": 0, "LABEL_1": 1},
        "max_length": 20,
        "num_beams": 1,
        "output_scores": False,
        "pad_token_id": 402,
        "prefix": None,
        "pretraining_tp": 1,
        "problem_type": None,
        "pruned_heads": {},
        "rope_scaling": None,
        "task_specific_params": None,
        "tf_legacy_loss": False,
        "top_k": 50,
        "torchscript": False,
        "typical_p": 1.0,
        "use_bfloat16": False,
        "use_cache": True,
    }
    change(copied, lambda c: c["language_config"].update(defaults))
    change(copied, lambda c: c.update(defaults))
    ours = load_model(copied).network.config.text_config
    assert ours.pad_token_id is None
    assert ours.to_dict() == official_janus.model.network.config.text_config.to_dict()


def test_fewer_keys_than_heads(copied: Path) -> None:
    """Grouped queries, and a head width that is not hidden / heads."""
    given = {"num_key_value_heads": 2, "head_dim": 8}
    change(copied, lambda c: c["language_config"].update(given))

    def shrink(state: dict[str, torch.Tensor]) -> None:
        for layer in range(2):
            stem = f"language_model.model.layers.{layer}.self_attn."
            for name, rows in (("q", 32), ("k", 16), ("v", 16)):
                key = f"{stem}{name}_proj.weight"
                state[key] = state[key][:rows].clone()
            state[f"{stem}o_proj.weight"] = state[f"{stem}o_proj.weight"][:, :32].clone()

    network = load_model(rewrite(copied, shrink)).network
    assert network.model.language_model.layers[0].self_attn.k_proj.weight.shape == (16, 64)
    assert network.config.text_config.num_key_value_heads == 2


def test_the_real_sizes_are_those_of_a_config_that_names_none() -> None:
    """What Janus-Pro-7B's config.json leaves out is Llama's and the official code's default."""
    data = {
        "model_type": "multi_modality",
        "language_config": {
            "max_position_embeddings": 16384,
            "model_type": "llama",
            "num_hidden_layers": 30,
            "torch_dtype": "bfloat16",
            "vocab_size": 102400,
        },
        "vision_config": {
            "cls": "CLIPVisionTower",
            "params": {"image_size": 384, "model_name": "siglip_large_patch16_384", "select_layer": -1},
        },
        "aligner_config": {
            "cls": "MlpProjector",
            "params": {"depth": 2, "input_dim": 1024, "n_embed": 4096, "projector_type": "mlp_gelu"},
        },
        "gen_vision_config": {"cls": "VQ-16", "params": {"image_token_size": 16384, "n_embed": 8}},
        "gen_aligner_config": {
            "cls": "MlpProjector",
            "params": {"depth": 2, "input_dim": 8, "n_embed": 4096, "projector_type": "mlp_gelu"},
        },
        "gen_head_config": {
            "cls": "vision_head",
            "params": {"image_token_embed": 4096, "image_token_size": 16384, "n_embed": 4096},
        },
    }  # fmt: skip
    config = official.read_config(data, "7B")
    network = skeleton(config)
    weights = {name: tensor.numel() for name, tensor in network.named_parameters()}
    language = sum(n for name, n in weights.items() if "language_model.layers" in name)
    tower = sum(n for name, n in weights.items() if "vision_model" in name)
    tokenizer = sum(n for name, n in weights.items() if "vqmodel" in name)
    assert round(language / 1e6) == 6072  # the paper's 30 layers of 4096
    assert round(tower / 1e6, 1) == 303.7
    assert round(tokenizer / 1e6, 1) == 71.9
    again = official.write_config(config, torch.bfloat16)
    assert again["vision_config"]["params"].keys() == {
        "image_size",
        "model_name",
        "select_feature",
        "select_layer",
    }


def test_an_output_layer_left_out_is_the_embeddings_only_where_the_config_says(
    copied: Path,
) -> None:
    rewrite(copied, lambda state: state.pop("language_model.lm_head.weight"))
    with pytest.raises(CheckpointError, match=r"missing weight language_model\.lm_head"):
        load_model(copied)
    change(copied, lambda c: c["language_config"].update(tie_word_embeddings=True))
    network = load_model(copied).network
    ours, theirs = network.lm_head.weight, network.model.language_model.embed_tokens.weight
    assert torch.equal(ours, theirs)
    assert ours.data_ptr() != theirs.data_ptr()


def test_a_tower_that_ends_earlier(copied: Path) -> None:
    change(copied, lambda c: c["vision_config"]["params"].update(select_layer=-2))
    last = "vision_model.vision_tower.blocks.2."

    def cut(state: dict[str, torch.Tensor]) -> None:
        for name in [name for name in state if name.startswith(last)]:
            del state[name]

    assert len(load_model(rewrite(copied, cut)).network.model.vision_model.encoder.layers) == 2


WRONG = {
    "JanusFlow": (lambda c: c.pop("gen_vision_config"), "no gen_vision_config"),
    "another tower": (lambda c: c["vision_config"].update(cls="HybridTower"), "HybridTower"),
    "another projector": (
        lambda c: c["aligner_config"]["params"].update(projector_type="linear"),
        "'linear'",
    ),
    "another language model": (
        lambda c: c["language_config"].update(model_type="qwen2"),
        "not that of a Llama",
    ),
    "a width that contradicts": (
        lambda c: c["gen_head_config"]["params"].update(n_embed=63),
        "gen_head_config.n_embed is 63",
    ),
    "a size left out": (
        lambda c: c["gen_vision_config"]["params"].pop("n_embed"),
        "lacks 'n_embed'",
    ),
    "a language model that cannot be": (
        lambda c: c["language_config"].update(num_attention_heads=5),
        "language_config does not fit",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_config_that_is_not_janus_pro_is_refused(case: str, copied: Path) -> None:
    edit, message = WRONG[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(change(copied, edit))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("key", "value"), [("image_mean", [0.48, 0.45, 0.4]), ("rescale_factor", 1.0)]
)
def test_other_levels_than_ours_are_refused(key: str, value: Any, copied: Path) -> None:
    change(copied, lambda c: c.update({key: value}), "preprocessor_config.json")
    with pytest.raises(CheckpointError, match=key):
        load_model(copied)


def test_bars_and_least_side_come_from_the_preprocessor(copied: Path) -> None:
    given = {"background_color": [1, 2, 3], "min_size": 20}
    change(copied, lambda c: c.update(given), "preprocessor_config.json")
    geometry = load_model(copied).geometry
    assert (geometry.background, geometry.minimum_side) == ((1, 2, 3), 20)


def test_the_sign_of_a_picture_comes_from_the_processor(copied: Path) -> None:
    change(copied, lambda c: c.update(image_tag="<patch_placeholder>"), "processor_config.json")
    assert load_model(copied).geometry.image == 405
    change(copied, lambda c: c.update(image_tag="<nothing>"), "processor_config.json")
    with pytest.raises(CheckpointError, match="lacks the special token <nothing>"):
        load_model(copied)
