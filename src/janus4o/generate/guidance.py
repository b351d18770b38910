"""Guidance: one distribution out of several views of the same request.

Source: the Janus-4o model card.

    text-to-image   u + s (c - u)
    edit            c = (full + s2 part) / (1 + s2),  u + s (c - u)

`full` sees everything, `part` everything but the sources' codes, `u` nothing. Both are one rule: a
weighted mean of conditioned branches, pushed away from the null branch.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Guidance:
    """How branches are combined.

    Attributes:
        scale: s.
        weights: one for each conditioned branch, in order; they need not sum to 1.
    """

    scale: float
    weights: tuple[float, ...]

    @property
    def has_null(self) -> bool:
        """Whether the null branch, the last one, is needed at all."""
        return self.scale != 1.0

    @property
    def branches(self) -> int:
        return len(self.weights) + self.has_null

    def combine(self, logits_GBV: Tensor) -> Tensor:
        """The guided logits, float32 [B, V], of all branches' logits [G, B, V]."""
        branches = logits_GBV.float().unbind(0)
        conditioned = branches[0] * self.weights[0]
        for logits, weight in zip(branches[1:], self.weights[1:], strict=False):
            conditioned = conditioned + logits * weight
        conditioned = conditioned / sum(self.weights)
        if not self.has_null:
            return conditioned
        null = branches[-1]
        return null + self.scale * (conditioned - null)


def for_text_to_image(scale: float) -> Guidance:
    """Branches: prompt, null."""
    return Guidance(scale, (1.0,))


def for_edit(scale: float, semantic_weight: float) -> Guidance:
    """Branches: full, part (left out where its weight is 0), null."""
    return Guidance(scale, (1.0, semantic_weight) if semantic_weight > 0 else (1.0,))
