"""The language model as the engine runs it: its layers, one after another, over a flat list of tokens.

The arithmetic is that of transformers' `LlamaModel`, operation by operation; what differs is that
projections of one input are computed together, that weights may be packed, and that the caller says
what attends to what. Prefill, single steps and windows of several tokens are the same loop.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from janus4o.generate.projection import Projection, Weights, project
from janus4o.model.device import return_memory
from janus4o.model.embed import embed_codes
from janus4o.model.loading import JanusModel

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, queries [N, heads, W], keys and values [N, key heads, W]) → [N, heads * W]."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one layer; the norms are (weight, epsilon)."""

    norm: tuple[Tensor, float]
    qkv: Projection
    out: Projection
    mlp_norm: tuple[Tensor, float]
    gate_up: Projection
    down: Projection


class Decoder:
    """A model's language part, ready to run.

    Args:
        model: what it is made of.
        weights: how to hold its weights; unless "plain", `model` can from then on neither be trained
            nor saved, and what depends on nothing but its weights is kept between calls.

    Attributes:
        heads, key_heads, width: of attention.
        frozen: whether weights can no longer change.
    """

    def __init__(self, model: JanusModel, weights: Weights = "plain") -> None:
        self.model = model
        self.weights = weights
        network = model.network
        language: Any = network.model.language_model
        config = language.config
        self.heads: int = config.num_attention_heads
        self.key_heads: int = config.num_key_value_heads
        self.width: int = language.layers[0].self_attn.head_dim
        self._act = language.layers[0].mlp.act_fn
        self._rotary = language.rotary_emb
        self._turns: tuple[Tensor, Tensor] | None = None
        self._norm = _norm(language.norm)
        self.layers = [
            _layer(layer, weights) for layer in language.layers[: config.num_hidden_layers]
        ]
        head: Any = network.model.generation_head
        self._head_in, self._head_act = project([head.proj_out], weights), head.activation_fn
        self._head_out = project([head.vision_head], weights)
        # A copy: sources' codes are embedded by the network itself.
        aligner: Any = copy.deepcopy(network.model.generation_aligner) if self.frozen else None
        self._embed = None if aligner is None else _mlp(aligner, weights)
        self.word_logits = project([network.lm_head], weights)
        if self.frozen and model.dtype == torch.bfloat16:
            # Convolutions read this order a fifth faster, with equal bits when drawing. The encoder
            # stays: there it rounds differently, and a source's codes are not to depend on it.
            network.model.vqmodel.decoder.to(memory_format=torch.channels_last)

    @property
    def frozen(self) -> bool:
        return self.weights != "plain"

    def run(self, x_ND: Tensor, positions_N: Tensor, attend: Attend) -> Tensor:
        """Last hidden states, [N, D], of tokens embedded as `x_ND`."""
        count, head_rows = len(x_ND), self.heads + self.key_heads
        cos, sin = (turn[positions_N][:, None] for turn in self._turned(positions_N))
        for index, layer in enumerate(self.layers):
            projected = layer.qkv(_normalise(x_ND, layer.norm)).view(count, -1, self.width)
            queries_keys = projected[:, :head_rows]
            queries_keys = queries_keys * cos + queries_keys.roll(self.width // 2, -1) * sin
            queries, keys = queries_keys.split((self.heads, self.key_heads), dim=1)
            x_ND = x_ND + layer.out(attend(index, queries, keys, projected[:, head_rows:]))
            gate, up = layer.gate_up(_normalise(x_ND, layer.mlp_norm)).chunk(2, dim=-1)
            x_ND = x_ND + layer.down(self._act(gate) * up)
        return _normalise(x_ND, self._norm)

    def embed(self, codes_N: Tensor) -> Tensor:
        """What the language model sees of codes, [N, D]."""
        network = self.model.network
        if self._embed is None:
            return embed_codes(network, codes_N)
        return self._embed(network.model.generation_embeddings(codes_N))

    def code_logits(self, hidden_ND: Tensor) -> Tensor:
        """Logits of the next code, [N, codebook]."""
        return self._head_out(self._head_act(self._head_in(hidden_ND)))

    def _turned(self, positions_N: Tensor) -> tuple[Tensor, Tensor]:
        """Rotary cosines and signed sines of every position, [positions, W].

        Turning is x cos + (-second half, first half) sin; with the sign in the sine, the halves
        only change places.
        """
        place = self.model.network.model.language_model.embed_tokens.weight
        if self._turns is None or self._turns[0].device != place.device:
            every = torch.arange(self.model.geometry.positions, device=place.device)[None]
            cos, sin = self._rotary.to(place.device)(place, every)
            sign = torch.ones_like(sin[0, :1])
            sign[:, : self.width // 2] = -1
            self._turns = cos[0], sin[0] * sign
        return self._turns


def _layer(layer: Any, weights: Weights) -> Layer:
    """One layer; where its weights are packed, their former memory goes back at once."""
    ours = Layer(
        norm=_norm(layer.input_layernorm),
        qkv=project([getattr(layer.self_attn, f"{x}_proj") for x in "qkv"], weights),
        out=project([layer.self_attn.o_proj], weights),
        mlp_norm=_norm(layer.post_attention_layernorm),
        gate_up=project([layer.mlp.gate_proj, layer.mlp.up_proj], weights),
        down=project([layer.mlp.down_proj], weights),
    )
    if weights != "plain":
        return_memory()
    return ours


def _mlp(aligner: Any, weights: Weights) -> Projection:
    first, *others = (project([one], weights) for one in (aligner.fc1, *aligner.hidden_layers))

    def apply(x: Tensor) -> Tensor:
        x = first(x)
        for other in others:
            x = other(aligner.activation_fn(x))
        return x

    return apply


def _norm(module: Any) -> tuple[Tensor, float]:
    return module.weight, module.variance_epsilon


def _normalise(x: Tensor, norm: tuple[Tensor, float]) -> Tensor:
    weight, epsilon = norm
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * wide.to(x.dtype)
