"""From one checkpoint format to the other, weights bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from janus4o.model.hub import find_checkpoint
from janus4o.model.stored import Format, open_checkpoint, read_state, write_checkpoint


def convert(
    source: str | Path, folder: str | Path, format: Format, dtype: torch.dtype | None = None
) -> None:
    """Writes a checkpoint again, in `format`.

    Nothing is computed: the codebook keeps its lengths, so that there and back gives the same bits.

    Args:
        source: a folder, a hub id, or "sketch-base", in either format.
        folder: made, or replaced if it holds a checkpoint already.
        dtype: of the stored weights; None keeps each as it is.

    Raises:
        CheckpointError: the source cannot be read, or `folder` holds something else.
    """
    stored = open_checkpoint(find_checkpoint(source))
    state = read_state(stored, dtype)
    write_checkpoint(replace(stored, folder=Path(folder), format=format), state)
