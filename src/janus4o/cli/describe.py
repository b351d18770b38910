"""`janus4o describe`: a question about a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import console, pictures
from janus4o.prompt import check


def command(
    image: Annotated[Path, typer.Argument(help="The picture.")],
    question: Annotated[str, typer.Argument(help="What to ask.")],
    model: pictures.ModelOption = "sketch-base",
    longest: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 256,
    device: pictures.DeviceOption = "auto",
    dtype: pictures.DtypeOption = "auto",
    weights: pictures.WeightsOption = "auto",
    as_json: pictures.JsonOption = False,
) -> None:
    """Ask a model a question about a picture."""
    check(question, "question")  # before a model is loaded for nothing
    from janus4o.images import open_image

    opened = open_image(image)
    janus = pictures.load(model, device, dtype, weights)
    pictures.warn_about_words(janus, [question])
    answer = janus.describe(opened, question, longest)
    if as_json:
        console.json({"question": question, "answer": answer, "model": janus.name})
    else:
        console.say(answer)
