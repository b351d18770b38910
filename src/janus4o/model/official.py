"""DeepSeek's own checkpoint format, `multi_modality`: its config and its tensor names, both ways.

transformers' names are the ones used everywhere else. A stored tensor may be several here (the
vision tower's fused q, k and v) or have another shape (its position embedding). Two things of the
format are dropped when reading, because no code ever uses them: the vision tower's attention pool
and the codebook's usage counts. Writing puts zeros there, so that the official classes find every
tensor they declare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import JanusConfig, JanusVisionConfig, JanusVQVAEConfig, LlamaConfig

from janus4o.errors import CheckpointError

MODEL_TYPE = "multi_modality"

DROPPED = re.compile(
    r"vision_model\.vision_tower\.attn_pool\.|gen_vision_model\.quantize\.codebook_used$"
    r"|.*rotary_emb\.inv_freq$"
)
"""Stored tensors that no computation uses (the last is made from the config)."""

# The official code fixes these sizes in its source: SigLIP-Large of 16-pixel patches, and VQ-16.
VISION_NAME = "siglip_large_patch16_384"
VISION_SIZES: dict[str, Any] = {
    "width": 1024, "layers": 24, "heads": 16, "mlp_ratio": 4, "patch_size": 16,
}  # fmt: skip
VQ_SIZES: dict[str, Any] = {
    "ch": 128, "ch_mult": [1, 1, 2, 2, 4], "num_res_blocks": 2, "z_channels": 256,
}  # fmt: skip
CODEBOOK_USED = 65536
"""Length of the usage counts, whatever the codebook's."""

SECTIONS = {
    "vision_config": "CLIPVisionTower",
    "aligner_config": "MlpProjector",
    "gen_vision_config": "VQ-16",
    "gen_aligner_config": "MlpProjector",
    "gen_head_config": "vision_head",
}
"""Parts of config.json with `params`, and the only class each may name."""

LANGUAGE_KEYS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings", "rms_norm_eps"),
    *("hidden_act", "attention_bias", "mlp_bias", "attention_dropout", "initializer_range"),
    *("bos_token_id", "eos_token_id"),
)
"""Of language_config, what makes up the network; its rotation stands beside them."""

# From transformers' names to the official ones, in order.
_NAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^lm_head\.", "language_model.lm_head."),
        (r"^model\.language_model\.", "language_model.model."),
        (r"^model\.generation_embeddings\.", "gen_embed."),
        (r"^model\.generation_head\.proj_out\.", "gen_head.output_mlp_projector."),
        (r"^model\.generation_head\.", "gen_head."),
        (r"^model\.generation_aligner\.", "gen_aligner."),
        (r"^model\.aligner\.", "aligner."),
        (r"aligner\.fc1\.", "aligner.layers.0."),
        (r"^model\.vision_model\.embeddings\.position_embedding\.weight", "vision_model.vision_tower.pos_embed"),
        (r"^model\.vision_model\.embeddings\.patch_embedding\.", "vision_model.vision_tower.patch_embed.proj."),
        (r"^model\.vision_model\.post_layernorm\.", "vision_model.vision_tower.norm."),
        (r"^model\.vision_model\.encoder\.layers\.", "vision_model.vision_tower.blocks."),
        (r"(vision_tower\.blocks\.\d+)\.layer_norm", r"\1.norm"),
        (r"(vision_tower\.blocks\.\d+)\.self_attn\.projection_layer\.", r"\1.attn.proj."),
        (r"(vision_tower\.blocks\.\d+)\.self_attn\.[qkv]_proj\.", r"\1.attn.qkv."),
        (r"^model\.vqmodel\.", "gen_vision_model."),
        (r"encoder\.down\.", "encoder.conv_blocks."),
        (r"decoder\.up\.", "decoder.conv_blocks."),
        (r"\.block\.", ".res."),
        (r"\.mid\.block_1\.", ".mid.0."),
        (r"\.mid\.attn_1\.", ".mid.1."),
        (r"\.mid\.block_2\.", ".mid.2."),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stored tensor belongs.

    Attributes:
        names: the tensors it is here; several stand below one another along its first dimension.
        shape: its stored shape; the tensors here have it, or a third of it, or lack its leading 1.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]

    def split(self, stored: Tensor, shapes: Mapping[str, torch.Size]) -> list[Tensor]:
        """The tensors of a stored one, each with a memory of its own, in the order of `names`."""
        if len(self.names) == 1:
            return [stored.view(shapes[self.names[0]])]
        parts = stored.split([shapes[name][0] for name in self.names])
        return [part.clone(memory_format=torch.contiguous_format) for part in parts]

    def join(self, state: Mapping[str, Tensor]) -> Tensor:
        """The stored tensor of the tensors here."""
        parts = [state[name] for name in self.names]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return whole.view(self.shape)


