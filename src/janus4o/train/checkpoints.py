"""Checkpoints of a training run: `checkpoints/<step>/`, each complete or not there.

A checkpoint is a model folder like any other (config, tokenizer, weights) with one more folder in it:

    trainer/state.pt      optimiser moments and torch's random state
    trainer/state.json    step, and what the run was made of; written last
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from janus4o.errors import CheckpointError, RecipeChanged
from janus4o.files import UNFINISHED, new_folder, sync_folder, write_atomic
from janus4o.model.loading import JanusModel, load_model, save_model
from janus4o.train.presets import Settings

FOLDER = "checkpoints"

MAY_CHANGE = ("checkpoint_every", "keep_checkpoints")
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
    values["betas"] = list(settings.betas)
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


def save_checkpoint(
    folder: Path,
    step: int,
    model: JanusModel,
    optimizer: torch.optim.Optimizer,
    origin: Origin,
    keep: int,
) -> Path:
    """Writes the checkpoint of `step`, then removes all but the `keep` newest."""
    final = checkpoint_folder(folder, step)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = new_folder(final.parent, final.name)
    try:
        save_model(model, partial / "model")
        trainer = partial / "model" / "trainer"
        trainer.mkdir()
        # To a file object: torch would write the file's own name into the archive.
        with (trainer / "state.pt").open("wb") as file:
            torch.save({"optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}, file)
            file.flush()
            os.fsync(file.fileno())
        state = {"step": step, "origin": asdict(origin)}
        write_atomic(trainer / "state.json", (json.dumps(state, indent=2) + "\n").encode())
        if final.exists():  # only ever one that was interrupted before its state.json
            shutil.rmtree(final)
        os.replace(partial / "model", final)
        sync_folder(final.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    prune(folder, keep)
    return final


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


def restore_checkpoint(folder: Path, model: JanusModel, optimizer: torch.optim.Optimizer) -> None:
    """Puts a checkpoint's weights into `model`, its moments into `optimizer`.

    Raises:
        CheckpointError: a file is missing, truncated or of another architecture.
    """
    stored = load_model(folder, model.dtype)
    path = folder / "trainer" / "state.pt"
    try:
        weights = dict(stored.network.named_parameters())
        state = torch.load(path, map_location=model.device, weights_only=True)
        with torch.no_grad():
            for name, parameter in model.network.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(weights[name])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"].cpu())
    except Exception as error:  # torch.load raises whatever a broken archive makes it trip over
        raise CheckpointError(
            f"{path} does not restore the training: {type(error).__name__}",
            f"remove {folder}; training goes on from the one before",
        ) from error
