"""Fine-tuning: one loop, from codes to checkpoints, in one process or in many.

Every draw is a function of (seed, step, row), so a resumed run continues to the bit as if it had never
stopped, and what is drawn does not depend on micro-batches or on how many processes share the step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from janus4o.errors import DataError, Interrupted, Janus4oError, RecipeError
from janus4o.model.loading import JanusModel
from janus4o.signals import draining
from janus4o.train.batch import Batch, Example, Kind, collate, hide, row_generator
from janus4o.train.card import write_card
from janus4o.train.checkpoints import (
    Saver,
    check_origin,
    checkpoint_folder,
    list_steps,
    origin_of,
    prune,
    restore_optimizer,
    restore_weights,
)
from janus4o.train.codes import Codes
from janus4o.train.dataset import Dataset, hold_out, rows_of_step
from janus4o.train.division import divide
from janus4o.train.gradients import Gradients, attention_for_training
from janus4o.train.learnt import PARTS, make_optimizer, prepare, set_rate
from janus4o.train.metrics import Log, Metrics, worst
from janus4o.train.presets import Settings
from janus4o.train.ranks import ALONE, Ranks, noticing
from janus4o.train.schedule import rate_at, total_steps
from janus4o.train.sharding import shard


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
    sample: Callable[[Path, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
    ranks: Ranks = ALONE,
) -> Result:
    """Fine-tunes `model` in place, going on from the newest checkpoint in `folder`.

    Args:
        model: the weights; all but the picture tokenizer are trained, or what the settings say.
        codes: the data set, encoded for this model.
        folder: the run folder; gets `checkpoints/<step>/` and `metrics.jsonl`.
        on_step: called with the metrics of each step and the number of steps in all.
        sample: called with each checkpoint's folder and its step, in the first process; the others
            wait meanwhile.
        stop: asked after each step; True writes a checkpoint and raises Interrupted. So does a
            SIGINT or SIGTERM (where this is the main thread); a second one stops at once.
        ranks: this process among those that train together.

    Raises:
        DataError: the codes are not of this model.
        RecipeChanged: the checkpoints in `folder` are of another training.
        CheckpointError: the newest checkpoint is damaged.
        Interrupted: stopped, or another process is gone; call again to go on.
        Janus4oError: the loss is no longer a number; names the rows.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = Dataset(codes, model)
    if settings.validation >= len(data):
        raise DataError(
            f"train.validation holds out {settings.validation:,} of {len(data):,} rows",
            "hold out fewer",
        )
    kept, held = hold_out(len(data), settings.validation, settings.seed)
    steps = total_steps(settings, len(kept))
    origin = origin_of(settings, steps, codes.digest, model.name)

    is_cut = settings.shard == "full" and ranks.world > 1
    if ranks.world > 1 and settings.optimizer == "adamw_8bit":
        # It rounds by chance, each process in its own way: copies of the weights would drift apart.
        raise RecipeError(
            "train.optimizer adamw_8bit is for one process", "several cut adamw's moments anyway"
        )
    if is_cut and (settings.lora is not None or settings.weights == "bf16"):
        raise RecipeError("train.shard full needs float32 weights and no lora", "use shard: none")
    learnt = prepare(model, settings)
    saved = ranks.from_first(list_steps(folder))
    newest = checkpoint_folder(folder, saved[-1]) if saved else None
    if newest is not None:
        check_origin(newest, origin)
        if ranks.is_first:
            prune(folder, settings.keep_checkpoints)  # a kill may have come between saving and that
        restore_weights(newest, model)
    forward = None
    if is_cut:
        forward = shard(model.network, ranks, settings.precision)
        learnt = {name: p for name, p in model.network.named_parameters() if name in learnt}
    optimizer = make_optimizer(settings, learnt)
    if newest is not None:
        restore_optimizer(newest, learnt, optimizer, ranks)
    first = done = saved[-1] if saved else 0

    parameters = list(learnt.values())
    # LoRA's dropout and rounding by chance draw from torch's own generator, one thread at a time.
    is_dropped = settings.lora is not None and settings.lora.dropout > 0
    draws = is_dropped or settings.optimizer == "adamw_8bit"
    workers = 1 if is_dropped else settings.workers
    gradients = Gradients(model.network, parameters, settings.precision, workers, forward)
    rows_loader = _Rows(settings, data, model, ranks, held.tolist(), is_cut)
    supervised = model.geometry.tokens - (0 if settings.first_token else 1)
    saver = Saver(folder, model, learnt, optimizer, origin, settings.keep_checkpoints, ranks)
    log = Log(folder, done, settings.spike, settings.tracker) if ranks.is_first else None
    model.network.train()
    model.network.model.vqmodel.eval()
    try:
        with (
            noticing(ranks),
            attention_for_training(model.network, bool(settings.packing)),
            draining() as interrupted,
        ):
            while done < steps:
                saver.check()
                began = time.perf_counter()
                drawn = rows_of_step(done, settings.batch, len(kept), settings.seed)
                rows = kept[drawn].tolist()
                share = rows_loader.of_step(done, rows)
                if draws:
                    torch.manual_seed(_seed_of(settings.seed, done, ranks.rank))
                sums = gradients.add(share.batches, share.weights)
                if not is_cut:
                    ranks.add_gradients(parameters)
                elif not ranks.any(share.looks, model.device):
                    _forget_unseen(learnt)
                losses_B = _by_place(share.places, sums, len(rows), model.device, ranks)
                norm = _clip(parameters, settings.clip)
                loss = losses_B.mean().item() / supervised
                if not (math.isfinite(loss) and math.isfinite(norm)):
                    named = worst(losses_B.tolist(), [data.name(row) for row in rows], 3)
                    raise Janus4oError(
                        f"the loss is {loss} and its gradient {norm} at step {done + 1}; "
                        f"worst {'; '.join(named)}",
                        "lower train.rate or use train.precision=fp32, and train again",
                    )
                rate = rate_at(done, steps, settings)
                set_rate(optimizer, rate)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                done += 1

                seen = {}
                if len(held) and (done == steps or done % settings.validate_every == 0):
                    seen = rows_loader.validate(gradients, supervised)
                is_edit = torch.tensor([data.size(row).kind is Kind.EDIT for row in rows])
                spike: tuple[str, ...] = ()
                if log is not None and log.stands_out(loss):
                    per_code = (losses_B / supervised).tolist()
                    spike = worst(per_code, [data.name(row) for row in rows])
                metrics = Metrics(
                    step=done,
                    loss=loss,
                    t2i_loss=_mean(losses_B[~is_edit], supervised),
                    edit_loss=_mean(losses_B[is_edit], supervised),
                    rate=rate,
                    grad_norm=norm,
                    seconds=time.perf_counter() - began,
                    tokens=sum(data.size(row).length for row in rows),
                    validation=seen,
                    spike=spike,
                )
                if log is not None:
                    log.write(metrics)
                if on_step and ranks.is_first:
                    on_step(metrics, steps)

                wanted = interrupted() or (stop is not None and stop())
                stopped = ranks.any(wanted, model.device)
                if done == steps or done % settings.checkpoint_every == 0 or stopped:
                    if log is not None:
                        log.sync()
                    card = write_card(settings, codes, model.name, done, steps, metrics)
                    saver.save(done, card)
                    if sample and ranks.is_first and not stopped:
                        saver.wait()
                        sample(checkpoint_folder(folder, done), done)
                if stopped and done < steps:
                    saver.wait()
                    raise Interrupted(f"stopped after step {done} of {steps}", "run again to go on")
            saver.wait()
    finally:
        saver.close()
        if log is not None:
            log.close()
    model.network.eval()
    last = checkpoint_folder(folder, steps)
    return Result(last, steps, steps - first, tuple(data.problems))


