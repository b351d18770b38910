"""Checkpoints of a training run: `checkpoints/<step>/`, each complete or not there.

A checkpoint is a model folder like any other (config, tokenizer, weights, README.md) with more in it:

    adapter/              with LoRA: its matrices in PEFT's format; the weights beside have them merged in
    trainer/*.safetensors optimiser moments, each process its part
                          (torch.distributed.checkpoint; read by any number of processes)
    trainer/state.json    step, and what the run was made of; written last

What is to be written is copied when a step ends; the writing itself happens while training goes on.
Older checkpoints are removed only when a newer one is complete.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from janus4o.errors import CheckpointError, RecipeChanged
from janus4o.files import UNFINISHED, new_folder, sync_file, sync_folder, write_atomic
from janus4o.model.loading import JanusModel, load_model, save_model
from janus4o.train.learnt import ADAPTER, has_lora, load_adapter, merged_state, save_adapter
from janus4o.train.presets import Settings
from janus4o.train.ranks import Ranks
from janus4o.train.trainer_state import copied, trainer_state, trainer_template

FOLDER = "checkpoints"
CARD = "README.md"

MAY_CHANGE = (
    "checkpoint_every", "keep_checkpoints", "workers", "recompute", "shard", "validate_every", "spike",
    "tracker",
)  # fmt: skip
"""Settings that a resumed run may change without becoming another run."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run's numbers follow from; the same origin and step give the same weights.

    Attributes:
        settings: of the run, without those that may change.
        steps: optimiser steps in all.
        digest: of the data set.
        model: what training started from.
    """

    settings: dict[str, Any]
    steps: int
    digest: str
    model: str


def origin_of(settings: Settings, steps: int, digest: str, model: str) -> Origin:
    values = {k: v for k, v in asdict(settings).items() if k not in MAY_CHANGE}
    values["dropout"] = settings.dropout.model_dump()
    values["lora"] = settings.lora.model_dump() if settings.lora else None
    values["betas"], values["freeze"] = list(settings.betas), list(settings.freeze)
    return Origin(values, steps, digest, model)


def list_steps(folder: Path) -> list[int]:
    """Steps of the complete checkpoints of a run, in order."""
    found = folder / FOLDER
    if not found.is_dir():
        return []
    return sorted(
        int(path.name)
        for path in found.iterdir()
        if path.name.isdecimal() and (path / "trainer" / "state.json").is_file()
    )


def checkpoint_folder(folder: Path, step: int) -> Path:
    return folder / FOLDER / str(step)


class Saver:
    """Writes the checkpoints of one run, one at a time, beside the training.

    Args:
        keep: how many stay.
    """

    def __init__(
        self,
        folder: Path,
        model: JanusModel,
        learnt: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        origin: Origin,
        keep: int,
        ranks: Ranks,
    ) -> None:
        self._folder, self._model, self._learnt = folder, model, learnt
        self._optimizer, self._origin, self._keep, self._ranks = optimizer, origin, keep, ranks
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def save(self, step: int, card: str) -> None:
        """Takes all that a checkpoint holds and begins to write it; waits for the one before."""
        self.wait()
        final = checkpoint_folder(self._folder, step)
        partial: Path | None = None
        if self._ranks.is_first:
            final.parent.mkdir(parents=True, exist_ok=True)
            partial = new_folder(final.parent, final.name)
        partial = self._ranks.from_first(partial)
        weights, small = self._weights()
        state = trainer_state(self._learnt, self._optimizer)
        copy = {name: copied(tensor) for name, tensor in state.items()}

        def write() -> None:
            try:
                self._write(partial, final, step, card, weights, small, copy)
            finally:
                if self._ranks.is_first:
                    shutil.rmtree(partial, ignore_errors=True)

        self._writing = self._pool.submit(write)

    def wait(self) -> None:
        """Waits until the last one is complete; raises what went wrong with it."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def check(self) -> None:
        """As `wait`, but only where the last one has come to its end: failures are heard at once."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def close(self) -> None:
        """Lets a checkpoint in hand be finished; its failure is not raised."""
        self._pool.shutdown(wait=True)

    def _weights(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The whole weights, LoRA merged in, and LoRA's matrices; the first process's."""
        network = self._model.network
        named = network.state_dict()
        whole = merged_state(network) if has_lora(network) else named.items()
        return self._whole(whole), self._whole((n, t) for n, t in named.items() if ".lora_" in n)

    def _whole(self, named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        """On the CPU. What training goes on to change is copied; what is frozen need not be there twice."""
        whole: dict[str, Tensor] = {}
        for name, tensor in named:
            tensor = tensor.detach()
            if isinstance(tensor, DTensor):
                tensor = tensor.full_tensor()  # every process takes part
            if self._ranks.is_first:
                whole[name] = tensor.to("cpu", copy=name in self._learnt)
        return whole

    def _write(
        self,
        partial: Path,
        final: Path,
        step: int,
        card: str,
        weights: Mapping[str, Tensor],
        small: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
    ) -> None:
        made = partial / "model"
        if self._ranks.is_first:
            save_model(self._model, made, state=weights)
            write_atomic(made / CARD, card.encode())
            if small:
                save_adapter(self._model.network, made / ADAPTER, small)
        trainer = partial / "trainer"
        trainer.mkdir(exist_ok=True)
        _save_sharded(state, trainer, self._ranks)
        if not self._ranks.is_first:
            return
        for path in trainer.iterdir():
            _order_header(path)
        about = {"step": step, "origin": asdict(self._origin)}
        write_atomic(trainer / "state.json", (json.dumps(about, indent=2) + "\n").encode())
        os.replace(trainer, made / "trainer")
        sync_folder(made)
        if final.exists():  # only ever one that was interrupted before its state.json
            shutil.rmtree(final)
        os.replace(made, final)
        sync_folder(final.parent)
        prune(self._folder, self._keep)


def prune(folder: Path, keep: int) -> None:
    """Removes all but the `keep` newest checkpoints; a kill leaves none of them in pieces."""
    for old in list_steps(folder)[:-keep]:
        path = checkpoint_folder(folder, old)
        doomed = path.with_name(f".{path.name}{UNFINISHED}")  # swept by the next owner
        path.rename(doomed)
        shutil.rmtree(doomed)


def check_origin(folder: Path, origin: Origin) -> None:
    """Makes sure that checkpoint `folder` belongs to the run that wants to go on from it.

    Raises:
        RecipeChanged: it does not; names everything that differs.
        CheckpointError: it cannot be read.
    """
    path = folder / "trainer" / "state.json"
    try:
        stored = json.loads(path.read_text("utf-8"))["origin"]
        was, now = {**stored, **stored["settings"]}, {**asdict(origin), **origin.settings}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged", f"remove {folder}") from error
    what = {"digest": "the data set", "model": "the model to start from"}
    changed = [
        f"{what.get(name, f'train.{name}')}: {json.dumps(was.get(name))} → {json.dumps(value)}"
        for name, value in now.items()
        if name != "settings" and was.get(name) != value
    ]
    if changed:
        raise RecipeChanged(
            f"{str(folder)!r} was trained with other settings: {', '.join(changed)}",
            f"set these back, keep both with `janus4o run … --fork NEW_FOLDER`, or remove {str(folder.parent)!r}",
        )


def restore_weights(folder: Path, model: JanusModel) -> None:
    """Puts a checkpoint's learnt weights into `model`, which is whole.

    Raises:
        CheckpointError: a file is missing, truncated or of another architecture.
    """
    if has_lora(model.network):
        load_adapter(model.network, folder / ADAPTER)
        return
    stored = dict(load_model(folder, None).network.named_parameters())
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if parameter.requires_grad:
                if stored[name].shape != parameter.shape:
                    raise CheckpointError(f"{folder} is of another size", f"remove {folder}")
                parameter.copy_(stored[name])


def restore_optimizer(
    folder: Path,
    learnt: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    ranks: Ranks,
) -> None:
    """Puts a checkpoint's moments into `optimizer`.

    Raises:
        CheckpointError: a file is missing or truncated.
    """
    trainer = folder / "trainer"
    try:
        reader = HuggingFaceStorageReader(str(trainer))
        names = set(reader.read_metadata().state_dict_metadata)
        template = trainer_template(names, learnt, optimizer)
        group = ranks.quiet if ranks.world > 1 else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(
                dict(template),
                storage_reader=HuggingFaceStorageReader(str(trainer)),
                process_group=group,
                no_dist=ranks.world == 1,
            )
    except (Exception, CheckpointException) as error:
        raise CheckpointError(
            f"{trainer} does not restore the training: {type(error).__name__}",
            f"remove {folder}; training goes on from the one before",
        ) from error


def _save_sharded(state: Mapping[str, Tensor], folder: Path, ranks: Ranks) -> None:
    """Each process writes its part; returns when all have."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one process has nobody to talk to
            save(
                dict(state),
                storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
                process_group=ranks.quiet if ranks.world > 1 else None,
                no_dist=ranks.world == 1,
            )
    except CheckpointException as failure:  # no Exception; what it wraps is
        cause, _ = next(iter(failure.failures.values()))
        raise cause from None


def _order_header(path: Path) -> None:
    """Puts a safetensors header in order, in place: the same training gives the same bytes.

    The library writes what it says of the file in an order that changes from process to process.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:  # or the library writes headers in another way, just as valid
            file.seek(8)
            file.write(text.ljust(length))
            sync_file(file)
