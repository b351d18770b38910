"""What is asked of a model under test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from PIL import Image

from janus4o.scored import HeldOut, Kind


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt, one sample, no second try.

    Attributes:
        task: a GenEval tag ("two_object") or an editing kind ("recolour").
        number: position among the questions of its task, from 0.
        prompt: the caption, or for an edit the instruction.
        seed: seed of the one sample.
        source: the picture to edit; None means text-to-image.
    """

    task: str
    number: int
    prompt: str
    seed: int
    held_out: HeldOut
    source: Image.Image | None = field(default=None, repr=False)

    @property
    def kind(self) -> Kind:
        return Kind.TEXT_TO_IMAGE if self.source is None else Kind.EDIT

    @property
    def name(self) -> str:
        """File name of its pictures, without folder and ending."""
        return f"{self.task}-{self.number:04d}"

    def fingerprint(self) -> str:
        """Hash of everything an answer depends on."""
        digest = hashlib.sha256(
            "\0".join(
                (self.task, str(self.number), self.prompt, str(self.seed), self.held_out.value)
            ).encode()
        )
        if self.source is not None:
            digest.update(repr(self.source.size).encode() + self.source.tobytes())
        return digest.hexdigest()
