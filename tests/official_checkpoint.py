"""The golden set's checkpoint, rebuilt: the official code's tiny model with weights of a fill rule.

`golden/janus` holds what the official Janus package and the Janus-4o scripts made of it (float32,
CPU, greedy), so that no weights need to be stored.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

GOLDEN = Path(__file__).parent / "golden" / "janus"
SEED = "janus-golden-public-6"


def _generator(name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{SEED}:{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:8], "big")))


def _fill(name: str, shape: list[int]) -> NDArray[np.float32]:
    if name.endswith("codebook_used"):
        return np.zeros(shape, np.float32)
    z = _generator(name).standard_normal(shape, dtype=np.float32)
    if name == "gen_vision_model.quantize.embedding.weight":
        squares = np.zeros(shape[0])
        for column in range(shape[1]):
            squares += z[:, column].astype(np.float64) ** 2
        length = 0.5 + _generator(f"{name}#norm").random(shape[0])
        return (z / np.sqrt(squares)[:, None] * length[:, None]).astype(np.float32)
    if name in ("language_model.model.embed_tokens.weight", "gen_embed.weight"):
        return z
    if len(shape) == 1 and name.endswith(".weight"):
        return np.float32(1) + np.float32(0.1) * z
    if len(shape) == 1:
        return np.float32(0.02) * z
    if name.endswith(("pos_embed", "attn_pool.latent")):
        return np.float32(0.2) * z
    gain = 1
    if name == "gen_head.vision_head.weight":
        gain = 3
    elif name.endswith(
        ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "aligner.layers.2.weight")
    ):
        gain = 2
    return np.float32(gain / np.sqrt(np.prod(shape[1:]))) * z


def official_state() -> dict[str, torch.Tensor]:
    """Every tensor of the official state dict, float32."""
    shapes = json.loads((GOLDEN / "keys.json").read_text(encoding="utf-8"))
    return {name: torch.from_numpy(_fill(name, shape)) for name, shape in shapes.items()}


def write_official(folder: Path) -> Path:
    """Writes the checkpoint as the official code would: model_type multi_modality, safetensors."""
    shutil.copytree(GOLDEN / "checkpoint", folder)
    save_file(official_state(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder
