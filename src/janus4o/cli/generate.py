"""`janus4o generate`: pictures from prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import console, pictures
from janus4o.errors import PromptError, UsageError
from janus4o.prompt import check


def command(
    prompts: Annotated[list[str] | None, typer.Argument(metavar="PROMPT...")] = None,
    prompts_file: Annotated[
        Path | None, typer.Option("--prompts", help="A text file, one prompt a line.")
    ] = None,
    n: pictures.CountOption = 1,
    seed: pictures.SeedOption = 0,
    model: pictures.ModelOption = "sketch-base",
    out: pictures.OutOption = Path("pictures"),
    guidance: pictures.GuidanceOption = None,
    temperature: pictures.TemperatureOption = 1.0,
    top_k: pictures.TopKOption = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures computed at once; changes no result.")
    ] = None,
    device: pictures.DeviceOption = "auto",
    dtype: pictures.DtypeOption = "auto",
    weights: pictures.WeightsOption = "auto",
    speculate: pictures.SpeculateOption = 1,
    as_json: pictures.JsonOption = False,
) -> None:
    """Pictures from prompts, saved as PNGs that carry prompt, seed and model."""
    texts = [*(prompts or []), *(_lines(prompts_file) if prompts_file else [])]
    for text in texts:  # before a model is loaded for nothing
        check(text)
    if not texts:
        raise UsageError("no prompt was given", 'for example janus4o generate "a red circle"')
    janus = pictures.load(model, device, dtype, weights)
    from janus4o.generate.options import GenerateOptions

    options = GenerateOptions(
        guidance=janus.guidance_or(guidance),
        temperature=temperature,
        n=n,
        seed=seed,
        top_k=top_k,
        speculate=speculate,
    )
    pictures.warn_about_words(janus, texts)
    with console.progress(len(texts) * n, "generate", "pictures") as progress:
        made = janus.generate_with(
            texts, options, batch, progress=lambda done, _total: progress.update(done)
        )
    pictures.write(made, janus, options, out, as_json=as_json, weights=weights)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise PromptError(
            f"cannot read {str(path)!r}: {error.strerror}", "check the name"
        ) from error
    except UnicodeDecodeError as error:
        raise PromptError(f"{str(path)!r} is not UTF-8 text", "save it as UTF-8") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise PromptError(f"{str(path)!r} holds no prompt", "write one prompt a line")
    return texts
