"""A checkpoint folder in either format: transformers' (`janus`) or DeepSeek's (`multi_modality`).

Everything but the weights is one frozen `Stored`; the weights are a mapping in transformers' names.
`loading.py` makes a network of the two, `convert.py` writes them down again in the other format.

Beside the usual files a folder may hold `janus4o.json`: {"fit": "letterbox" | "crop", "guidance": s,
"semantic_weight": s2, "system_prompt": text}. Absent means the official behaviour: letterbox, 5, and
Janus-Pro's system prompt before questions.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor
from transformers import JanusConfig, JanusForConditionalGeneration, PreTrainedTokenizerFast
from transformers.utils import logging

from janus4o.errors import CheckpointError
from janus4o.files import new_folder, sync_folder
from janus4o.model import official
from janus4o.model.geometry import (
    BOS,
    EOS,
    IMAGE,
    PAD,
    SYSTEM_PROMPT,
    Geometry,
    read_geometry,
)
from janus4o.model.preprocess import Fit
from janus4o.model.weights import read_tensors, write_tensors

Format = Literal["transformers", "official"]

OWN_FILE = "janus4o.json"
MODEL_CARD_GUIDANCE = 5.0
"""s and s2 of the Janus-4o model card."""

EMBEDDINGS = "model.language_model.embed_tokens.weight"
HEAD = "lm_head.weight"
PICTURE_TOKENIZER = "model.vqmodel."
CODEBOOK = "model.vqmodel.quantize.embedding.weight"


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint folder says, its weights left out.

    Attributes:
        folder: where it is, or where it shall be written.
        format: whose names and config it uses.
        tied: the output layer may be missing; it is the embeddings then.
        system_prompt: what stands before a question about a picture.
    """

    folder: Path
    format: Format
    config: JanusConfig
    tokenizer: PreTrainedTokenizerFast
    geometry: Geometry
    fit: Fit
    guidance: float
    semantic_weight: float
    system_prompt: str
    tied: bool = False


def open_checkpoint(folder: Path) -> Stored:
    """Reads everything but the weights.

    Raises:
        CheckpointError: a file is missing or damaged, or it is a checkpoint of another model.
    """
    data = _read_json(folder / "config.json")
    kind = data.get("model_type")
    if kind == official.MODEL_TYPE:
        config, text = official.read_config(data, str(folder)), data["language_config"]
    elif kind == "janus":
        config, text = _read_janus(data, folder), data.get("text_config") or {}
    else:
        raise CheckpointError(
            f"{folder} holds a {kind!r} model, not a Janus",
            "give a Janus folder: model_type janus or multi_modality",
        )
    tokenizer = _read_tokenizer(folder)
    processor = _read_optional(folder / "processor_config.json")
    pictures = _read_optional(folder / "preprocessor_config.json")
    geometry = read_geometry(
        config,
        tokenizer,
        str(folder),
        image_tag=processor.get("image_tag", IMAGE),
        pictures=pictures or processor.get("image_processor"),
    )
    config.image_token_id = geometry.image
    own = _read_optional(folder / OWN_FILE)
    return Stored(
        folder=folder,
        format="official" if kind == official.MODEL_TYPE else "transformers",
        config=config,
        tokenizer=tokenizer,
        geometry=geometry,
        fit=_fit(own, folder),
        guidance=_scale(own, "guidance", folder),
        semantic_weight=_scale(own, "semantic_weight", folder),
        system_prompt=_system_prompt(own, processor),
        tied=text.get("tie_word_embeddings", data.get("tie_word_embeddings")) is True,
    )


def skeleton(config: JanusConfig) -> JanusForConditionalGeneration:
    """A network without weights: every tensor has its shape and no memory."""
    with quiet(), torch.device("meta"):
        return JanusForConditionalGeneration(config)


