"""The three presets of fine-tuning, made concrete.

Where they differ (everything else is the recipe's, whose defaults are the paper's numbers):

| setting          | official   | paper      | corrected | why the correction                           |
|------------------|------------|------------|-----------|----------------------------------------------|
| first_token      | no         | no         | yes       | image token 0 is sampled, so it must be      |
|                  |            |            |           | learnt; the script shifts its labels twice   |
| fit              | letterbox  | letterbox  | crop      | targets with grey bars teach grey bars       |
| accumulation     | micro_means| exact      | exact     | every target counts the same, whatever the   |
|                  |            |            |           | micro-batches                                |
| decay            | not_biases | not_biases | matrices  | "LayerNorm.weight" matches no Llama norm, so |
|                  |            |            |           | the script shrinks all norms                 |
| warmup_from_zero | yes        | yes        | no        | the script's first update has rate 0         |
| dropout.unit     | block      | token      | block     | guidance needs a branch without any prompt   |
| dropout.prompt   | 0.1        | 0.1        | 0.1       |                                              |
| dropout.source   | 0.5        | 0.5        | 0.5       |                                              |
| dropout.null     | 0          | 0          | 0.1       | edits subtract an all-padding branch that the|
|                  |            |            |           | script never trains                          |

Two things of the script no preset imitates. It leaves the picture tokenizer in the optimiser; here
it is always frozen, or the codes made before training would stop meaning what they meant. And under
accelerate ≥ 1.8 it steps after every micro-batch instead of after the whole batch; that is an accident
of versions, to be had with a smaller `batch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from janus4o.errors import RecipeError
from janus4o.recipe import Dropout, Lora, Recipe, Train

Fit = Literal["letterbox", "crop"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Every choice of a training run, none left open.

    Attributes:
        steps: optimiser steps, or None for `epochs` passes over the data.
        batch, micro_batch: rows an optimiser step; rows computed at once (None: all).
        rate, min_rate, warmup: peak rate; fraction of it at the end; fraction of steps to rise.
        warmup_from_zero: the first update has rate 0.
        weight_decay, decay: strength, and on what: `matrices` only (two or more dimensions), or
            everything that is `not_biases`.
        clip: largest L2 norm of the whole gradient.
        fit: how pictures are brought to the model's square.
        first_token: whether token 0 of the target, predicted from <begin_of_image>, is supervised.
        accumulation: `exact` is the mean over all targets of the batch; `micro_means` the mean of
            the micro-batches' means, rows in the order drawn.
        dropout: what is hidden, how often; see janus4o.recipe.Dropout.

    The rest is the recipe's; see janus4o.recipe.Train.
    """

    preset: Literal["official", "paper", "corrected"]
    steps: int | None
    epochs: float
    batch: int
    micro_batch: int | None
    rate: float
    min_rate: float
    warmup: float
    warmup_from_zero: bool
    weight_decay: float
    decay: Literal["matrices", "not_biases"]
    betas: tuple[float, float]
    clip: float
    fit: Fit
    first_token: bool
    accumulation: Literal["exact", "micro_means"]
    dropout: Dropout
    precision: Literal["fp32", "bf16"]
    workers: int
    checkpoint_every: int
    keep_checkpoints: int
    seed: int
    packing: int | None
    lora: Lora | None
    freeze: tuple[str, ...]
    weights: Literal["fp32", "bf16"]
    optimizer: Literal["adamw", "adamw_8bit"]
    recompute: Literal["none", "selective", "layers"]
    shard: Literal["none", "full"]
    validation: int
    validate_every: int
    spike: float
    tracker: Literal["tensorboard", "trackio"] | None


_SCRIPT: dict[str, Any] = {
    "first_token": False,
    "fit": "letterbox",
    "accumulation": "micro_means",
    "decay": "not_biases",
    "warmup_from_zero": True,
    "dropout": {"unit": "block", "prompt": 0.1, "source": 0.5, "null": 0.0},
}

_PRESETS: dict[str, dict[str, Any]] = {
    "official": _SCRIPT,
    "paper": {
        **_SCRIPT,
        "accumulation": "exact",
        "dropout": {"unit": "token", "prompt": 0.1, "source": 0.5, "null": 0.0},
    },
    "corrected": {
        "first_token": True,
        "fit": "crop",
        "accumulation": "exact",
        "decay": "matrices",
        "warmup_from_zero": False,
        "dropout": {"unit": "block", "prompt": 0.1, "source": 0.5, "null": 0.1},
    },
}


def resolve(train: Train) -> Settings:
    """The preset's values, overridden by every value the recipe gives."""
    values: dict[str, Any] = dict(_PRESETS[train.preset])
    values["dropout"] = Dropout(
        **{
            **values["dropout"],
            **(train.dropout.model_dump(exclude_unset=True) if train.dropout else {}),
        }
    )
    for name in ("first_token", "decay", "accumulation"):
        if getattr(train, name) is not None:
            values[name] = getattr(train, name)
    settings = Settings(
        preset=train.preset,
        steps=train.steps,
        epochs=train.epochs,
        batch=train.batch,
        micro_batch=train.micro_batch,
        rate=train.rate,
        min_rate=train.min_rate,
        warmup=train.warmup,
        weight_decay=train.weight_decay,
        betas=train.betas,
        clip=train.clip,
        precision=train.precision,
        workers=train.workers,
        checkpoint_every=train.checkpoint_every,
        keep_checkpoints=train.keep_checkpoints,
        seed=train.seed,
        packing=train.packing,
        lora=train.lora,
        freeze=tuple(train.freeze),
        weights=train.weights,
        optimizer=train.optimizer,
        recompute=train.recompute,
        shard=train.shard or ("none" if train.lora else "full"),
        validation=train.validation,
        validate_every=train.validate_every,
        spike=train.spike,
        tracker=train.tracker,
        **values,
    )
    if settings.packing and settings.accumulation == "micro_means":
        raise RecipeError(
            f"train.packing needs train.accumulation=exact; preset {settings.preset!r} has "
            "micro_means",
            "add train.accumulation=exact, or take packing away",
        )
    return settings


def resolve_fit(recipe: Recipe) -> Fit:
    """How pictures are fitted: `model.fit` where the recipe gives it, else the preset's."""
    if "fit" in recipe.model.model_fields_set:
        return recipe.model.fit
    return resolve(recipe.train).fit
