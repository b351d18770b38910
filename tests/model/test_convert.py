"""There and back: the same bits, whole folders, names the official classes have."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from janus4o.cli.app import main
from janus4o.errors import CheckpointError
from janus4o.model import official
from janus4o.model.convert import convert
from janus4o.model.loading import JanusModel, load_model, save_model


def assert_same(one: Path, other: Path, dropped: bool = False) -> None:
    ours, theirs = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    if dropped:
        ours = {name: t for name, t in ours.items() if not official.DROPPED.match(name)}
        theirs = {name: t for name, t in theirs.items() if not official.DROPPED.match(name)}
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert theirs[name].dtype == tensor.dtype
        assert torch.equal(theirs[name], tensor), name


def test_official_there_and_back(official_folder: Path, golden: Path, tmp_path: Path) -> None:
    convert(official_folder, tmp_path / "there", "transformers")
    convert(tmp_path / "there", tmp_path / "back", "official")
    assert_same(official_folder, tmp_path / "back", dropped=True)
    for file in ("tokenizer_config.json", "special_tokens_map.json", "processor_config.json"):
        theirs = json.loads((golden / "checkpoint" / file).read_text(encoding="utf-8"))
        ours = json.loads((tmp_path / "back" / file).read_text(encoding="utf-8"))
        known = {"tokenizer_class", "use_default_system_prompt", "unk_token"}  # Fast; ours; null
        assert ours.keys() - known == theirs.keys() - known
        assert {k: v for k, v in ours.items() if k not in known} == {
            k: v for k, v in theirs.items() if k not in known
        }
    names = json.loads((golden / "keys.json").read_text(encoding="utf-8"))
    stored = load_file(tmp_path / "back" / "model.safetensors")
    assert {name: list(tensor.shape) for name, tensor in stored.items()} == names
    one, two, three = (
        load_model(folder) for folder in (official_folder, tmp_path / "there", tmp_path / "back")
    )
    assert one.geometry == two.geometry == three.geometry
    assert one.system_prompt == two.system_prompt == three.system_prompt
    text = "A fox, (red) & 2 dogs — ünïcode 狐"
    assert one.tokenizer.encode(text) == two.tokenizer.encode(text) == three.tokenizer.encode(text)
    for part in ("text_config", "vision_config", "vq_config"):
        configs = [getattr(m.network.config, part).to_dict() for m in (one, two, three)]
        assert configs[0] == configs[1] == configs[2]
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(two.network.state_dict()[name], tensor)
        assert torch.equal(three.network.state_dict()[name], tensor)


def test_transformers_there_and_back(model: JanusModel, tmp_path: Path) -> None:
    """Our own model, whose sizes and tokenizer are not Janus-Pro's."""
    save_model(model, tmp_path / "start", torch.float16)
    convert(tmp_path / "start", tmp_path / "there", "official")
    convert(tmp_path / "there", tmp_path / "back", "transformers")
    assert_same(tmp_path / "start", tmp_path / "back")
    there = load_model(tmp_path / "there")
    assert (there.fit, there.system_prompt, there.geometry) == (model.fit, "", model.geometry)
    direct = tmp_path / "direct"
    save_model(model, direct, torch.float16, format="official")
    assert_same(direct, tmp_path / "there")


def test_what_transformers_itself_reads(official_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, GenerationConfig, JanusForConditionalGeneration

    convert(official_folder, tmp_path / "there", "transformers")
    network, report = JanusForConditionalGeneration.from_pretrained(
        tmp_path / "there", output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ours = load_model(official_folder).network
    assert torch.equal(network.lm_head.weight, ours.lm_head.weight)
    assert not torch.equal(network.lm_head.weight, ours.model.language_model.embed_tokens.weight)
    generation = GenerationConfig.from_pretrained(tmp_path / "there")
    assert generation.generation_kwargs["boi_token_id"] == 403
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "there")
    assert tokenizer("<|User|>: a fox")["input_ids"][:2] == [400, 409]


def test_another_dtype(official_folder: Path, tmp_path: Path) -> None:
    line = ["convert", str(official_folder), str(tmp_path / "half"), "--format", "official"]
    assert main([*line, "--dtype", "bfloat16"]) == 0
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    config = json.loads((tmp_path / "half" / "config.json").read_text(encoding="utf-8"))
    assert config["torch_dtype"] == "bfloat16"
    assert load_model(tmp_path / "half", None).dtype == torch.bfloat16
    assert load_model(tmp_path / "half").dtype == torch.float32


def test_what_cannot_be_converted_leaves_nothing_behind(
    official_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").touch()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        convert(official_folder, tmp_path / "notes", "transformers")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    assert main(["convert", str(broken), str(tmp_path / "out"), "--format", "official"]) == 3
    assert "'llama'" in capsys.readouterr().err
    same = ["convert", str(broken), str(broken), "--format", "official"]
    assert main(same) == 2
    assert sorted(os.listdir(tmp_path)) == ["broken", "notes"]