def places(shapes: Mapping[str, torch.Size]) -> dict[str, Place]:
    """Every tensor the official format stores of a network with tensors of these shapes."""
    grouped: dict[str, list[str]] = {}
    for name in shapes:
        grouped.setdefault(_official_name(name), []).append(name)
    found = {}
    for stored, names in grouped.items():
        names = sorted(names, key=_order)
        first = tuple(shapes[names[0]])
        rows = sum(shapes[name][0] for name in names)
        shape = (1, *first) if stored.endswith("pos_embed") else (rows, *first[1:])
        found[stored] = Place(tuple(names), shape)
    return found


def unused(config: JanusConfig) -> dict[str, tuple[int, ...]]:
    """The tensors the official classes declare and never use, with their shapes."""
    vision: Any = config.vision_config
    width, mlp = vision.hidden_size, int(vision.hidden_size * vision.mlp_ratio)
    pool = {
        "latent": (1, 1, width),
        "q.weight": (width, width),
        "q.bias": (width,),
        "kv.weight": (2 * width, width),
        "kv.bias": (2 * width,),
        "proj.weight": (width, width),
        "proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "mlp.fc1.weight": (mlp, width),
        "mlp.fc1.bias": (mlp,),
        "mlp.fc2.weight": (width, mlp),
        "mlp.fc2.bias": (width,),
    }
    named: dict[str, tuple[int, ...]] = {
        f"vision_model.vision_tower.attn_pool.{name}": shape for name, shape in pool.items()
    }
    return {**named, "gen_vision_model.quantize.codebook_used": (CODEBOOK_USED,)}


