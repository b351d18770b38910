"""`janus4o edit`: a picture changed as told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import pictures
from janus4o.errors import UsageError
from janus4o.prompt import check


def command(
    words: Annotated[list[str], typer.Argument(metavar="IMAGE... INSTRUCTION")],
    n: pictures.CountOption = 1,
    seed: pictures.SeedOption = 0,
    model: pictures.ModelOption = "sketch-base",
    out: pictures.OutOption = Path("pictures"),
    guidance: pictures.GuidanceOption = None,
    semantic_weight: Annotated[
        float | None,
        typer.Option(help="Lower keeps more of the source; 0 the most. Default: the model's own."),
    ] = None,
    temperature: pictures.TemperatureOption = 1.0,
    top_k: pictures.TopKOption = None,
    device: pictures.DeviceOption = "auto",
    dtype: pictures.DtypeOption = "auto",
    weights: pictures.WeightsOption = "auto",
    speculate: pictures.SpeculateOption = 1,
    as_json: pictures.JsonOption = False,
) -> None:
    """Change one or more source pictures by an instruction, the last argument."""
    *sources, instruction = words
    if not sources:
        raise UsageError(
            "edit needs a source picture and an instruction",
            'for example janus4o edit circle.png "make it blue"',
        )
    if os.path.isfile(instruction):
        raise UsageError(
            f"the last argument, {instruction!r}, is a file, not an instruction",
            'put the instruction last, for example "make it blue"',
        )
    check(instruction, "instruction")  # before a model is loaded for nothing
    from janus4o.images import open_image

    opened = [open_image(Path(source)) for source in sources]
    janus = pictures.load(model, device, dtype, weights)
    from janus4o.generate.options import GenerateOptions

    options = GenerateOptions(
        guidance=janus.guidance_or(guidance),
        semantic_weight=janus.semantic_weight_or(semantic_weight),
        temperature=temperature,
        n=n,
        seed=seed,
        top_k=top_k,
        speculate=speculate,
    )
    pictures.warn_about_words(janus, [instruction])
    made = janus.edit_with([(opened, instruction)], options)
    pictures.write(made, janus, options, out, as_json=as_json, weights=weights, sources=sources)
