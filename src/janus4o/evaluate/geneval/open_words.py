"""Grounding DINO and OWLv2 as GenEval's detector: networks that look for what they are told in words.

They are told all 80 classes, whatever the prompt asks, so that the question gives nothing away. Both give
boxes only, so crops keep their ground, and both find an object more than once, so the worse of two boxes
of a class that overlap by more than half is left out here. Their scores mean something else than
Mask2Former's: `OPTIONS` are our choice, and nobody has calibrated them.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, GroundingDinoForObjectDetection, Owlv2ForObjectDetection

from janus4o.errors import CheckpointError
from janus4o.evaluate.geneval.classes import CLASSES
from janus4o.evaluate.geneval.networks import Found
from janus4o.evaluate.geneval.rules import Options, keep

OPTIONS = Options(threshold=0.3, counting_threshold=0.3)
FLOOR, MOST, OVERLAP = 0.05, 100, 0.5
"""Score below which a box is not stored, boxes of a class, and overlap above which one is left out."""


class _WordDetector:
    """What both have in common. Speaks `Detector`.

    Args:
        where: a folder or a hub id with weights and processor.
        device: where it computes, in float32.

    Raises:
        CheckpointError: no such weights, or the processor lacks a library.
    """

    kind: str
    example: str
    network: Any
    options = OPTIONS

    def __init__(self, where: str, device: str = "cpu") -> None:
        try:
            loaded: Any = self.network.from_pretrained(where, output_loading_info=True)
            self._processor = AutoProcessor.from_pretrained(where)
        except (OSError, ValueError, RuntimeError, TypeError, KeyError, ImportError) as error:
            first = (str(error).strip().splitlines() or [""])[0]
            raise CheckpointError(
                f"{where!r} holds no {self.kind}: {first}", f"e.g. {self.example}"
            ) from error
        model, about = loaded
        if about["missing_keys"]:
            # The library would go on with random numbers in their place.
            raise CheckpointError(
                f"{where!r} lacks {len(about['missing_keys'])} tensors of a {self.kind}",
                "copy the weights again",
            )
        self._device = device
        self._model = model.eval().to(device)
        self.name = f"{self.kind.lower()} (transformers): {where}"

    @torch.inference_mode()
    def detect(self, image: Image.Image) -> dict[str, Found]:
        boxes_N4, scores_N, labels_N = (part.float().cpu().numpy() for part in self._look(image))
        # Boxes may reach out of the picture, OWLv2's into its padding: what is left must hold a pixel.
        boxes_N4 = boxes_N4.clip(0, [image.width, image.height] * 2)
        whole = boxes_N4.round()
        inside = ((whole[:, 2:] - whole[:, :2]) > 0).all(1)
        boxes_N4, scores_N, labels_N = boxes_N4[inside], scores_N[inside], labels_N[inside]
        found = {}
        for label in sorted(set(labels_N.astype(int).tolist())):
            mine = labels_N == label
            rows = np.concatenate([boxes_N4[mine], scores_N[mine, None]], 1).astype(np.float32)
            # The same suppression as the rules offer, so that counting is not of echoes.
            echoes = Options(threshold=FLOOR, max_objects=MOST, max_overlap=OVERLAP)
            left = keep(rows, "", echoes)
            if left:
                found[CLASSES[label]] = Found(rows[left])
        return found

    @abstractmethod
    def _look(self, image: Image.Image) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [N, 4] in pixels of the picture, scores [N], positions in `CLASSES` [N]."""


class GroundingDinoDetector(_WordDetector):
    """All classes as one text, "person. bicycle. …"; a query's class is that of its best token."""

    kind, example = "Grounding-DINO", "IDEA-Research/grounding-dino-tiny"
    network = GroundingDinoForObjectDetection

    def _look(self, image: Image.Image) -> tuple[Tensor, Tensor, Tensor]:
        text = " ".join(f"{name}." for name in CLASSES)
        inputs = self._processor(images=image, text=text, return_tensors="pt").to(self._device)
        (tokens,) = inputs["input_ids"]
        owners = self._owners(tokens)
        out = self._model(**inputs)
        # The library's phrases mix classes whose tokens are alike; its boxes are what is wanted.
        (shown,) = self._processor.post_process_grounded_object_detection(
            out, threshold=-1.0, text_threshold=1.0, target_sizes=[(image.height, image.width)]
        )
        fits_QT = out.logits[0].sigmoid()[:, : len(tokens)]
        fits_QT = fits_QT.masked_fill(owners.to(fits_QT.device) < 0, 0.0)
        scores_Q, best_Q = fits_QT.max(-1)
        return shown["boxes"], scores_Q, owners.to(best_Q.device)[best_Q]

    def _owners(self, tokens: Tensor) -> Tensor:
        """[T]: which class each token belongs to, -1 for full stops and special tokens."""
        stop = self._processor.tokenizer.convert_tokens_to_ids(".")
        special = set(self._processor.tokenizer.all_special_ids)
        owners, current = [], 0
        for token in tokens.tolist():
            owners.append(-1 if token == stop or token in special else current)
            current += token == stop
        if current != len(CLASSES):
            raise CheckpointError(
                f"the text of {len(CLASSES)} classes does not fit: {current} of them were read",
                "give weights of Grounding DINO's own text length, 256",
            )
        return torch.tensor(owners)


class Owlv2Detector(_WordDetector):
    """One text for each class, "a photo of a dog"; a box's class is that of its best text.

    Its processor needs SciPy.
    """

    kind, example = "OWLv2", "google/owlv2-base-patch16-ensemble"
    network = Owlv2ForObjectDetection

    def _look(self, image: Image.Image) -> tuple[Tensor, Tensor, Tensor]:
        texts = [[f"a photo of a {name}" for name in CLASSES]]
        inputs = self._processor(images=image, text=texts, return_tensors="pt").to(self._device)
        (shown,) = self._processor.post_process_grounded_object_detection(
            self._model(**inputs), threshold=FLOOR, target_sizes=[(image.height, image.width)]
        )
        return shown["boxes"], shown["scores"], shown["labels"]