def read_config(data: dict[str, Any], where: str) -> JanusConfig:
    """transformers' config of an official one.

    Args:
        data: config.json.
        where: what to call the checkpoint in an error.

    Raises:
        CheckpointError: a part is missing, of a class that is not Janus-Pro's, or contradicts
            another.
    """
    params = {section: _params(data, section, cls, where) for section, cls in SECTIONS.items()}
    vision, aligner, vq, vq_aligner, head = params.values()
    text = _language(data, where)
    vision_sizes, vq_sizes = {**VISION_SIZES, **vision}, {**VQ_SIZES, **vq}
    for name in ("aligner_config", "gen_aligner_config"):
        kind = params[name].get("projector_type")
        if kind != "mlp_gelu":
            raise _unsuitable(where, f"{name} has projector_type {kind!r}", "mlp_gelu")
    if vision.get("pixel_mean") is not None and vision.get("pixel_std") is not None:
        raise _unsuitable(where, "vision_config normalises pixels itself", "no pixel_mean")
    hidden = text.hidden_size
    try:
        agree = (
            ("aligner_config.input_dim", aligner["input_dim"], vision_sizes["width"]),
            ("aligner_config.n_embed", aligner["n_embed"], hidden),
            ("gen_aligner_config.input_dim", vq_aligner["input_dim"], vq["n_embed"]),
            ("gen_aligner_config.n_embed", vq_aligner["n_embed"], hidden),
            ("gen_head_config.n_embed", head["n_embed"], hidden),
            ("gen_head_config.image_token_embed", head["image_token_embed"], hidden),
            ("gen_head_config.image_token_size", head["image_token_size"], vq["image_token_size"]),
        )
        for name, found, expected in agree:
            if found != expected:
                raise _unsuitable(where, f"{name} is {found!r}", str(expected))
        return JanusConfig(
            text_config=text,
            vision_config=JanusVisionConfig(
                hidden_size=vision_sizes["width"],
                num_hidden_layers=_vision_layers(vision_sizes),
                num_attention_heads=vision_sizes["heads"],
                mlp_ratio=vision_sizes["mlp_ratio"],
                image_size=vision.get("image_size", 336),
                patch_size=vision_sizes["patch_size"],
                num_image_tokens=(vision.get("image_size", 336) // vision_sizes["patch_size"]) ** 2,
                projection_dim=hidden,
                depth=aligner.get("depth", 1),
            ),
            vq_config=JanusVQVAEConfig(
                embed_dim=vq["n_embed"],
                num_embeddings=vq["image_token_size"],
                latent_channels=vq_sizes["z_channels"],
                base_channels=vq_sizes["ch"],
                channel_multiplier=list(vq_sizes["ch_mult"]),
                num_res_blocks=vq_sizes["num_res_blocks"],
                projection_dim=hidden,
                image_token_embed_dim=hidden,
                num_hidden_layers=vq_aligner.get("depth", 1),
            ),
            tie_word_embeddings=False,
        )
    except KeyError as error:
        raise CheckpointError(
            f"{where}: config.json lacks {error.args[0]!r}", "copy it again"
        ) from None


def write_config(config: JanusConfig, dtype: torch.dtype) -> dict[str, Any]:
    """The official config.json of a network; sizes that are not the real ones are named in it."""
    text: Any = config.text_config
    vision: Any = config.vision_config
    vq: Any = config.vq_config
    kind = str(dtype).removeprefix("torch.")
    sizes = {
        "width": vision.hidden_size,
        "layers": vision.num_hidden_layers,
        "heads": vision.num_attention_heads,
        "mlp_ratio": vision.mlp_ratio,
        "patch_size": vision.patch_size,
    }
    vq_sizes = {
        "ch": vq.base_channels,
        "ch_mult": list(vq.channel_multiplier),
        "num_res_blocks": vq.num_res_blocks,
        "z_channels": vq.latent_channels,
    }
    rope = dict(text.rope_parameters)
    language = {name: getattr(text, name) for name in LANGUAGE_KEYS}
    language["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        language["rope_scaling"] = rope

    def section(name: str, params: dict[str, Any]) -> dict[str, Any]:
        kind = name.removesuffix("_config")
        return {"cls": SECTIONS[name], "model_type": kind, "params": params}

    return {
        "architectures": ["MultiModalityCausalLM"],
        "model_type": MODEL_TYPE,
        "torch_dtype": kind,
        "language_config": {
            "model_type": "llama",
            "torch_dtype": kind,
            "tie_word_embeddings": False,
            **language,
        },
        "vision_config": section(
            "vision_config",
            {
                "image_size": vision.image_size,
                "model_name": VISION_NAME,
                "select_feature": "same",
                "select_layer": -1,
                **({} if sizes == VISION_SIZES else sizes),
            },
        ),
        "aligner_config": section(
            "aligner_config", _projector(vision.depth, vision.hidden_size, text.hidden_size)
        ),
        "gen_vision_config": section(
            "gen_vision_config",
            {
                "image_token_size": vq.num_embeddings,
                "n_embed": vq.embed_dim,
                **({} if vq_sizes == VQ_SIZES else vq_sizes),
            },
        ),
        "gen_aligner_config": section(
            "gen_aligner_config",
            _projector(vq.num_hidden_layers, vq.embed_dim, vq.projection_dim),
        ),
        "gen_head_config": section(
            "gen_head_config",
            {
                "image_token_embed": vq.projection_dim,
                "image_token_size": vq.num_embeddings,
                "n_embed": vq.image_token_embed_dim,
            },
        ),
    }


def _official_name(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = pattern.sub(replacement, name)
    # The projector is a sequence of layers with an activation before every further one.
    return re.sub(
        r"aligner\.hidden_layers\.(\d+)\.",
        lambda match: f"aligner.layers.{2 * int(match[1]) + 2}.",
        name,
    )


def _order(name: str) -> int:
    found = re.search(r"\.([qkv])_proj\.", name)
    return "qkv".index(found[1]) if found else 0


def _params(data: dict[str, Any], section: str, cls: str, where: str) -> dict[str, Any]:
    found = data.get(section)
    if not isinstance(found, dict) or not isinstance(found.get("params"), dict):
        raise _unsuitable(where, f"config.json has no {section}", "Janus or Janus-Pro")
    if found.get("cls") != cls:
        raise _unsuitable(where, f"{section} names the class {found.get('cls')!r}", cls)
    params: dict[str, Any] = found["params"]
    return params


def _language(data: dict[str, Any], where: str) -> LlamaConfig:
    given = data.get("language_config")
    if not isinstance(given, dict) or given.get("model_type", "llama") != "llama":
        raise _unsuitable(where, "language_config is not that of a Llama", "model_type llama")
    # transformers 4 stored everything a config can say, sampling included. What makes up the network
    # is taken; no pad_token_id, because the pad row is an ordinary, trained embedding.
    wanted = (*LANGUAGE_KEYS, "rope_theta", "rope_scaling", "rope_parameters")
    kept = {key: given[key] for key in wanted if given.get(key) is not None}
    try:
        return LlamaConfig(**kept, tie_word_embeddings=False)
    except Exception as error:  # strict dataclasses raise their own kinds
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{where}: language_config does not fit: {reason}", "copy config.json again"
        ) from error


def _vision_layers(sizes: Mapping[str, Any]) -> int:
    """The tower ends at `select_layer`, counted from the end where it is not positive."""
    layers, chosen = int(sizes["layers"]), int(sizes.get("select_layer", -2))
    return min(layers, layers + chosen + 1) if chosen <= 0 else min(layers, chosen)


def _projector(depth: int, width: int, hidden: int) -> dict[str, Any]:
    return {
        "depth": depth,
        "input_dim": width,
        "n_embed": hidden,
        "projector_type": "mlp_gelu",
    }


def _unsuitable(where: str, found: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"{where}: {found} (expected {expected})", "give a Janus or Janus-Pro checkpoint"
    )
