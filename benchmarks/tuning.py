"""Short fine-tunings beside each other: what `ablation.py` and `filtering.py` have in common."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from PIL import Image

from janus4o.evaluate.candidate import Candidate
from janus4o.evaluate.exam import sketch_questions
from janus4o.evaluate.scores import Options, score
from janus4o.files import write_atomic
from janus4o.generate.api import Janus
from janus4o.generate.options import GenerateOptions
from janus4o.model.loading import JanusModel
from janus4o.recipe import Dropout, Recipe, load
from janus4o.sketch.judge import SketchJudge
from janus4o.train.batch import Kind, collate, hide, row_generator
from janus4o.train.dataset import Dataset
from janus4o.train.loss import batch_loss

RECIPE = Path(__file__).parent.parent / "recipes" / "sketch.yaml"
GUIDANCE, SEMANTIC_WEIGHT = 2.0, 1.0
LOSSES = ("t2i", "edit", "code 0", "null")
SCORES = ("t2i score", "edit score")

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262}
"""Runs → 97.5 % quantile of Student's distribution with one degree of freedom less."""

Look = Callable[[Image.Image], Image.Image]


def arguments(what: str, folder: str, **defaults: int) -> argparse.ArgumentParser:
    """The command line both have: where to work, how long to train, how much to ask."""
    asked = argparse.ArgumentParser(description=what)
    asked.add_argument("--folder", type=Path, default=Path(folder))
    helps = {"rows": "trained on", "batch": "rows a step", "per_task": "exam questions a task"}
    for name, value in (defaults | {"seeds": 3, "per_task": 40, "workers": 2}).items():
        asked.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=value, help=helps.get(name)
        )
    return asked


def shortened(options: argparse.Namespace, seed: int, changes: Mapping[str, Any]) -> Recipe:
    """The demo's recipe with few rows and steps; `changes` are dotted keys."""
    settings: dict[str, Any] = {
        "synthesis.text_to_image.count": options.rows * 3 // 5,
        "synthesis.editing.count": options.rows * 2 // 5,
        "train.steps": options.steps,
        "train.batch": options.batch,
        "train.micro_batch": max(1, options.batch // 4),
        "train.workers": options.workers,
        "train.checkpoint_every": 100,
        "train.keep_checkpoints": 1,
        "train.validate_every": 10**6,
        "train.seed": seed,
        **changes,
    }
    return load(RECIPE, [f"{key}={value}" for key, value in settings.items()])


def once(folder: Path, asked: object, tune: Callable[[str], dict[str, float]]) -> dict[str, float]:
    """What `tune` finds, or what an equal call left in `folder`; one of other settings is cleared.

    Args:
        asked: what the figures depend on, as JSON; `tune` gets its hash.
    """
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    result, begun = folder / "result.json", folder / "asked"
    if folder.is_dir() and (not begun.is_file() or begun.read_text("utf-8") != digest):
        shutil.rmtree(folder)
    if result.is_file():
        return dict(json.loads(result.read_text("utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(begun, digest.encode())
    found = tune(digest)
    shutil.rmtree(folder / "checkpoints")
    write_atomic(result, json.dumps(found, indent=1).encode())
    return found


@torch.no_grad()
def held_out_losses(model: JanusModel, data: Dataset, held: Sequence[int]) -> dict[str, float]:
    """Mean loss a code of some rows: by kind, of code 0, and of edits with all hidden."""
    pad = model.geometry.pad
    found: dict[str, list[torch.Tensor]] = {name: [] for name in LOSSES}
    blind = Dropout(null=1.0)
    for kind, name in ((Kind.TEXT_TO_IMAGE, "t2i"), (Kind.EDIT, "edit")):
        rows = [row for row in held if data.size(row).kind is kind]
        for start in range(0, len(rows), 16):
            examples = [data[row] for row in rows[start : start + 16]]
            losses_RT = batch_loss(model.network, collate(examples, pad)).image_RT
            found[name].append(losses_RT)
            found["code 0"].append(losses_RT[:, :1])
            if kind is Kind.EDIT:
                hidden = [hide(one, blind, pad, row_generator(0, 0, 0)) for one in examples]
                found["null"].append(batch_loss(model.network, collate(hidden, pad)).image_RT)
    return {name: torch.cat(parts).double().mean().item() for name, parts in found.items()}


def exam(
    model: JanusModel,
    digest: str,
    per_task: int,
    folder: Path,
    given: Look = lambda source: source,
    looks: Mapping[str, Look] | None = None,
) -> dict[str, float]:
    """Mean shares of questions passed, by kind.

    Args:
        given: what is made of a source before it is edited.
        looks: suffix of the score → what is made of a picture before it is judged.
    """
    janus = Janus(model)
    made: dict[tuple[str, int, bytes], Image.Image] = {}

    def draw(prompts: Sequence[str], seeds: Sequence[int], guidance: float) -> list[Image.Image]:
        options = GenerateOptions(guidance=guidance)
        keys = [(prompt, seed, b"") for prompt, seed in zip(prompts, seeds, strict=True)]
        if keys[0] not in made:  # each picture once, though it may be looked at in several ways
            drawn = janus.generate_with(prompts, options, seeds=seeds)
            made.update(zip(keys, (one.image for one in drawn), strict=True))
        return [made[key] for key in keys]

    def edit(
        sources: Sequence[Image.Image],
        texts: Sequence[str],
        seeds: Sequence[int],
        guidance: float,
        weight: float,
    ) -> list[Image.Image]:
        options = GenerateOptions(guidance=guidance, semantic_weight=weight)
        asked = list(zip(sources, texts, seeds, strict=True))
        keys = [(text, seed, source.tobytes()) for source, text, seed in asked]
        if keys[0] not in made:
            requests = [([given(one)], text) for one, text, _ in asked]
            drawn = janus.edit_with(requests, options, seeds=seeds)
            made.update(zip(keys, (one.image for one in drawn), strict=True))
        return [made[key] for key in keys]

    questions = sketch_questions("test", per_task, 1_000_000, 128)
    options = Options(guidance=(GUIDANCE,), semantic_weights=(SEMANTIC_WEIGHT,))
    scores = {}
    for more, look in (looks or {"": lambda picture: picture}).items():

        def seen(
            how: Callable[..., list[Image.Image]], look: Look = look
        ) -> Callable[..., list[Image.Image]]:
            return lambda *asked: [look(picture) for picture in how(*asked)]

        name = "tuned" + more.replace(" ", "-")
        candidate = Candidate(name, digest + more, seen(draw), seen(edit))
        found = score(candidate, [], questions, SketchJudge(), options, folder)
        for kind, mean in found.means.items():
            short = "t2i" if kind.value.startswith("t") else "edit"
            scores[f"{short} score{more}"] = mean.score
    return scores


def difference(gaps: Sequence[float]) -> str:
    """Mean of paired differences and half of Student's 95 % interval; nothing for none."""
    if not gaps:
        return ""
    middle = statistics.fmean(gaps)
    if len(gaps) < 2:
        return f"{middle:+.3f} ± inf"
    known = max(n for n in STUDENT if n <= len(gaps))
    return f"{middle:+.3f} ± {STUDENT[known] * statistics.stdev(gaps) / len(gaps) ** 0.5:.3f}"