@dataclass(frozen=True, slots=True)
class _Share:
    """What this process computes of a step.

    Attributes:
        batches: its micro-batches; `weights` what their summed losses are divided by.
        places: for each batch, the places in the step of its rows; None for a batch that is computed
            only because the other processes need company.
    """

    batches: list[Batch]
    weights: list[float]
    places: list[list[int] | None]

    @property
    def looks(self) -> bool:
        """Does any row show the model a picture?"""
        return any(
            places is not None and batch.pictures_PSS3.numel()
            for batch, places in zip(self.batches, self.places, strict=True)
        )


class _Rows:
    """Lays rows into this process's micro-batches, for training and for validation."""

    def __init__(
        self,
        settings: Settings,
        data: Dataset,
        model: JanusModel,
        ranks: Ranks,
        held: Sequence[int],
        in_company: bool,
    ) -> None:
        self._settings, self._data, self._ranks = settings, data, ranks
        self._pad, self._device = model.geometry.pad, model.device
        self._network = model.network
        self._held = list(held)
        self._in_company = in_company
        self._supervised = model.geometry.tokens - (0 if settings.first_token else 1)

    def of_step(self, step: int, rows: Sequence[int]) -> _Share:
        settings = self._settings

        def example(place: int) -> Example:
            rng = row_generator(settings.seed, step, place)
            return hide(self._data[rows[place]], settings.dropout, self._pad, rng)

        exact = settings.accumulation == "exact"
        groups, count = self._divide(rows, in_order=not exact)
        share = self._lay(groups, rows, example)
        targets = len(rows) * self._supervised
        for number, (batch, places) in enumerate(zip(share.batches, share.places, strict=True)):
            if places is not None:
                share.weights[number] = targets if exact else batch.targets * count
        return share

    def validate(self, gradients: Gradients, supervised: int) -> dict[str, float]:
        """Task → mean loss of the rows held out, with nothing hidden from the model."""
        rows = self._held
        share = self._lay(self._divide(rows)[0], rows, lambda place: self._data[rows[place]])
        self._network.eval()
        try:
            sums = [gradients.losses(batch) for batch in share.batches]
        finally:
            self._network.train()
            self._network.model.vqmodel.eval()
        losses = _by_place(share.places, sums, len(rows), self._device, self._ranks)
        of_task: dict[str, list[float]] = {}
        for row, loss in zip(rows, losses.tolist(), strict=True):
            of_task.setdefault(self._data.task(row), []).append(loss / supervised)
        return {task: sum(found) / len(found) for task, found in sorted(of_task.items())}

    def _divide(self, rows: Sequence[int], in_order: bool = False) -> tuple[list[list[int]], int]:
        """The groups of this process, and how many groups with rows there are in all."""
        sizes = [self._data.size(row) for row in rows]
        settings = self._settings
        all_ = divide(sizes, settings.micro_batch, settings.packing, self._ranks.world, in_order)
        return all_[self._ranks.rank], sum(bool(group) for groups in all_ for group in groups)

    def _lay(
        self,
        groups: Sequence[list[int]],
        rows: Sequence[int],
        example: Callable[[int], Example],
    ) -> _Share:
        share = _Share([], [], [])
        for group in groups:
            if not group and not self._in_company:
                continue
            examples = [example(place) for place in group or [self._smallest(rows)]]
            share.batches.append(
                collate(
                    examples, self._pad, self._settings.first_token, bool(self._settings.packing)
                )
            )
            share.weights.append(math.inf)  # of company: it counts for nothing
            share.places.append(group or None)
        return share

    def _smallest(self, rows: Sequence[int]) -> int:
        return min(range(len(rows)), key=lambda place: self._data.size(rows[place]).length)


