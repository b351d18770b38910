"""Mask2Former as GenEval's detector: transformers' network, our own way in and out.

The library's image processor needs torchvision, and its post-processing gives no boxes and no scores
per box, so both are written here after the published detector's test pipeline: short side 800, long
side at most 1333, the 100 best (query, class) pairs, each score weighted by how sure its mask is.

The official scores were made with mmdet's weights; these are transformers'. Numbers differ until
somebody has compared them on the official pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import Mask2FormerConfig, Mask2FormerModel
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPreTrainedModel

from janus4o.errors import CheckpointError
from janus4o.evaluate.geneval.classes import CLASSES
from janus4o.evaluate.geneval.networks import Found
from janus4o.evaluate.geneval.rules import Options

SHORT_SIDE, LONG_SIDE = 800, 1333
DIVISOR = 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INSTANCES = 100
FLOOR = 0.05
"""Boxes of a lower score are not stored: no threshold anyone uses is below it."""

COCO_NAMES = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}


class Mask2FormerDetector:
    """Speaks `Detector`.

    Args:
        where: a folder or a hub id with Mask2Former weights for COCO's 80 instance classes.
        device: where it computes.

    Raises:
        CheckpointError: no such weights, or for other classes.
    """

    options = Options()

    def __init__(self, where: str, device: str = "cpu") -> None:
        try:
            loaded: Any = _Network.from_pretrained(where, output_loading_info=True)
        except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
            first = (str(error).splitlines() or [""])[0]
            raise CheckpointError(
                f"{where!r} holds no Mask2Former: {first}",
                "e.g. facebook/mask2former-swin-small-coco-instance",
            ) from error
        network, about = loaded
        if about["missing_keys"]:
            # The library would go on with random numbers in their place.
            raise CheckpointError(
                f"{where!r} lacks {len(about['missing_keys'])} tensors of a Mask2Former",
                "copy the weights again",
            )
        self._device = device
        self._network: nn.Module = network.to(device)
        self._network.train(False)
        self._classes = _classes(network.config, where)
        self.name = f"mask2former (transformers): {where}"

    @torch.inference_mode()
    def detect(self, image: Image.Image) -> dict[str, Found]:
        pixels, size = prepare(image)
        padded = (pixels.shape[1], pixels.shape[2])
        outlook = torch.zeros(padded, dtype=torch.long)
        outlook[: size[0], : size[1]] = 1
        logits_QC, masks_Qhw = self._network(
            pixels[None].to(self._device), outlook[None].to(self._device)
        )
        scores, labels, boxes, masks = instances(
            logits_QC[0], masks_Qhw[0], padded, size, (image.height, image.width)
        )
        found: dict[str, Found] = {}
        for label in sorted(set(labels.tolist())):
            chosen = (labels == label).nonzero().flatten().tolist()
            rows = torch.cat([boxes[chosen], scores[chosen, None]], dim=1)
            found[self._classes[label]] = Found(
                rows.float().cpu().numpy(), tuple(masks[i].cpu().numpy() for i in chosen)
            )
        return found


def prepare(image: Image.Image) -> tuple[Tensor, tuple[int, int]]:
    """An RGB picture as the network wants it.

    Returns:
        float [3, H, W] padded with zeros at the right and below to a multiple of 32, and the (height,
        width) that the picture fills.
    """
    scale = min(SHORT_SIDE / min(image.size), LONG_SIDE / max(image.size))
    width, height = (max(1, int(side * scale + 0.5)) for side in image.size)
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(resized, np.float32) / 255).permute(2, 0, 1)
    pixels = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    pad = (0, -width % DIVISOR, 0, -height % DIVISOR)
    return functional.pad(pixels, pad), (height, width)


def instances(
    logits_QC: Tensor,
    masks_Qhw: Tensor,
    padded: tuple[int, int],
    resized: tuple[int, int],
    original: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Instances out of one picture's queries.

    Args:
        logits_QC: class logits, the last class meaning "nothing".
        masks_Qhw: mask logits, at the network's own resolution.
        padded, resized, original: (height, width) of the input, of the picture in it, of the file.

    Returns:
        scores [n], class indices [n], boxes [n, 4] (x1, y1, x2, y2; the end is outside), masks
        bool [n, H, W] at the original size; best first, nothing below `FLOOR`.
    """
    probabilities = logits_QC.float().softmax(-1)[:, :-1]
    n_classes = probabilities.shape[1]
    best = probabilities.flatten().topk(min(INSTANCES, probabilities.numel()))
    scores, labels, boxes, masks = [], [], [], []
    for probability, index in zip(best.values, best.indices.tolist(), strict=True):
        if probability < FLOOR:  # the mask can only lower it
            break
        mask_hw = masks_Qhw[index // n_classes][None, None].float()
        mask = _resize(mask_hw, padded)[..., : resized[0], : resized[1]]
        mask = _resize(mask, original)[0, 0]
        inside = mask > 0
        sure = (mask.sigmoid() * inside).sum() / (inside.sum() + 1e-6)
        if probability * sure < FLOOR:
            continue
        scores.append(probability * sure)
        labels.append(index % n_classes)
        boxes.append(_box(inside))
        masks.append(inside)
    if not scores:
        empty = torch.zeros(0)
        return empty, empty.long(), empty.reshape(0, 4), torch.zeros(0, *original).bool()
    order = torch.stack(scores).argsort(descending=True, stable=True)
    return (
        torch.stack(scores)[order],
        torch.tensor(labels, device=order.device)[order],
        torch.stack(boxes)[order],
        torch.stack(masks)[order],
    )


class _Network(Mask2FormerPreTrainedModel):
    """The library's segmentation head without its training loss, which would ask for SciPy."""

    _keys_to_ignore_on_load_unexpected = [r"^criterion\."]  # noqa: RUF012

    def __init__(self, config: Mask2FormerConfig) -> None:
        super().__init__(config)
        self.model = Mask2FormerModel(config)
        self.class_predictor = nn.Linear(config.hidden_dim, len(_labels(config)) + 1)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, Q, C + 1] class logits and [B, Q, h, w] mask logits of the last layer."""
        out: Any = self.model(
            pixel_values=pixel_values, pixel_mask=pixel_mask, output_hidden_states=True
        )
        last = out.transformer_decoder_intermediate_states[-1].transpose(0, 1)
        return self.class_predictor(last), out.masks_queries_logits[-1]


def _labels(config: Any) -> list[str]:
    """The configuration's class names, in order of their index."""
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def _classes(config: Any, where: str) -> list[str]:
    """GenEval's name of each class index; raises CheckpointError for other classes."""
    names = [COCO_NAMES.get(label, label) for label in _labels(config)]
    if set(names) != set(CLASSES) or len(names) != len(CLASSES):
        strange = sorted(set(names) ^ set(CLASSES))[:3]
        raise CheckpointError(
            f"{where!r} does not know COCO's 80 classes ({', '.join(strange)} …)",
            "give weights for COCO instances",
        )
    return names


def _resize(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(mask, size=tuple(size), mode="bilinear", align_corners=False)


def _box(mask: Tensor) -> Tensor:
    columns, rows = (mask.any(dim).nonzero().flatten() for dim in (0, 1))
    if len(columns) == 0:
        return torch.zeros(4, device=mask.device)
    ends = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return torch.stack(ends).float()
