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
from janus4o.train.batch import Batch, Example, Ints, Kind, collate, hide, row_generator
from janus4o.train.card import write_card
from janus4o.train.checkpoints import (
    Origin,
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
from janus4o.train.loss import Losses
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
    kept, held = _hold_out(settings, data)
    steps = total_steps(settings, len(kept))
    origin = origin_of(settings, steps, codes.digest, model.name)
    learner = _begin(settings, model, folder, origin, ranks)
    rows = _Rows(settings, data, model, ranks, held.tolist(), learner.is_cut)
    stepper = _Stepper(settings, model, learner, rows, kept, steps, ranks)
    saver = Saver(
        folder,
        model,
        learner.learnt,
        learner.optimizer,
        origin,
        settings.keep_checkpoints,
        ranks,
    )
    done = learner.done
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
                metrics = stepper.take(done, log)
                done += 1
                if log is not None:
                    log.write(metrics)
                if on_step and ranks.is_first:
                    on_step(metrics, steps)

                wanted = interrupted() or (stop is not None and stop())
                stopped = ranks.any(wanted, model.device)
                if done == steps or done % settings.checkpoint_every == 0 or stopped:
                    if log is not None:
                        log.sync()
                    saver.save(done, write_card(settings, codes, model.name, done, steps, metrics))
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
    return Result(last, steps, steps - learner.done, tuple(data.problems))


def _hold_out(settings: Settings, data: Dataset) -> tuple[Ints, Ints]:
    """The rows trained on, and those held out."""
    if settings.validation >= len(data):
        raise DataError(
            f"train.validation holds out {settings.validation:,} of {len(data):,} rows",
            "hold out fewer",
        )
    return hold_out(len(data), settings.validation, settings.seed)


@dataclass(frozen=True, slots=True)
class _Learner:
    """What changes while a model learns.

    Attributes:
        learnt: the weights, by name; with `is_cut` this process's part of each.
        forward: of a network whose weights are cut among processes.
        done: steps it has behind it.
    """

    learnt: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    forward: Callable[[Batch], Losses] | None
    done: int

    @property
    def is_cut(self) -> bool:
        return self.forward is not None


def _begin(
    settings: Settings, model: JanusModel, folder: Path, origin: Origin, ranks: Ranks
) -> _Learner:
    """Makes `model` ready to learn, in place: as it came, or as the newest checkpoint has it."""
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
    return _Learner(learnt, optimizer, forward, saved[-1] if saved else 0)


class _Stepper:
    """Takes optimiser steps, and measures them.

    Args:
        kept: the rows trained on.
        steps: in all.
    """

    def __init__(
        self,
        settings: Settings,
        model: JanusModel,
        learner: _Learner,
        rows: _Rows,
        kept: Ints,
        steps: int,
        ranks: Ranks,
    ) -> None:
        self._settings, self._model, self._learner = settings, model, learner
        self._rows, self._kept, self._steps, self._ranks = rows, kept, steps, ranks
        self._parameters = list(learner.learnt.values())
        # LoRA's dropout and rounding by chance draw from torch's own generator, one thread at a time.
        is_dropped = settings.lora is not None and settings.lora.dropout > 0
        self._draws = is_dropped or settings.optimizer == "adamw_8bit"
        workers = 1 if is_dropped else settings.workers
        self._gradients = Gradients(
            model.network, self._parameters, settings.precision, workers, learner.forward
        )

    def take(self, done: int, log: Log | None) -> Metrics:
        """The step after `done` others, and the validation that is due after it.

        Args:
            log: tells whether its loss stands out.
        """
        began = time.perf_counter()
        drawn = rows_of_step(done, self._settings.batch, len(self._kept), self._settings.seed)
        rows = self._kept[drawn].tolist()
        losses_B = self._add_gradients(done, rows)
        norm = _clip(self._parameters, self._settings.clip)
        per_code_B = losses_B / self._rows.supervised
        loss = losses_B.mean().item() / self._rows.supervised
        if not (math.isfinite(loss) and math.isfinite(norm)):
            named = worst(losses_B.tolist(), self._rows.names(rows), 3)
            raise Janus4oError(
                f"the loss is {loss} and its gradient {norm} at step {done + 1}; "
                f"worst {'; '.join(named)}",
                "lower train.rate or use train.precision=fp32, and train again",
            )
        rate = self._update(done)
        is_edit = self._rows.are_edits(rows)
        stands_out = log is not None and log.stands_out(loss)
        return Metrics(
            step=done + 1,
            loss=loss,
            t2i_loss=_mean(losses_B[~is_edit], self._rows.supervised),
            edit_loss=_mean(losses_B[is_edit], self._rows.supervised),
            rate=rate,
            grad_norm=norm,
            validation=self._validate(done + 1),
            seconds=time.perf_counter() - began,
            tokens=self._rows.positions(rows),
            spike=worst(per_code_B.tolist(), self._rows.names(rows)) if stands_out else (),
        )

    def _add_gradients(self, done: int, rows: Sequence[int]) -> Tensor:
        """Adds up the gradient over all processes; summed loss of each row, float64 [B]."""
        share = self._rows.of_step(done, rows)
        if self._draws:
            torch.manual_seed(_seed_of(self._settings.seed, done, self._ranks.rank))
        sums = self._gradients.add(share.batches, share.weights)
        if not self._learner.is_cut:
            self._ranks.add_gradients(self._parameters)
        elif not self._ranks.any(share.looks, self._model.device):
            _forget_unseen(self._learner.learnt)
        return _by_place(share.places, sums, len(rows), self._model.device, self._ranks)

    def _update(self, done: int) -> float:
        """Moves the weights; returns the learning rate."""
        rate, optimizer = rate_at(done, self._steps, self._settings), self._learner.optimizer
        set_rate(optimizer, rate)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return rate

    def _validate(self, done: int) -> dict[str, float]:
        """Task → loss of the rows held out, where it is due."""
        if done == self._steps or done % self._settings.validate_every == 0:
            return self._rows.validate(self._gradients)
        return {}


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
    """Lays rows into this process's micro-batches, for training and for validation.

    Attributes:
        supervised: codes of a row that are learnt.
    """

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
        self.supervised = model.geometry.tokens - (0 if settings.first_token else 1)

    def names(self, rows: Sequence[int]) -> list[str]:
        return [self._data.name(row) for row in rows]

    def positions(self, rows: Sequence[int]) -> int:
        """How many they fill."""
        return sum(self._data.size(row).length for row in rows)

    def are_edits(self, rows: Sequence[int]) -> Tensor:
        """bool [B]."""
        return torch.tensor([self._data.size(row).kind is Kind.EDIT for row in rows])

    def of_step(self, step: int, rows: Sequence[int]) -> _Share:
        settings = self._settings

        def example(place: int) -> Example:
            rng = row_generator(settings.seed, step, place)
            return hide(self._data[rows[place]], settings.dropout, self._pad, rng)

        exact = settings.accumulation == "exact"
        groups, count = self._divide(rows, in_order=not exact)
        share = self._lay(groups, rows, example)
        targets = len(rows) * self.supervised
        for number, (batch, places) in enumerate(zip(share.batches, share.places, strict=True)):
            if places is not None:
                share.weights[number] = targets if exact else batch.targets * count
        return share

    def validate(self, gradients: Gradients) -> dict[str, float]:
        """Task → mean loss of the rows held out, if any, with nothing hidden from the model."""
        rows = self._held
        if not rows:
            return {}
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
            of_task.setdefault(self._data.task(row), []).append(loss / self.supervised)
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
