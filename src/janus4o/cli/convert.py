"""`janus4o convert`: a checkpoint in the other format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import console
from janus4o.errors import UsageError


class Format(StrEnum):
    OFFICIAL = "official"
    TRANSFORMERS = "transformers"


class Dtype(StrEnum):
    STORED = "stored"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def command(
    source: Annotated[str, typer.Argument(help="A checkpoint folder, a hub id, or sketch-base.")],
    target: Annotated[Path, typer.Argument(help="Folder to write; replaced if a checkpoint.")],
    format: Annotated[
        Format,
        typer.Option(help="official: DeepSeek's multi_modality; transformers: model_type janus."),
    ],
    dtype: Annotated[Dtype, typer.Option(help="Of the stored weights.")] = Dtype.STORED,
) -> None:
    """Write a checkpoint again, in DeepSeek's own format or in that of transformers.

    Weights keep their bits unless another dtype is asked for. The folder appears whole or not at all.
    """
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise UsageError(f"{str(target)!r} is the source itself", "name another folder")
    import torch

    from janus4o.model.convert import convert

    number = None if dtype is Dtype.STORED else getattr(torch, dtype.value)
    convert(source, target, format.value, number)
    console.say(str(target))
