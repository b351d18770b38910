"""The engine against the official code: the same weights give the same 576 codes.

The weights are random, made by a fill rule, so that none need to be stored; the expected codes are
outputs of the official Janus package and of the official Janus-4o editing script (float32, greedy).
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from janus4o.generate.api import Janus
from janus4o.model.codebook import normalise_codebook
from janus4o.model.geometry import read_geometry
from janus4o.model.loading import JanusModel
from janus4o.model.text import TextTokenizer

GOLDEN = Path(__file__).parent.parent / "golden" / "janus"
FACTS: dict[str, Any] = json.loads((GOLDEN / "official.json").read_text(encoding="utf-8"))

# From the official names to those of transformers, in order.
NAMES = (
    (r"^language_model\.lm_head", "lm_head"),
    (r"^language_model\.model\.", "model.language_model."),
    (r"^gen_embed", "model.generation_embeddings"),
    (r"^gen_head\.output_mlp_projector", "model.generation_head.proj_out"),
    (r"^gen_head", "model.generation_head"),
    (r"^gen_aligner", "model.generation_aligner"),
    (r"^aligner", "model.aligner"),
    (r"aligner\.layers\.0", "aligner.fc1"),
    (r"aligner\.layers\.2", "aligner.hidden_layers.0"),
    (r"^vision_model\.vision_tower\.blocks", "model.vision_model.encoder.layers"),
    (r"^vision_model\.vision_tower\.norm", "model.vision_model.post_layernorm"),
    (r"^vision_model\.vision_tower\.pos_embed", "model.vision_model.embeddings.position_embedding.weight"),
    (r"^vision_model\.vision_tower\.patch_embed\.proj", "model.vision_model.embeddings.patch_embedding"),
    (r"(encoder\.layers\.\d+)\.attn\.proj", r"\1.self_attn.projection_layer"),
    (r"(encoder\.layers\.\d+)\.norm", r"\1.layer_norm"),
    (r"^gen_vision_model", "model.vqmodel"),
    (r"encoder\.conv_blocks", "encoder.down"),
    (r"decoder\.conv_blocks", "decoder.up"),
    (r"\.res\.", ".block."),
    (r"\.mid\.0", ".mid.block_1"),
    (r"\.mid\.1", ".mid.attn_1"),
    (r"\.mid\.2", ".mid.block_2"),
)  # fmt: skip


def generator(name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{FACTS['weights_seed']}:{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:8], "big")))


def fill(name: str, shape: list[int]) -> NDArray[np.float32]:
    z = generator(name).standard_normal(shape, dtype=np.float32)
    if name == "gen_vision_model.quantize.embedding.weight":
        squares = np.zeros(shape[0])
        for column in range(shape[1]):
            squares += z[:, column].astype(np.float64) ** 2
        length = 0.5 + generator(f"{name}#norm").random(shape[0])
        return (z / np.sqrt(squares)[:, None] * length[:, None]).astype(np.float32)
    if name in ("language_model.model.embed_tokens.weight", "gen_embed.weight"):
        return z
    if len(shape) == 1 and name.endswith(".weight"):
        return np.float32(1) + np.float32(0.1) * z
    if len(shape) == 1:
        return np.float32(0.02) * z
    if name.endswith("pos_embed"):
        return np.float32(0.2) * z
    gain = 1
    if name == "gen_head.vision_head.weight":
        gain = 3
    elif name.endswith(
        ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "aligner.layers.2.weight")
    ):
        gain = 2
    return np.float32(gain / np.sqrt(np.prod(shape[1:]))) * z


def state() -> dict[str, Tensor]:
    made = {}
    for official, shape in FACTS["shapes"].items():
        tensor, name = torch.from_numpy(fill(official, shape)), official
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        if name.endswith("position_embedding.weight"):
            tensor = tensor.squeeze(0)
        if ".attn.qkv." in name:
            for letter, third in zip("qkv", tensor.chunk(3), strict=True):
                made[name.replace(".attn.qkv.", f".self_attn.{letter}_proj.")] = third
        else:
            made[name] = tensor
    return made


@pytest.fixture(scope="module")
def official() -> Janus:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(GOLDEN)
    config = JanusConfig(
        text_config=LlamaConfig(
            vocab_size=512,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=4096,
            rms_norm_eps=1e-6,
            tie_word_embeddings=False,
        ),
        vision_config=JanusVisionConfig(
            hidden_size=64, num_hidden_layers=3, num_attention_heads=4, projection_dim=64
        ),
        vq_config=JanusVQVAEConfig(
            num_embeddings=1024,
            latent_channels=64,
            base_channels=32,
            projection_dim=64,
            image_token_embed_dim=64,
        ),
        tie_word_embeddings=False,
    )
    network = JanusForConditionalGeneration(config)
    network.load_state_dict(state())
    network.train(False)
    normalise_codebook(network)
    geometry = read_geometry(config, tokenizer, "golden")
    return Janus(JanusModel(network, TextTokenizer(tokenizer), geometry, "letterbox", "golden"))


def test_source_codes(official: Janus) -> None:
    codes = official.encode([GOLDEN / "1_wide_400x225.png"])
    assert codes[0].tolist() == FACTS["source_codes"]


def test_text_to_image(official: Janus) -> None:
    prompt = FACTS["text_to_image"][0]["prompt"]
    made = official.generate(prompt, guidance=5.0, temperature=0.0)
    assert made[0].codes.tolist() == FACTS["p0_s5_tokens"]


def test_edit(official: Janus) -> None:
    instruction = FACTS["edit"][1]["instruction"]
    made = official.edit(GOLDEN / "1_wide_400x225.png", instruction, temperature=0.0)
    assert made[0].codes.tolist() == FACTS["e1_s5_w5_tokens"]
