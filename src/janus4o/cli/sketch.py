"""`janus4o sketch`: the offline world's own verbs. `pretrain` makes the base that is shipped."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import console

app = typer.Typer(no_args_is_help=True, help="The offline world: how its base was made.")


@app.callback()
def _verbs() -> None:
    """The offline world: how its base was made."""


@app.command("pretrain")
def pretrain(
    out: Annotated[Path, typer.Option("--out", help="Where the checkpoint goes.")] = Path(
        "runs/sketch-base"
    ),
    share: Annotated[
        float,
        typer.Option(
            "--share", min=0.001, max=1.0, help="Do only this share of the steps, to try it out."
        ),
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of data and weights.")] = 0,
) -> None:
    """Make the base of the offline world from nothing: picture tokenizer, then model.

    The shipped `sketch-base` was made by these functions in three legs,
    while the mixture was still being found; docs/log.md has each.
    """
    from dataclasses import asdict, replace

    import torch

    from janus4o.files import write_atomic
    from janus4o.model.loading import new_model, save_model
    from janus4o.sketch.grammar import VOCABULARY
    from janus4o.train import pretrain as base
    from janus4o.train import tokenizer

    begun = time.monotonic()
    model = new_model(VOCABULARY, seed=seed)
    codes = tokenizer.TokenizerOptions(seed=seed)
    codes = replace(
        codes,
        autoencoder_steps=_part(codes.autoencoder_steps, share),
        code_steps=_part(codes.code_steps, share),
        decoder_steps=_part(codes.decoder_steps, share),
    )
    console.heading("picture tokenizer")
    tokenizer.train_tokenizer(
        model.network.model.vqmodel,
        model.geometry.image_size,
        model.geometry.patch_size,
        codes,
        console.note,
    )
    options = base.BaseOptions(seed=seed)
    options = replace(options, steps=_part(options.steps, share))
    console.heading("base")
    base.pretrain(model, options, console.note)
    save_model(model, out, torch.float16)
    made = {
        "tokenizer": asdict(codes),
        "base": asdict(options),
        "torch": torch.__version__,
        "seconds": round(time.monotonic() - begun),
    }
    write_atomic(out / "made.json", (json.dumps(made, indent=2) + "\n").encode())
    console.say(f"{out}: use it with model.init={out}")


def _part(steps: int, share: float) -> int:
    return max(1, round(steps * share))
