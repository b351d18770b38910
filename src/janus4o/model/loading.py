"""Checkpoints: Hugging Face folders of `JanusForConditionalGeneration`, read and written strictly.

Beside the usual files a folder may hold `janus4o.json`: {"fit": "letterbox" | "crop", "guidance": s,
"semantic_weight": s2}. Absent means letterbox and 5, the official behaviour.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from janus4o.errors import CheckpointError
from janus4o.files import new_folder
from janus4o.model.codebook import normalise_codebook
from janus4o.model.geometry import IMAGE, Geometry, read_geometry
from janus4o.model.preprocess import Fit
from janus4o.model.text import TextTokenizer, word_tokenizer

SKETCH_BASE = "sketch-base"
SKETCH_BASE_FOLDER = Path(__file__).parent.parent / "sketch" / "base"
OWN_FILE = "janus4o.json"
MODEL_CARD_GUIDANCE = 5.0
"""s and s2 of the Janus-4o model card."""


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
    """

    network: JanusForConditionalGeneration
    tokenizer: TextTokenizer
    geometry: Geometry
    fit: Fit
    name: str
    guidance: float = MODEL_CARD_GUIDANCE
    semantic_weight: float = MODEL_CARD_GUIDANCE

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


def load_model(where: str | Path, dtype: torch.dtype = torch.float32) -> JanusModel:
    """Reads a checkpoint, ready for inference on the CPU.

    Args:
        where: a folder, a hub id, or "sketch-base".
        dtype: of the weights in memory, whatever they are stored in.

    Raises:
        CheckpointError: missing, truncated, of another architecture, or incomplete.
    """
    folder = _folder_of(where)
    config = _read_config(folder)
    fit = _read_fit(folder)
    scale, semantic_weight = (_read_scale(folder, key) for key in ("guidance", "semantic_weight"))
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(f"{folder}: tokenizer.json is missing", "copy the whole folder")
    try:
        fast = PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(
            f"{folder}: tokenizer.json cannot be read: {_line(error)}", "copy it again"
        ) from error
    geometry = read_geometry(config, fast, str(folder))
    network = _read_weights(folder, config, dtype)
    normalise_codebook(network)
    network.train(False)
    return JanusModel(
        network, TextTokenizer(fast), geometry, fit, str(where), scale, semantic_weight
    )


def save_model(model: JanusModel, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Writes a checkpoint folder; a reader sees the old folder or the whole new one, never half.

    Args:
        folder: made, or replaced if it holds a checkpoint already.
        dtype: of the stored weights; None keeps the network's.

    Raises:
        CheckpointError: `folder` holds something that is not a checkpoint.
    """
    folder = Path(folder)
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / "config.json").is_file())
    ):
        raise CheckpointError(f"{folder} exists and is no checkpoint", "name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = new_folder(folder.parent, folder.name)
    try:
        state = model.network.state_dict()
        if dtype is not None:
            state = {name: tensor.to(dtype) for name, tensor in state.items()}
        with _quiet():
            model.network.save_pretrained(fresh, state_dict=state)
            model.tokenizer.fast.save_pretrained(fresh)
        own = {
            "fit": model.fit,
            "guidance": model.guidance,
            "semantic_weight": model.semantic_weight,
        }
        (fresh / OWN_FILE).write_text(json.dumps(own) + "\n", encoding="utf-8")
        (fresh / "model.safetensors").chmod(0o644)  # written for its owner alone
        for path in (*fresh.iterdir(), fresh):
            _sync(path)
        fresh.chmod(0o755)
        if folder.exists():
            # A folder cannot be replaced in one step; the old one is whole until it is moved away.
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
            os.replace(folder, old)
            os.replace(fresh, folder)
            shutil.rmtree(old)
        else:
            os.replace(fresh, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _folder_of(where: str | Path) -> Path:
    if where == SKETCH_BASE:
        if not (SKETCH_BASE_FOLDER / "config.json").is_file():
            raise CheckpointError(
                "this installation has no sketch-base", "make it: janus4o sketch pretrain"
            )
        return SKETCH_BASE_FOLDER
    folder = Path(where)
    if folder.is_dir():
        return folder
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(where)) and not folder.parent.is_dir():
        return _download(str(where))
    raise CheckpointError(
        f"there is no checkpoint folder {str(where)!r}",
        'give a folder with config.json, tokenizer.json and *.safetensors, or "sketch-base"',
    )


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # many kinds: no network, no such repository, no permission
        raise CheckpointError(
            f"{hub_id!r} is no folder here and the hub does not give it: {_line(error)}",
            "check the name and the network, or download it and give the folder",
        ) from error


def _read_config(folder: Path) -> JanusConfig:
    data = _read_json(folder / "config.json")
    kind = data.get("model_type")
    if kind == "multi_modality":
        raise CheckpointError(
            f"{folder} is in DeepSeek's own format (multi_modality)",
            "use the Hugging Face format, for example deepseek-community/Janus-Pro-1B",
        )
    if kind != "janus":
        raise CheckpointError(
            f"{folder} holds a {kind!r} model, not a Janus", "give a Janus folder"
        )
    try:
        # Janus-Pro has its own output layer; the class's default would overwrite the embeddings.
        config = JanusConfig.from_dict({**data, "tie_word_embeddings": False})
    except Exception as error:  # strict dataclasses raise their own kinds
        raise CheckpointError(
            f"{folder}: config.json does not fit: {_line(error)}", "copy it again"
        ) from error
    text: Any = config.text_config
    text.tie_word_embeddings = False
    text.pad_token_id = None
    return config


def _read_fit(folder: Path) -> Fit:
    fit = _read_own(folder).get("fit", "letterbox")
    if fit not in get_args(Fit):
        raise CheckpointError(f"{folder}: fit {fit!r} in {OWN_FILE}", "letterbox or crop")
    return cast(Fit, fit)


def _read_scale(folder: Path, key: str) -> float:
    scale = _read_own(folder).get(key, MODEL_CARD_GUIDANCE)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale < 1000:
        raise CheckpointError(f"{folder}: {key} {scale!r} in {OWN_FILE}", "a number from 0")
    return float(scale)


def _read_own(folder: Path) -> dict[str, Any]:
    return _read_json(folder / OWN_FILE) if (folder / OWN_FILE).is_file() else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing", "copy the whole folder") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON", "copy it again") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is not a JSON object", "copy it again")
    return data


def _read_weights(
    folder: Path, config: JanusConfig, dtype: torch.dtype
) -> JanusForConditionalGeneration:
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder} holds no *.safetensors", "copy the whole folder")
    loaded: Any
    try:
        with _quiet():
            loaded = JanusForConditionalGeneration.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                output_loading_info=True,
                use_safetensors=True,
                local_files_only=True,
            )
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder}: the weights cannot be read: {_line(error)}",
            "the file is truncated or of another model; copy it again",
        ) from error
    network: JanusForConditionalGeneration
    network, report = loaded
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, report[problem])):
            raise CheckpointError(
                f"{folder}: {problem.replace('_keys', '')} weight {keys[0]} ({len(keys)} in all)",
                "config.json and weights are of different models; copy the whole folder",
            )
    return network


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps transformers' progress bars and reports off the terminal; our errors say it all."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(50)  # critical
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
