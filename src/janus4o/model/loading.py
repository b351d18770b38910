"""A network with everything needed to feed it: read from a checkpoint, written to one, or new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from janus4o.errors import UsageError
from janus4o.model.codebook import normalise_codebook
from janus4o.model.geometry import IMAGE, Geometry, read_geometry
from janus4o.model.hub import find_checkpoint
from janus4o.model.preprocess import Fit
from janus4o.model.stored import (
    MODEL_CARD_GUIDANCE,
    PICTURE_TOKENIZER,
    Format,
    Stored,
    name_dtype,
    open_checkpoint,
    read_state,
    skeleton,
    write_checkpoint,
)
from janus4o.model.text import TextTokenizer, word_tokenizer

UNPACKED = "load it with weights='plain' to train it, save it or use its network"


@dataclass(frozen=True, slots=True)
class JanusModel:
    """A network with everything needed to feed it.

    Attributes:
        network: the weights; codebook rows are unit vectors.
        tokenizer: its text tokenizer.
        geometry: its sizes and special ids.
        fit: how pictures are made square.
        name: what to call it: "sketch-base" or the folder or hub id it came from.
        guidance, semantic_weight: s and s2 to use where the caller names none. A tiny model wants
            less of both than Janus-4o.
        system_prompt: what stands before a question about a picture.
    """

    network: JanusForConditionalGeneration
    tokenizer: TextTokenizer
    geometry: Geometry
    fit: Fit
    name: str
    guidance: float = MODEL_CARD_GUIDANCE
    semantic_weight: float = MODEL_CARD_GUIDANCE
    system_prompt: str = ""

    @property
    def device(self) -> torch.device:
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        return self.network.dtype


@dataclass(frozen=True, slots=True)
class TinyConfig:
    """Sizes of the offline world's Janus.

    Attributes:
        image_size, patch_size: pixels; the grid is their quotient.
        hidden, layers, heads, mlp: language model.
        positions: longest sequence, tokens.
        rope_theta: base of the rotary positions; below the usual 10,000 because sequences are short.
        vision_hidden, vision_layers, vision_heads: understanding tower.
        vq_codes, vq_width: codebook rows and their length.
        vq_latent, vq_channels, vq_multipliers, vq_blocks: picture tokenizer. Channels are
            multiples of 32 (GroupNorm); one multiplier per halving plus one.
        std: initial standard deviation of the weights.
        embedding_std: the same of text and code embeddings.
        fit: how pictures are made square.
    """

    image_size: int = 64
    patch_size: int = 16
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    mlp: int = 512
    positions: int = 1024
    rope_theta: float = 500.0
    vision_hidden: int = 128
    vision_layers: int = 3
    vision_heads: int = 4
    vq_codes: int = 1024
    vq_width: int = 8
    vq_latent: int = 64
    vq_channels: int = 32
    vq_multipliers: tuple[int, ...] = (1, 1, 2, 2, 2)
    vq_blocks: int = 1
    std: float = 0.02
    embedding_std: float = 0.02
    fit: Fit = "crop"


def new_model(
    vocabulary: Sequence[str], config: TinyConfig | None = None, seed: int = 0
) -> JanusModel:
    """A Janus of random weights whose text tokens are the words of `vocabulary`.

    The same arguments give the same weights; the global random state is left as it was.
    """
    tiny = config or TinyConfig()
    fast = word_tokenizer(vocabulary, tiny.positions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = JanusForConditionalGeneration(_janus_config(tiny, fast))
        with torch.no_grad():
            for embedding in (
                network.model.language_model.embed_tokens,
                network.model.generation_embeddings,
            ):
                embedding.weight.normal_(std=tiny.embedding_std)
    normalise_codebook(network)
    geometry = read_geometry(network.config, fast, "new model")
    network.train(False)
    return JanusModel(network, TextTokenizer(fast), geometry, tiny.fit, "random")


def _janus_config(tiny: TinyConfig, fast: PreTrainedTokenizerFast) -> JanusConfig:
    grid = tiny.image_size // tiny.patch_size
    return JanusConfig(
        # No pad_token_id: it would freeze the pad row, which is an ordinary, trained embedding.
        text_config=LlamaConfig(
            vocab_size=len(fast),
            hidden_size=tiny.hidden,
            intermediate_size=tiny.mlp,
            num_hidden_layers=tiny.layers,
            num_attention_heads=tiny.heads,
            num_key_value_heads=tiny.heads,
            max_position_embeddings=tiny.positions,
            rope_parameters={"rope_type": "default", "rope_theta": tiny.rope_theta},
            initializer_range=tiny.std,
            rms_norm_eps=1e-6,
            bos_token_id=fast.bos_token_id,
            eos_token_id=fast.eos_token_id,
            tie_word_embeddings=False,
        ),
        vision_config=JanusVisionConfig(
            hidden_size=tiny.vision_hidden,
            num_hidden_layers=tiny.vision_layers,
            num_attention_heads=tiny.vision_heads,
            image_size=tiny.image_size,
            patch_size=tiny.patch_size,
            num_image_tokens=grid * grid,
            projection_dim=tiny.hidden,
            initializer_range=tiny.std,
        ),
        vq_config=JanusVQVAEConfig(
            embed_dim=tiny.vq_width,
            num_embeddings=tiny.vq_codes,
            latent_channels=tiny.vq_latent,
            base_channels=tiny.vq_channels,
            channel_multiplier=list(tiny.vq_multipliers),
            num_res_blocks=tiny.vq_blocks,
            num_patches=grid,
            projection_dim=tiny.hidden,
            image_token_embed_dim=tiny.hidden,
            initializer_range=tiny.std,
        ),
        image_token_id=fast.get_vocab()[IMAGE],
        tie_word_embeddings=False,
    )


def load_model(
    where: str | Path, dtype: torch.dtype | None = torch.float32, exact_codes: bool = False
) -> JanusModel:
    """Reads a checkpoint of either format, ready for inference on the CPU.

    Args:
        where: a folder, a hub id, or "sketch-base".
        dtype: of the weights in memory, whatever they are stored in; None keeps the stored one.
        exact_codes: the picture tokenizer in float32 all the same. Converting it later is not as good:
            the codebook's unit vectors would have been rounded.

    Raises:
        CheckpointError: missing, truncated, of another architecture, or incomplete.
    """
    stored = open_checkpoint(find_checkpoint(where))
    network = assemble(stored.config, read_state(stored, dtype))
    if exact_codes:
        network.model.vqmodel.float()
    return _model(stored, network, where)


def load_picture_tokenizer(where: str | Path) -> JanusModel:
    """A checkpoint's picture tokenizer in float32: what turns pictures into the codes the whole model does.

    Nothing else is read. The rest of the network has shapes and no memory: it lies on the device "meta".

    Raises:
        CheckpointError: as for `load_model`, as far as the picture tokenizer is concerned.
    """
    stored = open_checkpoint(find_checkpoint(where))
    network = skeleton(stored.config)
    state = read_state(stored, torch.float32, PICTURE_TOKENIZER)
    network.load_state_dict(state, strict=False, assign=True)
    network.train(False)
    return _model(stored, network, where)


def _model(stored: Stored, network: JanusForConditionalGeneration, where: str | Path) -> JanusModel:
    normalise_codebook(network)
    return JanusModel(
        network=network,
        tokenizer=TextTokenizer(stored.tokenizer),
        geometry=stored.geometry,
        fit=stored.fit,
        name=str(where),
        guidance=stored.guidance,
        semantic_weight=stored.semantic_weight,
        system_prompt=stored.system_prompt,
    )


def save_model(
    model: JanusModel,
    folder: str | Path,
    dtype: torch.dtype | None = None,
    format: Format = "transformers",
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Writes a checkpoint folder; a reader sees the old folder or the whole new one, never half.

    Args:
        folder: made, or replaced if it holds a checkpoint already.
        dtype: of the stored weights; None keeps the network's.
        format: `transformers`, or `official` for DeepSeek's own code.
        state: the weights; None takes the network's.

    Raises:
        CheckpointError: `folder` holds something that is not a checkpoint.
        UsageError: the weights were packed.
    """
    if any(isinstance(one, nn.Linear) and one.weight is None for one in model.network.modules()):
        raise UsageError("this model was packed to generate and cannot be saved", UNPACKED)
    stored = Stored(
        folder=Path(folder),
        format=format,
        config=model.network.config,
        tokenizer=model.tokenizer.fast,
        geometry=model.geometry,
        fit=model.fit,
        guidance=model.guidance,
        semantic_weight=model.semantic_weight,
        system_prompt=model.system_prompt,
    )
    state = model.network.state_dict() if state is None else state
    state = {name: tensor.detach() for name, tensor in state.items()}
    if dtype is not None:
        state = {name: tensor.to(dtype) for name, tensor in state.items()}
    write_checkpoint(stored, state)


def assemble(config: JanusConfig, state: Mapping[str, Tensor]) -> JanusForConditionalGeneration:
    """The network that consists of these very tensors, without ever having had others."""
    network = skeleton(config)
    network.load_state_dict(state, strict=True, assign=True)
    name_dtype(network.config, network.dtype)
    # What is not stored is made from the config, on the device the weights are on.
    language, vision = network.model.language_model, network.model.vision_model
    language.rotary_emb = type(language.rotary_emb)(config=language.config)
    count = vision.embeddings.num_positions
    vision.embeddings.position_ids = torch.arange(count).expand((1, -1))
    network.train(False)
    return network
