"""Fine-tuning: one loop, from codes to checkpoints.

Every draw is a function of (seed, step, row), so a resumed run continues to the bit as if it had never
stopped, and what is drawn does not depend on micro-batches.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from janus4o.errors import Interrupted, Janus4oError
from janus4o.files import sync_file, write_atomic
from janus4o.model.loading import JanusModel
from janus4o.signals import draining
from janus4o.train.batch import collate, hide, row_generator, split
from janus4o.train.checkpoints import (
    check_origin,
    checkpoint_folder,
    list_steps,
    origin_of,
    prune,
    restore_checkpoint,
    save_checkpoint,
)
from janus4o.train.codes import Codes
from janus4o.train.dataset import Dataset, rows_of_step
from janus4o.train.gradients import Gradients, attention_for_training
from janus4o.train.presets import Settings
from janus4o.train.schedule import rate_at, total_steps

METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Metrics:
    """One optimiser step; a line of metrics.jsonl.

    Attributes:
        step: 1 for the first.
        loss: nats, mean over the step's supervised codes, measured before the update.
        t2i_loss, edit_loss: the same over one kind of row; None where the step had none.
        rate: learning rate of the update.
        grad_norm: L2 norm of the whole gradient before clipping.
        seconds: wall time of the step.
        tokens: positions computed, padding left out.
    """

    step: int
    loss: float
    t2i_loss: float | None
    edit_loss: float | None
    rate: float
    grad_norm: float
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Result:
    """A finished training.

    Attributes:
        checkpoint: the last one.
        steps: optimiser steps in all; `trained` of them in this call.
        problems: rows left out, one line each.
    """

    checkpoint: Path
    steps: int
    trained: int
    problems: tuple[str, ...]


def train(
    settings: Settings,
    model: JanusModel,
    codes: Codes,
    folder: str | Path,
    on_step: Callable[[Metrics, int], None] | None = None,
    sample: Callable[[JanusModel, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Result:
    """Fine-tunes `model` in place, going on from the newest checkpoint in `folder`.

    Args:
        model: float32 weights; all but the picture tokenizer are trained.
        codes: the data set, encoded for this model.
        folder: the run folder; gets `checkpoints/<step>/` and `metrics.jsonl`.
        on_step: called with the metrics of each step and the number of steps in all.
        sample: called with the model and the step after each checkpoint.
        stop: asked after each step; True writes a checkpoint and raises Interrupted. So does a
            SIGINT or SIGTERM (where this is the main thread); a second one stops at once.

    Raises:
        DataError: the codes are not of this model.
        RecipeChanged: the checkpoints in `folder` are of another training.
        CheckpointError: the newest checkpoint is damaged.
        Interrupted: stopped; call again to go on.
        Janus4oError: the loss is no longer a number.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = Dataset(codes, model)
    steps = total_steps(settings, len(data))
    origin = origin_of(settings, steps, codes.digest, model.name)
    learnt = learnt_parameters(model)
    optimizer = make_optimizer(settings, learnt)
    gradients = Gradients(
        model.network, list(learnt.values()), settings.precision, settings.workers
    )
    pad = model.geometry.pad

    done = 0
    if saved := list_steps(folder):
        newest = checkpoint_folder(folder, saved[-1])
        check_origin(newest, origin)
        prune(folder, settings.keep_checkpoints)  # a kill may have come between saving and that
        restore_checkpoint(newest, model, optimizer)
        done = saved[-1]
    first = done
    _cut_metrics(folder / METRICS, done)

    model.network.train()
    model.network.model.vqmodel.eval()
    with (
        (folder / METRICS).open("a", encoding="utf-8") as log,
        attention_for_training(model.network),
        draining() as interrupted,
    ):
        while done < steps:
            began = time.perf_counter()
            rate = rate_at(done, steps, settings)
            rows = rows_of_step(done, settings.batch, len(data), settings.seed)
            examples = [
                hide(data[row], settings.dropout, pad, row_generator(settings.seed, done, place))
                for place, row in enumerate(rows.tolist())
            ]
            exact = settings.accumulation == "exact"
            groups = list(split(examples, settings.micro_batch, bucket=exact))
            batches = [collate(group, pad, settings.first_token) for group in groups]
            targets = sum(batch.targets for batch in batches)
            weights = [targets if exact else b.targets * len(batches) for b in batches]
            sums = gradients.add(batches, weights)
            norm = nn.utils.clip_grad_norm_(learnt.values(), settings.clip).item()

            row_sums, is_edit = torch.cat(sums), torch.cat([batch.edit_R for batch in batches])
            supervised = model.geometry.tokens - (0 if settings.first_token else 1)
            loss = row_sums.mean().item() / supervised
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise Janus4oError(
                    f"the loss is {loss} and its gradient {norm} at step {done + 1}",
                    "lower train.rate or use train.precision=fp32, and train again",
                )
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            done += 1

            metrics = Metrics(
                step=done,
                loss=loss,
                t2i_loss=_mean(row_sums[~is_edit], supervised),
                edit_loss=_mean(row_sums[is_edit], supervised),
                rate=rate,
                grad_norm=norm,
                seconds=time.perf_counter() - began,
                tokens=sum(batch.tokens for batch in batches),
            )
            log.write(json.dumps(asdict(metrics)) + "\n")
            log.flush()
            if on_step:
                on_step(metrics, steps)

            stopped = interrupted() or (stop is not None and stop())
            if done == steps or done % settings.checkpoint_every == 0 or stopped:
                sync_file(log)  # a checkpoint must not outlive the lines of its steps
                save_checkpoint(folder, done, model, optimizer, origin, settings.keep_checkpoints)
                if sample:
                    sample(model, done)
            if stopped and done < steps:
                raise Interrupted(f"stopped after step {done} of {steps}", "run again to go on")
    model.network.eval()
    last = checkpoint_folder(folder, steps)
    return Result(last, steps, steps - first, tuple(data.problems))


def learnt_parameters(model: JanusModel) -> dict[str, nn.Parameter]:
    """All weights but the picture tokenizer's, which are frozen: codes must keep their meaning."""
    model.network.requires_grad_(True)
    model.network.model.vqmodel.requires_grad_(False)
    return {name: p for name, p in model.network.named_parameters() if p.requires_grad}


def make_optimizer(settings: Settings, learnt: dict[str, nn.Parameter]) -> torch.optim.AdamW:
    """AdamW with weight decay where the settings want it."""

    def decays(name: str, parameter: nn.Parameter) -> bool:
        if settings.decay == "matrices":
            return parameter.ndim > 1
        return "bias" not in name

    shrunk = [p for name, p in learnt.items() if decays(name, p)]
    kept = [p for name, p in learnt.items() if not decays(name, p)]
    return torch.optim.AdamW(
        [
            {"params": shrunk, "weight_decay": settings.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ],
        lr=settings.rate,
        betas=settings.betas,
        fused=True,
    )


def _mean(row_sums: Tensor, supervised: int) -> float | None:
    return row_sums.mean().item() / supervised if len(row_sums) else None


def _cut_metrics(path: Path, steps: int) -> None:
    """Leaves the lines of the first `steps` steps: later ones were trained, then lost."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text("utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= steps:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            break  # the line being written when the run was killed
    write_atomic(path, "".join(kept).encode())
