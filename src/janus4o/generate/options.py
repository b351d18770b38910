"""What a caller may choose about generation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from janus4o.errors import UsageError

MOST = 1000
"""No guidance, weight or temperature above this makes sense; logits would overflow far above it."""

LEAST_TEMPERATURE = 1e-6

MOST_SPECULATED = 256

Rule = Literal["match", "ratio"]


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """Checked choices; the defaults are those of the Janus-4o model card.

    Attributes:
        guidance: s. 1 is the bare conditional model, 0 the unconditional one.
        semantic_weight: s2, edits only. Lower keeps more of the source; 0 looks at its codes alone.
        temperature: 0 means greedy.
        n: pictures a prompt.
        seed: picture j of each prompt draws from its own generator seeded `seed + j`.
        top_k: sample only from the k likeliest codes; None means from all.
        speculate: codes guessed and verified a pass; 1 means plain decoding (see speculation.py).
        rule: which guesses hold: "match" leaves every seed's picture as it is, "ratio" only the
            distribution, and holds more often.
    """

    guidance: float = 5.0
    semantic_weight: float = 5.0
    temperature: float = 1.0
    n: int = 1
    seed: int = 0
    top_k: int | None = None
    speculate: int = 1
    rule: Rule = "match"

    def __post_init__(self) -> None:
        for name in ("guidance", "semantic_weight", "temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= MOST):
                raise UsageError(f"{name} = {value}", f"give a number from 0 to {MOST}")
        if 0 < self.temperature < LEAST_TEMPERATURE:
            raise UsageError(
                f"temperature = {self.temperature}",
                f"0 for greedy, or at least {LEAST_TEMPERATURE}",
            )
        if self.n < 1:
            raise UsageError(f"n = {self.n}", "ask for at least one picture")
        if not 0 <= self.seed <= 2**63 - self.n:
            raise UsageError(f"seed = {self.seed}", "give a seed from 0 to 2^63 - n")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top_k = {self.top_k}", "give at least 1, or leave it out")
        if not 1 <= self.speculate <= MOST_SPECULATED:
            raise UsageError(f"speculate = {self.speculate}", f"give 1 to {MOST_SPECULATED}")
