"""CLIP as GenEval's colour classifier: the official prompts and picture preparation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer, CLIPModel

from janus4o.errors import CheckpointError
from janus4o.evaluate.geneval.classes import COLOURS

TEMPLATES = ("a photo of a {} {}", "a photo of a {}-colored {}", "a photo of a {} object")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BATCH = 16


class ClipColours:
    """Speaks `ColourClassifier`.

    Args:
        where: a folder or a hub id with CLIP weights and tokenizer.
        device: where it computes, in float32.

    Raises:
        CheckpointError: no such weights.
    """

    def __init__(self, where: str, device: str = "cpu") -> None:
        try:
            loaded: Any = CLIPModel.from_pretrained(where, output_loading_info=True)
            self._tokenizer = AutoTokenizer.from_pretrained(where)
        except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
            first = (str(error).splitlines() or [""])[0]
            raise CheckpointError(
                f"{where!r} holds no CLIP: {first}", "e.g. openai/clip-vit-large-patch14"
            ) from error
        model, about = loaded
        if about["missing_keys"]:
            # The library would go on with random numbers in their place.
            raise CheckpointError(
                f"{where!r} lacks {len(about['missing_keys'])} tensors of a CLIP",
                "copy the weights again",
            )
        self._device = device
        self._model = model.eval().to(device)
        self._size: int = self._model.config.vision_config.image_size
        self._weights_of = lru_cache(maxsize=None)(self._text_weights)
        self.name = f"clip (transformers): {where}"

    @torch.inference_mode()
    def classify(self, crops: Sequence[Image.Image], class_name: str) -> list[str]:
        weights_KD = self._weights_of(class_name)
        names: list[str] = []
        for start in range(0, len(crops), BATCH):
            batch = [prepare(crop, self._size) for crop in crops[start : start + BATCH]]
            pixels = torch.stack(batch).to(self._device)
            features = _pooled(self._model.get_image_features(pixel_values=pixels))
            logits_BK = 100 * functional.normalize(features, dim=-1) @ weights_KD.T
            names += [COLOURS[index] for index in logits_BK.argmax(-1).tolist()]
        return names

    def _text_weights(self, class_name: str) -> Tensor:
        """[10, D]: for each colour the mean of the templates' directions, again of length 1."""
        rows = []
        for colour in COLOURS:
            texts = [template.format(colour, class_name) for template in TEMPLATES]
            tokens = self._tokenizer(texts, padding=True, return_tensors="pt").to(self._device)
            features = _pooled(
                self._model.get_text_features(
                    input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
                )
            )
            mean = functional.normalize(features, dim=-1).mean(0)
            rows.append(functional.normalize(mean, dim=-1))
        return torch.stack(rows)


def prepare(crop: Image.Image, size: int) -> Tensor:
    """float [3, size, size]: the short side to `size`, bicubic, then the middle."""
    image = crop.convert("RGB")
    short = min(image.size)
    width, height = (size if side == short else int(size * side / short) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    image = image.crop((left, top, left + size, top + size))
    pixels = torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _pooled(output: Any) -> Tensor:
    """The projected features, [B, D]."""
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features
