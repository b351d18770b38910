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
    tokenizer_of: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", help="Take the picture tokenizer of this checkpoint, e.g. sketch-base."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of data and weights.")] = 0,
) -> None:
    """Make the base of the offline world from nothing: picture tokenizer, then model.

    The model takes 45 min on two cores; the tokenizer comes on top. docs/log.md says how the shipped `sketch-base` was
    made and what it reached.
    """
    from dataclasses import asdict, replace

    import torch

    from janus4o.files import write_atomic
    from janus4o.model.loading import load_model, new_model, save_model
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
    if tokenizer_of is not None:
        given = load_model(tokenizer_of)
        model.network.model.vqmodel.load_state_dict(given.network.model.vqmodel.state_dict())
        console.note(f"of {tokenizer_of}")
    else:
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
    # Guidance is a habit of fine-tuned models of another size; this one draws best without.
    save_model(replace(model, guidance=1.0, semantic_weight=0.0), out, torch.float16)
    made = {
        "tokenizer": tokenizer_of or asdict(codes),
        "base": asdict(options),
        "torch": torch.__version__,
        "seconds": round(time.monotonic() - begun),
    }
    write_atomic(out / "made.json", (json.dumps(made, indent=2) + "\n").encode())
    console.say(f"{out}: use it with model.init={out}")


def _part(steps: int, share: float) -> int:
    return max(1, round(steps * share))