def read_state(
    stored: Stored, dtype: torch.dtype | None = None, within: str = ""
) -> dict[str, Tensor]:
    """The weights in transformers' names, exactly those of a network of this config.

    Args:
        dtype: to convert to; None keeps what is stored.
        within: what the names of those wanted begin with; nothing is read or said of the others.

    Raises:
        CheckpointError: a tensor is missing, unexpected, of another shape or no floating point.
    """
    shapes = {name: tensor.shape for name, tensor in skeleton(stored.config).state_dict().items()}
    if stored.format == "official":
        expected = official.places(shapes)
    else:
        expected = {name: official.Place((name,), tuple(shapes[name])) for name in shapes}
    expected = {k: place for k, place in expected.items() if place.names[0].startswith(within)}
    state: dict[str, Tensor] = {}
    missing = dict(expected)
    for name, tensor in read_tensors(stored.folder, expected if within else None):
        if stored.format == "official" and official.DROPPED.match(name):
            continue
        place = missing.pop(name, None)
        if place is None:
            twice = name in expected
            raise _wrong(
                stored, f"{'weight stored twice:' if twice else 'unexpected weight'} {name}"
            )
        if tuple(tensor.shape) != place.shape:
            found, wanted = list(tensor.shape), list(place.shape)
            raise _wrong(
                stored, f"mismatched weight {name}: stored as {found}, config.json says {wanted}"
            )
        if not tensor.is_floating_point() or tensor.dtype.itemsize == 1:
            found_dtype = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{stored.folder}: weight {name} is stored as {found_dtype}",
                "give the checkpoint in float32, bfloat16 or float16, not a quantised one",
            )
        for target, part in zip(place.names, place.split(tensor, shapes), strict=True):
            state[target] = part if dtype is None else part.to(dtype)
    if stored.tied and HEAD not in state and EMBEDDINGS in state:
        # A copy: the network's output layer is its own, and training may pull the two apart.
        state[HEAD] = state[EMBEDDINGS].clone()
        missing = {name: place for name, place in missing.items() if place.names != (HEAD,)}
    if missing:
        raise _wrong(stored, f"missing weight {next(iter(missing))} ({len(missing)} in all)")
    return state


def write_checkpoint(stored: Stored, state: Mapping[str, Tensor]) -> None:
    """Writes a checkpoint folder; a reader sees the old folder or the whole new one, never half.

    Raises:
        CheckpointError: the folder holds something that is not a checkpoint.
    """
    folder = stored.folder
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / "config.json").is_file())
    ):
        raise CheckpointError(f"{folder} exists and is no checkpoint", "name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = new_folder(folder.parent, folder.name)
    try:
        with quiet():
            stored.tokenizer.save_pretrained(fresh)
        write = _write_official if stored.format == "official" else _write_transformers
        write(fresh, stored, state)
        own = {
            "fit": stored.fit,
            "guidance": stored.guidance,
            "semantic_weight": stored.semantic_weight,
            "system_prompt": stored.system_prompt,
        }
        _write_json(fresh / OWN_FILE, own, indent=None)
        for path in (*fresh.iterdir(), fresh):
            sync_folder(path)
        fresh.chmod(0o755)
        if folder.exists():
            # A folder cannot be replaced in one step; the old one is whole until it is moved away.
            old = new_folder(folder.parent, f"{folder.name}.old")
            os.replace(folder, old)
            os.replace(fresh, folder)
            shutil.rmtree(old)
        else:
            os.replace(fresh, folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def name_dtype(config: JanusConfig, dtype: torch.dtype) -> None:
    """Writes the dtype of the weights into a config and its parts."""
    parts: Any = (config, config.text_config, config.vision_config, config.vq_config)
    for part in parts:
        part.dtype = dtype


@contextmanager
def quiet() -> Iterator[None]:
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


def _write_transformers(fresh: Path, stored: Stored, state: Mapping[str, Tensor]) -> None:
    geometry, config = stored.geometry, copy.deepcopy(stored.config)
    config.architectures = [JanusForConditionalGeneration.__name__]
    name_dtype(config, state[EMBEDDINGS].dtype)
    with quiet():
        config.save_pretrained(fresh)
    # What transformers' own generate() and processor ask for; nothing here reads it but the sizes.
    _write_json(
        fresh / "generation_config.json",
        {
            "bos_token_id": geometry.bos,
            "eos_token_id": geometry.eos,
            "pad_token_id": geometry.pad,
            "generation_kwargs": {"boi_token_id": geometry.begin_of_image},
        },
    )
    side = geometry.image_size
    _write_json(
        fresh / "preprocessor_config.json",
        {
            "image_processor_type": "JanusImageProcessor",
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "size": {"height": side, "width": side},
            "min_size": geometry.minimum_side,
            "background_color": list(geometry.background),
            "rescale_factor": 1 / 255,
        },
    )
    _write_json(
        fresh / "processor_config.json",
        {
            "processor_class": "JanusProcessor",
            "num_image_tokens": geometry.tokens,
            "use_default_system_prompt": stored.system_prompt == SYSTEM_PROMPT,
        },
    )
    write_tensors(fresh, state)


def _write_official(fresh: Path, stored: Stored, state: Mapping[str, Tensor]) -> None:
    geometry, dtype = stored.geometry, state[EMBEDDINGS].dtype
    _write_json(fresh / "config.json", official.write_config(stored.config, dtype))
    image_tag = stored.tokenizer.convert_ids_to_tokens(geometry.image)
    _write_json(
        fresh / "processor_config.json",
        {
            "add_special_token": False,
            "ignore_id": -100,
            "image_tag": image_tag,
            "mask_prompt": True,
            "num_image_tokens": geometry.tokens,
            "processor_class": "VLChatProcessor",
            "sft_format": "deepseek",
        },
    )
    _write_json(
        fresh / "preprocessor_config.json",
        {
            "background_color": list(geometry.background),
            "do_normalize": True,
            "image_mean": [0.5] * 3,
            "image_processor_type": "VLMImageProcessor",
            "image_size": geometry.image_size,
            "image_std": [0.5] * 3,
            "min_size": geometry.minimum_side,
            "processor_class": "VLChatProcessor",
            "rescale_factor": 1 / 255,
        },
    )
    # Not as transformers 5 writes it: transformers 4, which the official code needs, knows neither
    # its class names nor its way to list special tokens.
    tokenizer = stored.tokenizer
    specials = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special]
    named = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}
    if tokenizer.unk_token is not None:
        named["unk_token"] = tokenizer.unk_token
    named_map = {
        "additional_special_tokens": [t for t in specials if t not in named.values()],
        **named,
    }
    _write_json(fresh / "special_tokens_map.json", named_map)
    _write_json(
        fresh / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": tokenizer.model_max_length,
            "processor_class": "VLChatProcessor",
            "tokenizer_class": "LlamaTokenizerFast",
            **named_map,
        },
    )
    shapes = {name: tensor.shape for name, tensor in state.items()}
    whole = {name: place.join(state) for name, place in official.places(shapes).items()}
    for name, shape in official.unused(stored.config).items():
        whole[name] = torch.zeros(shape, dtype=dtype)
    write_tensors(fresh, whole)