def _by_place(
    places: Sequence[list[int] | None],
    sums: Sequence[Tensor],
    rows: int,
    device: torch.device,
    ranks: Ranks,
) -> Tensor:
    """Summed loss of each row of the step by its place, float64 [B], on the CPU of every process."""
    losses = torch.zeros(rows, dtype=torch.float64)
    for group, found in zip(places, sums, strict=True):
        if group is not None:
            losses[group] = found.double()
    return ranks.add_up(losses.to(device)).cpu() if ranks.world > 1 else losses


def _forget_unseen(learnt: dict[str, nn.Parameter]) -> None:
    """Takes away the zeros that stand for the gradients of parts no row of the step used.

    Without a gradient the optimiser leaves a weight alone; with zeros it would still shrink it.
    """
    for name, parameter in learnt.items():
        if name.startswith((*PARTS["vision"], *PARTS["aligner"])):
            parameter.grad = None


def _seed_of(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed % 2**64, step, rank]).generate_state(1, np.uint64)[0])


def _clip(parameters: Sequence[nn.Parameter], limit: float) -> float:
    """Clips the gradient to an L2 norm of `limit` over all processes; returns its norm before."""
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    return norm.item()


def _mean(row_sums: Tensor, supervised: int) -> float | None:
    return row_sums.mean().item() / supervised if len(row_sums) else None
