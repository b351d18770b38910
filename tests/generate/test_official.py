"""Generation against the official code: logits of every branch, greedy codes, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import janus4o
from janus4o.generate import guidance
from janus4o.generate.api import Janus
from janus4o.generate.guidance import Guidance
from janus4o.generate.options import GenerateOptions
from janus4o.model import sequence
from janus4o.model.embed import embed_batch

Arrays = dict[str, NDArray[Any]]
SOURCE = "images/1_wide_400x225.png"


@pytest.fixture(scope="module")
def drawn(golden: Path) -> tuple[Arrays, dict[str, Any]]:
    return dict(np.load(golden / "outputs/t2i.npz")), read(golden / "outputs/t2i.json")


@pytest.fixture(scope="module")
def edited(golden: Path) -> tuple[Arrays, dict[str, Any]]:
    return dict(np.load(golden / "outputs/edit.npz")), read(golden / "outputs/edit.json")


def read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


@pytest.fixture(scope="module")
def packed_janus(official_folder: Path) -> Janus:
    """The same model as everybody gets it."""
    return janus4o.load(official_folder, "cpu", "float32")


@torch.no_grad()
def branch_logits(
    janus: Janus, layout: sequence.Sequence, codes: NDArray[Any], **given: torch.Tensor
) -> torch.Tensor:
    """One branch's logits at all 576 steps when it is fed the official codes, [T, codebook]."""
    network = janus.model.network
    target = torch.from_numpy(codes.astype(np.int64))[None]
    made = embed_batch(network, [layout], pad=janus.geometry.pad, target=target, **given)
    hidden = network.model.language_model(inputs_embeds=made.embeds, use_cache=False)
    start = layout.spans.target.start - 1
    logits: torch.Tensor = network.model.generation_head(
        hidden.last_hidden_state[0, start : start + janus.geometry.tokens]
    )
    return logits


def assert_equal_logits(logits_GTV: torch.Tensor, how: Guidance, arrays: Arrays, run: str) -> None:
    """Stored: branches and guided logits of three steps; best code and its lead of all steps."""
    expected = torch.from_numpy(arrays[f"{run}_branch_logits"])
    torch.testing.assert_close(logits_GTV[:, :3].transpose(0, 1), expected, atol=1e-4, rtol=0)
    guided_TV = how.combine(logits_GTV)
    expected = torch.from_numpy(arrays[f"{run}_guided_logits"])
    torch.testing.assert_close(guided_TV[:3], expected, atol=1e-3, rtol=0)
    best = guided_TV.topk(2, dim=-1)
    assert best.indices[:, 0].tolist() == arrays[f"{run}_tokens"].tolist()
    top, second = best.values.unbind(-1)
    expected = torch.from_numpy(arrays[f"{run}_top_logit"])
    torch.testing.assert_close(top, expected, atol=1e-3, rtol=0)
    expected = torch.from_numpy(arrays[f"{run}_margin"])
    torch.testing.assert_close(top - second, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("run", ["p0_s5", "p0_s2", "p1_s5", "p1_s2"])
def test_text_to_image_logits(
    run: str, official_janus: Janus, drawn: tuple[Arrays, dict[str, Any]]
) -> None:
    arrays, facts = drawn
    prompt = facts["prompts"][facts["runs"][run]["prompt_index"]]["prompt"]
    layout = sequence.text_to_image(prompt, official_janus.geometry, official_janus.model.tokenizer)
    null = sequence.hide_prompt(layout, official_janus.geometry)
    codes = arrays[f"{run}_tokens"]
    logits = torch.stack([branch_logits(official_janus, one, codes) for one in (layout, null)])
    how = guidance.for_text_to_image(facts["runs"][run]["cfg_weight"])
    assert_equal_logits(logits, how, arrays, run)


@pytest.mark.parametrize("run", ["e0_s5_w5", "e0_s3_w2", "e1_s5_w5", "e1_s3_w2"])
def test_edit_logits(
    run: str, official_janus: Janus, golden: Path, edited: tuple[Arrays, dict[str, Any]]
) -> None:
    arrays, facts = edited
    janus, how_run = official_janus, facts["runs"][run]
    text = facts["instructions"][how_run["instruction_index"]]["instruction"]
    layout = sequence.edit(text, janus.geometry, janus.model.tokenizer)
    semantic, source = janus.features([golden / SOURCE]), janus.encode([golden / SOURCE])
    codes = arrays[f"{run}_tokens"]
    logits = torch.stack(
        [
            branch_logits(janus, layout, codes, semantic=semantic, source=source),
            branch_logits(janus, sequence.hide_sources(layout), codes, semantic=semantic),
            branch_logits(janus, sequence.hide_prompt(layout, janus.geometry), codes),
        ]
    )
    how = guidance.for_edit(how_run["cfg_weight"], how_run["cfg_weight2"])
    assert_equal_logits(logits, how, arrays, run)


@pytest.mark.parametrize("index", [0, 1])
@torch.no_grad()
def test_words_after_a_prompt(
    index: int, official_janus: Janus, drawn: tuple[Arrays, dict[str, Any]]
) -> None:
    """The output layer is its own, not the embeddings."""
    arrays, facts = drawn
    prompt, network = facts["prompts"][index]["prompt"], official_janus.model.network
    layout = sequence.text_to_image(prompt, official_janus.geometry, official_janus.model.tokenizer)
    embeds = embed_batch(network, [layout], pad=official_janus.geometry.pad).embeds
    hidden = network.model.language_model(inputs_embeds=embeds, use_cache=False)
    logits = network.lm_head(hidden.last_hidden_state[0, -1])
    expected = torch.from_numpy(arrays[f"p{index}_lm_head_logits_last"])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def assert_equal_picture(picture: Any, expected_u8: NDArray[Any]) -> None:
    found = np.asarray(picture)[::8, ::8].astype(int)
    assert abs(found - expected_u8.astype(int)).max() <= 1, "one level is rounding, more is not"


@pytest.mark.parametrize("scale", [5, 2])
def test_text_to_image_codes_and_pictures(
    scale: int, packed_janus: Janus, drawn: tuple[Arrays, dict[str, Any]]
) -> None:
    """The engine, both prompts in one batch."""
    arrays, facts = drawn
    prompts = [one["prompt"] for one in facts["prompts"]]
    made = packed_janus.generate(prompts, guidance=scale, temperature=0.0)
    for index, one in enumerate(made):
        assert one.codes.tolist() == arrays[f"p{index}_s{scale}_tokens"].tolist()
        assert_equal_picture(one.image, arrays[f"p{index}_s{scale}_image_u8_strided"])


@pytest.mark.parametrize(("scale", "weight"), [(5, 5), (3, 2)])
def test_edit_codes_and_pictures(
    scale: int,
    weight: int,
    packed_janus: Janus,
    golden: Path,
    edited: tuple[Arrays, dict[str, Any]],
) -> None:
    arrays, facts = edited
    requests = [([golden / SOURCE], one["instruction"]) for one in facts["instructions"]]
    options = GenerateOptions(guidance=scale, semantic_weight=weight, temperature=0.0)
    made = packed_janus.edit_with(requests, options)
    for index, one in enumerate(made):
        assert one.codes.tolist() == arrays[f"e{index}_s{scale}_w{weight}_tokens"].tolist()
        assert_equal_picture(one.image, arrays[f"e{index}_s{scale}_w{weight}_image_u8_strided"])