def _read_janus(data: dict[str, Any], folder: Path) -> JanusConfig:
    try:
        # Janus-Pro has its own output layer; the class's default would overwrite the embeddings.
        config = JanusConfig.from_dict({**data, "tie_word_embeddings": False})
    except Exception as error:  # strict dataclasses raise their own kinds
        raise CheckpointError(
            f"{folder}: config.json does not fit: {_line(error)}", "copy it again"
        ) from error
    text: Any = config.text_config
    text.tie_word_embeddings = False
    text.pad_token_id = None  # it would freeze the pad row, which is an ordinary, trained embedding
    return config


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(f"{folder}: tokenizer.json is missing", "copy the whole folder")
    try:
        fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(
            f"{folder}: tokenizer.json cannot be read: {_line(error)}", "copy it again"
        ) from error
    return fast


def _fit(own: Mapping[str, Any], folder: Path) -> Fit:
    fit = own.get("fit", "letterbox")
    if fit not in get_args(Fit):
        raise CheckpointError(f"{folder}: fit {fit!r} in {OWN_FILE}", "letterbox or crop")
    return cast(Fit, fit)


def _scale(own: Mapping[str, Any], key: str, folder: Path) -> float:
    scale = own.get(key, MODEL_CARD_GUIDANCE)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale < 1000:
        raise CheckpointError(f"{folder}: {key} {scale!r} in {OWN_FILE}", "a number from 0")
    return float(scale)


def _system_prompt(own: Mapping[str, Any], processor: Mapping[str, Any]) -> str:
    if own:
        return str(own.get("system_prompt", ""))
    if processor.get("use_default_system_prompt") is False:  # transformers' way to say none
        return ""
    return str(processor.get("system_prompt", SYSTEM_PROMPT))


def _read_optional(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.is_file() else {}


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


def _write_json(path: Path, data: Mapping[str, Any], indent: int | None = 2) -> None:
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _wrong(stored: Stored, what: str) -> CheckpointError:
    return CheckpointError(
        f"{stored.folder}: {what}",
        "config.json and weights are of different models; copy the whole folder",
    )


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
