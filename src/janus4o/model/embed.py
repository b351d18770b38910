"""Input embeddings of laid-out sequences, shared by training and generation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from janus4o.model import sequence as layout

if TYPE_CHECKING:
    from transformers import JanusForConditionalGeneration


@dataclass(frozen=True, slots=True)
class Embedded:
    """A batch of sequences ready for the language model.

    Attributes:
        embeds: [B, L, D].
        mask: bool [B, L], False at padding between rows of different lengths (never at the pad
            tokens inside a sequence, which are attended).
        starts: int64 [B], where each sequence begins (0 unless padded on the left).
    """

    embeds: Tensor
    mask: Tensor
    starts: Tensor

    @property
    def positions(self) -> Tensor:
        """Position of every token within its own sequence, int64 [B, L], 0 at padding."""
        return (self.mask.cumsum(1) - 1).clamp(min=0)


def embed_codes(network: JanusForConditionalGeneration, codes: Tensor) -> Tensor:
    """What the language model sees of VQ codes: int64 [...] → [..., D]."""
    model = network.model
    embeds: Tensor = model.generation_aligner(model.generation_embeddings(codes))
    return embeds


def understand(network: JanusForConditionalGeneration, pixel_values: Tensor) -> Tensor:
    """Understanding features after the aligner, [B, T, D]. Gradients flow."""
    weight = network.model.vision_model.embeddings.patch_embedding.weight
    features: Tensor = network.model.get_image_features(pixel_values.to(weight)).pooler_output
    return features


def embed_batch(
    network: JanusForConditionalGeneration,
    sequences: Sequence[layout.Sequence],
    *,
    pad: int,
    semantic: Tensor | None = None,
    source: Tensor | None = None,
    target: Tensor | None = None,
    source_kept: Tensor | None = None,
    side: Literal["left", "right"] = "right",
) -> Embedded:
    """Embeds sequences of any lengths as one batch.

    Args:
        pad: id to fill up shorter rows with; they are masked there.
        semantic: features [N, T, D], one for each `semantic` span, in order of rows and spans.
        source: codes [N, T], one for each `source` span, in the same order.
        target: codes [B, T] to place at the targets (training); without them the batch ends
            before its targets (inference).
        source_kept: bool [N, T]; a source code is placed only where True (token-wise dropout).
        side: where shorter rows are filled up.
    """
    device = network.model.language_model.embed_tokens.weight.device
    rows = [one.ids if target is not None else one.prompt_ids for one in sequences]
    longest = max(len(row) for row in rows)
    starts = [longest - len(row) if side == "left" else 0 for row in rows]
    ids = torch.full((len(rows), longest), pad, dtype=torch.int64)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids[index, start : start + len(row)] = row
        mask[index, start : start + len(row)] = True
    embeds = network.model.language_model.embed_tokens(ids.to(device))

    def place(
        values_NTD: Tensor | None, spans: Iterable[tuple[slice, ...]], kept: Tensor | None
    ) -> None:
        nonlocal embeds
        where = torch.tensor(
            [
                range(row * longest + start + span.start, row * longest + start + span.stop)
                for row, (start, of_row) in enumerate(zip(starts, spans, strict=True))
                for span in of_row
            ],
            dtype=torch.int64,
        )
        given = 0 if values_NTD is None else len(values_NTD)
        if given != len(where):
            raise ValueError(f"{given} pictures given for {len(where)} places")
        if values_NTD is None:
            return
        flat, values = where.flatten(), values_NTD.flatten(0, 1)
        if kept is not None:
            chosen = kept.flatten().cpu()
            flat, values = flat[chosen], values[chosen.to(values.device)]
        shape = embeds.shape
        filled = embeds.flatten(0, 1).index_copy(0, flat.to(device), values.to(embeds))
        embeds = filled.view(shape)

    def codes(values: Tensor | None) -> Tensor | None:
        return None if values is None else embed_codes(network, values.to(device))

    place(semantic, [one.spans.semantic for one in sequences], None)
    place(codes(source), [one.spans.source for one in sequences], source_kept)
    if target is not None:
        place(codes(target), [(one.spans.target,) for one in sequences], None)
    return Embedded(embeds, mask.to(device), torch.tensor(starts))
