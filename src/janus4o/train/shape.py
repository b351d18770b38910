"""The sizes of a Janus as arithmetic needs them: parameters by part and multiplications by row.

Read from config.json alone, in either format: no weights, no torch. What `plan` and the benchmark count
comes from here; a test compares the parameters with those of real networks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus4o.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a Janus.

    Attributes:
        hidden, layers, mlp, heads, key_heads, vocabulary: language model.
        vision_hidden, vision_layers, vision_mlp: understanding tower.
        aligner_depth, code_depth: layers of what brings in features, and codes.
        image_size, patch: pixels.
        codebook, code_width: picture tokenizer; `channels`, `multipliers`, `blocks`, `latent` are
            its convolutions'.
        head: inner width of the image head.
    """

    hidden: int
    layers: int
    mlp: int
    heads: int
    key_heads: int
    vocabulary: int
    vision_hidden: int = 1024
    vision_layers: int = 24
    vision_mlp: int = 4096
    aligner_depth: int = 2
    code_depth: int = 2
    image_size: int = 384
    patch: int = 16
    codebook: int = 16384
    code_width: int = 8
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 2
    latent: int = 256
    head: int = 4096

    @property
    def tokens(self) -> int:
        """Codes, and understanding features, a picture."""
        return (self.image_size // self.patch) ** 2

    @property
    def layer_parameters(self) -> int:
        """Of one layer's matrices."""
        keys = self.hidden * self.key_heads // self.heads
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * keys
        return attention + 3 * self.hidden * self.mlp

    @property
    def parts(self) -> dict[str, int]:
        """Part → parameters; together they are all there are."""
        vision = self.vision_hidden
        layer = 4 * vision * vision + 2 * vision * self.vision_mlp
        layer += 4 * vision + self.vision_mlp + vision + 4 * vision  # biases, norms
        patches = 3 * self.patch**2 * vision + vision + self.tokens * vision
        step = self.hidden * self.hidden + self.hidden
        encoder, decoder = _parameters(self._encoder()), _parameters(self._decoder())
        joints = 2 * self.latent * self.code_width + self.latent + self.code_width
        return {
            "language": self.layers * (self.layer_parameters + 2 * self.hidden) + self.hidden,
            "text embeddings": self.vocabulary * self.hidden,
            "text head": self.vocabulary * self.hidden,
            "vision": self.vision_layers * layer + patches + 2 * vision,
            "aligner": vision * self.hidden + self.hidden + (self.aligner_depth - 1) * step,
            "code embeddings": self.codebook * self.code_width,
            "code aligner": self.code_width * self.hidden
            + self.hidden
            + (self.code_depth - 1) * step,
            "image head": self.hidden * self.head + self.head + (self.head + 1) * self.codebook,
            "tokenizer": encoder + decoder + joints + self.codebook * self.code_width,
        }

    @property
    def parameters(self) -> int:
        """All of them."""
        return sum(self.parts.values())

    @property
    def learnable(self) -> int:
        """What a full fine-tuning learns: all but the picture tokenizer and the text head."""
        return self.parameters - self.parts["tokenizer"] - self.parts["text head"]

    def forward(self, length: int, sources: int, attention: bool = True) -> dict[str, float]:
        """Part → FLOPs of one row's forward pass; two a multiplication with its addition.

        Args:
            length: positions of the row.
            sources: pictures it shows the model.
            attention: count the products of queries, keys and values, causal ones by half.
        """
        tokens = self.tokens
        language = 2.0 * self.layers * self.layer_parameters * length
        vision_layer = (4 * self.vision_hidden + 2 * self.vision_mlp) * self.vision_hidden
        vision = 2.0 * self.vision_layers * vision_layer * tokens * sources
        if attention:
            language += 2.0 * self.layers * self.hidden * length * length
            vision += 4.0 * self.vision_layers * self.vision_hidden * tokens**2 * sources
        parts = self.parts
        return {
            "language": language,
            "vision": vision,
            "aligner": 2.0 * parts["aligner"] * tokens * sources,
            "code aligner": 2.0 * parts["code aligner"] * tokens * (1 + sources),
            "image head": 2.0 * parts["image head"] * tokens,
        }

    @property
    def encoding(self) -> float:
        """FLOPs of turning one picture into codes."""
        convolutions = sum(
            2.0 * one.inner * one.outer * one.kernel**2 * (self.image_size // one.shrunk) ** 2
            for one in self._encoder()
        )
        search = 2.0 * self.tokens * self.codebook * self.code_width
        return convolutions + search

    def _encoder(self) -> Iterator[_Convolution]:
        channels, last = self.channels, len(self.multipliers) - 1
        yield _Convolution(3, channels, 3, 1, normed=False)
        inner = channels
        for level, times in enumerate(self.multipliers):
            outer = channels * times
            for _ in range(self.blocks):
                yield from _block(inner, outer, 2**level)
                inner = outer
                if level == last:
                    yield from _attention(inner, 2**level)
            if level != last:
                yield _Convolution(inner, inner, 3, 2 ** (level + 1), normed=False)
        yield from _middle(inner, 2**last)
        yield _Convolution(inner, self.latent, 3, 2**last)

    def _decoder(self) -> Iterator[_Convolution]:
        last = len(self.multipliers) - 1
        inner = self.channels * self.multipliers[-1]
        yield _Convolution(self.latent, inner, 3, 2**last, normed=False)
        yield from _middle(inner, 2**last)
        for level in reversed(range(last + 1)):
            outer = self.channels * self.multipliers[level]
            for _ in range(self.blocks + 1):
                yield from _block(inner, outer, 2**level)
                inner = outer
                if level == last:
                    yield from _attention(inner, 2**level)
            if level:
                yield _Convolution(inner, inner, 3, 2 ** (level - 1), normed=False)
        yield _Convolution(inner, 3, 3, 1)


@dataclass(frozen=True, slots=True)
class _Convolution:
    """One convolution; `normed` says that a norm of its inputs stands before it."""

    inner: int
    outer: int
    kernel: int
    shrunk: int
    normed: bool = True


def _block(inner: int, outer: int, shrunk: int) -> Iterator[_Convolution]:
    yield _Convolution(inner, outer, 3, shrunk)
    yield _Convolution(outer, outer, 3, shrunk)
    if inner != outer:
        yield _Convolution(inner, outer, 1, shrunk, normed=False)


def _attention(width: int, shrunk: int) -> Iterator[_Convolution]:
    for number in range(4):
        yield _Convolution(width, width, 1, shrunk, normed=number == 0)


def _middle(width: int, shrunk: int) -> Iterator[_Convolution]:
    yield from _block(width, width, shrunk)
    yield from _attention(width, shrunk)
    yield from _block(width, width, shrunk)


def _parameters(convolutions: Iterator[_Convolution]) -> int:
    return sum(
        one.inner * one.outer * one.kernel**2 + one.outer + 2 * one.inner * one.normed
        for one in convolutions
    )


JANUS_PRO_7B = Shape(4096, 30, 11008, 32, 32, 102400)
JANUS_PRO_1B = Shape(2048, 24, 5632, 16, 16, 102400, head=2048)

KNOWN = {
    "deepseek-ai/Janus-Pro-7B": JANUS_PRO_7B,
    "deepseek-community/Janus-Pro-7B": JANUS_PRO_7B,
    "FreedomIntelligence/Janus-4o-7B": JANUS_PRO_7B,
    "deepseek-ai/Janus-Pro-1B": JANUS_PRO_1B,
    "deepseek-community/Janus-Pro-1B": JANUS_PRO_1B,
}
"""Hub id → sizes, for a plan before anything is downloaded."""


def shape_of(folder: Path) -> Shape:
    """The sizes of the checkpoint in a folder.

    Raises:
        CheckpointError: it has no config.json of a Janus.
    """
    try:
        return read_shape(json.loads((folder / "config.json").read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder} has no config.json of a Janus that can be read",
            "give a folder of model_type janus or multi_modality, or a hub id",
        ) from error


def read_shape(config: Mapping[str, Any]) -> Shape:
    """The sizes a config.json tells, of either format; KeyError or TypeError where it does not."""
    return _official(config) if config["model_type"] == "multi_modality" else _own(config)


def _language(text: Mapping[str, Any]) -> dict[str, Any]:
    heads = text.get("num_attention_heads", 32)
    return {
        "hidden": text.get("hidden_size", 4096),
        "layers": text.get("num_hidden_layers", 30),
        "mlp": text.get("intermediate_size", 11008),
        "heads": heads,
        "key_heads": text.get("num_key_value_heads") or heads,
        "vocabulary": text.get("vocab_size", 102400),
    }


def _own(data: Mapping[str, Any]) -> Shape:
    text, vision, vq = data["text_config"], data["vision_config"], data["vq_config"]
    width = vision.get("hidden_size", 1024)
    return Shape(
        **_language(text),
        vision_hidden=width,
        vision_layers=vision.get("num_hidden_layers", 24),
        vision_mlp=int(width * vision.get("mlp_ratio", 4.0)),
        aligner_depth=vision.get("depth", 2),
        code_depth=vq.get("num_hidden_layers", 2),
        image_size=vision.get("image_size", 384),
        patch=vision.get("patch_size", 16),
        codebook=vq.get("num_embeddings", 16384),
        code_width=vq.get("embed_dim", 8),
        channels=vq.get("base_channels", 128),
        multipliers=tuple(vq.get("channel_multiplier", (1, 1, 2, 2, 4))),
        blocks=vq.get("num_res_blocks", 2),
        latent=vq.get("latent_channels", 256),
        head=vq.get("projection_dim", 2048),
    )


def _official(data: Mapping[str, Any]) -> Shape:
    vision, vq = data["vision_config"]["params"], data["gen_vision_config"]["params"]
    width = vision.get("width", 1024)
    return Shape(
        **_language(data["language_config"]),
        vision_hidden=width,
        vision_layers=vision.get("layers", 24),
        vision_mlp=int(width * vision.get("mlp_ratio", 4)),
        aligner_depth=data["aligner_config"]["params"].get("depth", 2),
        code_depth=data["gen_aligner_config"]["params"].get("depth", 2),
        image_size=vision.get("image_size", 384),
        patch=vision.get("patch_size", 16),
        codebook=vq.get("image_token_size", 16384),
        code_width=vq.get("n_embed", 8),
        channels=vq.get("ch", 128),
        multipliers=tuple(vq.get("ch_mult", (1, 1, 2, 2, 4))),
        blocks=vq.get("num_res_blocks", 2),
        latent=vq.get("z_channels", 256),
        head=data["gen_head_config"]["params"].get("image_token_embed", 2048),
    )
