"""The language model as the engine runs it: its layers, one after another, over a flat list of tokens.

The arithmetic is that of transformers' `LlamaModel`; what differs is that projections of one input are
computed together, that weights may be packed, that norms and turned queries and keys are rounded once
and not several times, and that the caller says what attends to what. Prefill, single steps and windows of
several tokens are the same loop.

Each operation between the large products costs more than its arithmetic: it runs after tens of
megabytes of weights went through the caches. So there are few of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from janus4o.generate import compiled
from janus4o.generate.cache import Memory
from janus4o.generate.compact import MOST
from janus4o.generate.projection import Compacted, Projection, Weights, project
from janus4o.model.device import return_memory
from janus4o.model.embed import embed_codes
from janus4o.model.loading import JanusModel

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, queries [N, heads, W] scaled by W^-1/2, keys and values [N, key heads, W]) → [N, heads * W].
Queries and keys are float32, values and the result have the model's dtype."""

COMPACT = 7
"""Linear layers of a layer."""


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
        self._tables: tuple[Tensor, Tensor, Tensor] | None = None
        self._norm = _norm(language.norm)
        self.layers = [
            _layer(layer, weights) for layer in language.layers[: config.num_hidden_layers]
        ]
        self._steps = _steps(self.layers, language)
        head: Any = network.model.generation_head
        self._head_in, self._head_act = project([head.proj_out], weights), head.activation_fn
        self._head_out = project([head.vision_head], weights)
        # A copy: sources' codes are embedded by the network itself.
        aligner: Any = copy.deepcopy(network.model.generation_aligner) if self.frozen else None
        self._embed = None if aligner is None else _mlp(aligner, weights)
        self.word_logits = project([network.lm_head], weights)

    @property
    def frozen(self) -> bool:
        return self.weights != "plain"

    def run(self, x_ND: Tensor, positions_N: Tensor, attend: Attend) -> Tensor:
        """Last hidden states, [N, D], of tokens embedded as `x_ND`."""
        count, turning = len(x_ND), self.heads + self.key_heads
        cos, sin = self._turns(positions_N)
        for index, layer in enumerate(self.layers):
            projected = layer.qkv(_normalise(x_ND, layer.norm)).view(count, -1, self.width)
            still, values = projected.split((turning, self.key_heads), dim=1)
            still = still.float()
            turned = torch.addcmul(still * cos, still.roll(self.width // 2, -1), sin)
            queries, keys = turned.split((self.heads, self.key_heads), dim=1)
            x_ND = x_ND + layer.out(attend(index, queries, keys, values))
            gate, up = layer.gate_up(_normalise(x_ND, layer.mlp_norm)).chunk(2, dim=-1)
            x_ND = x_ND + layer.down(self._act(gate) * up)
        return _normalise(x_ND, self._norm)

    def follow(self, x_ND: Tensor, memory: Memory) -> Tensor:
        """Last hidden states of equally many next tokens of every row of `memory`, row-major."""
        if self._steps is not None and len(x_ND) == memory.rows <= MOST:
            cos, sin, _ = self._table(x_ND.device)
            positions = memory.positions()
            return self._steps.step(x_ND, cos[positions], sin[positions], memory)
        return self.run(x_ND, memory.positions(len(x_ND) // memory.rows), memory.attend)

    def embed(self, codes_N: Tensor) -> Tensor:
        """What the language model sees of codes, [N, D]."""
        network = self.model.network
        if self._embed is None:
            return embed_codes(network, codes_N)
        return self._embed(network.model.generation_embeddings(codes_N))

    def code_logits(self, hidden_ND: Tensor) -> Tensor:
        """Logits of the next code, [N, codebook]."""
        return self._head_out(self._head_act(self._head_in(hidden_ND)))

    def _turns(self, positions_N: Tensor) -> tuple[Tensor, Tensor]:
        """Rotary cosines and signed sines, float32 [N, heads + key heads, W]; those of queries scaled.

        Turning is x cos + (-second half, first half) sin; with the sign in the sine, the halves
        only change places.
        """
        cos, sin, scales = self._table(positions_N.device)
        return cos[positions_N][:, None] * scales, sin[positions_N][:, None] * scales

    def _table(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Of every position: cosines and signed sines [positions, W]; scales of heads and key heads."""
        if self._tables is None or self._tables[0].device != device:
            every = torch.arange(self.model.geometry.positions, device=device)[None]
            wide = torch.empty(0, device=device, dtype=torch.float32)
            cos, sin = self._rotary.to(device)(wide, every)
            sin[..., : self.width // 2].neg_()
            scales = torch.ones(self.heads + self.key_heads, 1, device=device)
            scales[: self.heads] = self.width**-0.5
            self._tables = cos[0], sin[0], scales
        return self._tables


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


def _steps(layers: Sequence[Layer], language: Any) -> compiled.Layers | None:
    """All layers in one; None where they are not all compact, or of another kind."""
    found = []
    for layer in layers:
        held = (layer.qkv, layer.out, layer.gate_up, layer.down)
        parts = [part for one in held if isinstance(one, Compacted) for part in one.parts]
        if len(parts) == COMPACT:
            found.append(compiled.Weights(layer.norm[0], layer.mlp_norm[0], tuple(parts)))
    if len(found) < len(layers) or not compiled.fits(language):
        return None
    return compiled.Layers(found, language.norm.weight, language.config)


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
    return F.rms_norm(x, weight.shape, weight, epsilon)
