"""What each correction of the released script is worth: `python benchmarks/ablation.py`.

Short fine-tunings of the shipped base on the offline world, one change at a time, each beside the
`corrected` preset with the same seed: same rows in the same order, same held-out rows, same exam. A run
that is finished is not done again, one that was stopped goes on; rows of the table appear as their
runs end.

    square   scenes as the painter draws them: what is supervised, hidden and decayed
    wide     the same scenes in the middle of a 3:2 picture: what is cropped, what gets grey bars

Losses are nats a code over all codes of the held-out rows with nothing hidden, whatever a variant
itself supervises; `code 0` is the first of them, `null` the edits' loss with everything hidden. Scores
are shares of exam questions passed, one sample each, at one fixed guidance. Differences are to
`corrected` of the same seed: mean, and Student's 95 % interval over the seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from PIL import Image

from janus4o.cli.synth import synthesize
from janus4o.evaluate.candidate import Candidate
from janus4o.evaluate.exam import sketch_questions
from janus4o.evaluate.scores import Options, score
from janus4o.exchange import Judge
from janus4o.files import write_atomic
from janus4o.generate.api import Janus
from janus4o.generate.options import GenerateOptions
from janus4o.images import open_image, save_png
from janus4o.model.loading import JanusModel
from janus4o.recipe import Dropout, load
from janus4o.rows import FAMILIES, open_rows
from janus4o.sketch.judge import SketchJudge
from janus4o.train.batch import Kind, collate, hide, row_generator
from janus4o.train.codes import Codes
from janus4o.train.dataset import Dataset, hold_out
from janus4o.train.encode import encode_rows
from janus4o.train.loop import train
from janus4o.train.loss import batch_loss
from janus4o.train.presets import resolve
from janus4o.train.start import start_model

RECIPE = Path(__file__).parent.parent / "recipes" / "sketch.yaml"
GUIDANCE, SEMANTIC_WEIGHT = 2.0, 1.0
HELD_OUT = 256
WIDE = 3 / 2
"""Width of a wide picture by its height."""

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262}
"""Runs → 97.5 % quantile of Student's distribution with one degree of freedom less."""


@dataclass(frozen=True)
class Variant:
    """One change.

    Attributes:
        data: which pictures, `square` or `wide`.
        fit: how they are made square.
        changes: dotted keys of the recipe.
    """

    name: str
    what: str
    changes: dict[str, Any] = field(default_factory=dict)
    data: str = "square"
    fit: str = "crop"

    @property
    def reference(self) -> str:
        return "corrected" if self.data == "square" else "crop"


VARIANTS = [
    Variant("corrected", "the default preset"),
    Variant("first-token", "code 0 not supervised", {"train.first_token": False}),
    Variant("null", "edits' null branch not trained", {"train.dropout.null": 0.0}),
    Variant("unit", "single tokens hidden, not blocks", {"train.dropout.unit": "token"}),
    Variant(
        "rates",
        "no prompt and no source ever hidden",
        {"train.dropout.prompt": 0.0, "train.dropout.source": 0.0},
    ),
    Variant("decay", "norms shrunk as well", {"train.decay": "not_biases"}),
    Variant("crop", "3:2 pictures, cropped", data="wide"),
    Variant("letterbox", "3:2 pictures, grey bars", data="wide", fit="letterbox"),
]
LOSSES = ("t2i", "edit", "code 0", "null")
SCORES = ("t2i score", "edit score")


def recipe_of(options: argparse.Namespace, variant: Variant, seed: int) -> Any:
    """The demo's recipe, shortened and changed."""
    settings: dict[str, Any] = {
        "output": str(options.folder / "square"),
        "synthesis.text_to_image.count": options.rows * 3 // 5,
        "synthesis.editing.count": options.rows * 2 // 5,
        "train.steps": options.steps,
        "train.batch": options.batch,
        "train.micro_batch": max(1, options.batch // 4),
        "train.workers": options.workers,
        "train.checkpoint_every": 100,
        "train.keep_checkpoints": 1,
        "train.validation": min(HELD_OUT, options.rows // 4),
        "train.validate_every": 10**6,
        "train.seed": seed,
        **variant.changes,
    }
    return load(RECIPE, [f"{key}={value}" for key, value in settings.items()])


def widen(picture: Image.Image) -> Image.Image:
    """The picture in the middle of a 3:2 one, its edges drawn out to both sides."""
    side = picture.height
    more = round(side * (WIDE - 1) / 2)
    pixels = np.pad(np.asarray(picture.convert("RGB")), ((0, 0), (more, more), (0, 0)), "edge")
    return Image.fromarray(pixels)


def cut_out(picture: Image.Image) -> Image.Image:
    """What `widen` and a letterbox had put in the middle."""
    side = picture.height
    edge = side * (1 - 1 / WIDE) / 2
    box = (edge, edge, side - edge, side - edge)
    return picture.resize((side, side), Image.Resampling.BICUBIC, box=box)


def write_wide(square: Path, folder: Path) -> None:
    """The data set of `square` with every picture widened, in the published layout."""
    done = folder / f"{FAMILIES[1]}.json"
    if done.is_file():
        return
    rows = open_rows(square)
    (folder / "image").mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = {}

    def wide(name: str) -> str:
        if name not in names:
            names[name] = f"image/{len(names)}.png"
            save_png(widen(open_image(rows.read(name))), folder / names[name])
        return names[name]

    of_family: dict[str, list[dict[str, Any]]] = {family: [] for family in FAMILIES}
    for row in rows:
        data = row.to_json()
        data["output_image"] = wide(row.output_image)
        if row.input_image:
            data["input_image"] = [wide(name) for name in row.input_image]
        of_family[FAMILIES[1] if row.input_image else FAMILIES[0]].append(data)
    for family, found in of_family.items():
        write_atomic(folder / f"{family}.json", json.dumps(found).encode())


@torch.no_grad()
def held_out_losses(model: JanusModel, codes: Codes, count: int, seed: int) -> dict[str, float]:
    """Mean loss a code of the rows held out: by kind, of code 0, and of edits with all hidden."""
    data = Dataset(codes, model)
    _, held = hold_out(len(data), count, seed)
    pad = model.geometry.pad
    found: dict[str, list[torch.Tensor]] = {name: [] for name in LOSSES}
    blind = Dropout(null=1.0)
    for kind, name in ((Kind.TEXT_TO_IMAGE, "t2i"), (Kind.EDIT, "edit")):
        rows = [row for row in held.tolist() if data.size(row).kind is kind]
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
    model: JanusModel, variant: Variant, digest: str, per_task: int, folder: Path, judge: Judge
) -> dict[str, float]:
    """Mean shares of questions passed, by kind; of a letterboxed model its bars cut off as well."""
    janus = Janus(model)
    made: dict[tuple[str, int, bytes], Image.Image] = {}
    is_wide = variant.data == "wide"

    def draw(prompts: Sequence[str], seeds: Sequence[int], guidance: float) -> list[Image.Image]:
        options = GenerateOptions(guidance=guidance)
        keys = [(prompt, seed, b"") for prompt, seed in zip(prompts, seeds, strict=True)]
        if keys[0] not in made:  # each picture once, though it may be judged with bars and without
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
            requests = [([widen(one) if is_wide else one], text) for one, text, _ in asked]
            drawn = janus.edit_with(requests, options, seeds=seeds)
            made.update(zip(keys, (one.image for one in drawn), strict=True))
        return [made[key] for key in keys]

    questions = sketch_questions("test", per_task, 1_000_000, 128)
    options = Options(guidance=(GUIDANCE,), semantic_weights=(SEMANTIC_WEIGHT,))
    looks: dict[str, Callable[[Image.Image], Image.Image]] = {"": lambda picture: picture}
    if variant.fit == "letterbox":
        looks[" without bars"] = cut_out
    scores = {}
    for more, look in looks.items():

        def seen(
            how: Callable[..., list[Image.Image]],
            look: Callable[[Image.Image], Image.Image] = look,
        ) -> Callable[..., list[Image.Image]]:
            return lambda *asked: [look(picture) for picture in how(*asked)]

        name = "tuned" + more.replace(" ", "-")
        candidate = Candidate(name, digest + more, seen(draw), seen(edit))
        found = score(candidate, [], questions, judge, options, folder)
        for kind, mean in found.means.items():
            short = "t2i" if kind.value.startswith("t") else "edit"
            scores[f"{short} score{more}"] = mean.score
    return scores


def run(options: argparse.Namespace, variant: Variant, seed: int) -> dict[str, float]:
    """One fine-tuning with its losses and scores, or what an equal one left."""
    recipe = recipe_of(options, variant, seed)
    settings = resolve(recipe.train)
    folder = options.folder / variant.data / "runs" / f"{variant.name}-{seed}"
    asked = [recipe.train.model_dump(mode="json"), variant.fit, options.rows, options.per_task]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    result, begun = folder / "result.json", folder / "asked"
    if folder.is_dir() and (not begun.is_file() or begun.read_text("utf-8") != digest):
        shutil.rmtree(folder)
    if result.is_file():
        return dict(json.loads(result.read_text("utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(begun, digest.encode())
    model = start_model(recipe.model.init, variant.fit, seed)
    codes = encode_rows(
        open_rows(options.folder / variant.data), model, options.folder / variant.data / "codes"
    )
    train(settings, model, codes, folder)
    found = held_out_losses(model, codes, settings.validation, seed)
    found |= exam(model, variant, digest, options.per_task, folder / "scores", SketchJudge())
    shutil.rmtree(folder / "checkpoints")
    write_atomic(result, json.dumps(found, indent=1).encode())
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of Student's 95 % interval; infinite for one value."""
    middle = statistics.fmean(values)
    if len(values) < 2:
        return middle, float("inf")
    known = max(n for n in STUDENT if n <= len(values))
    return middle, STUDENT[known] * statistics.stdev(values) / len(values) ** 0.5


def table(found: dict[tuple[str, int], dict[str, float]]) -> str:
    """Markdown; references as they are, variants as differences to theirs."""
    columns = [*LOSSES, *SCORES]
    lines = ["| variant | what | seeds | " + " | ".join(columns) + " |",
             "|" + "---|" * (len(columns) + 3)]  # fmt: skip
    for variant in VARIANTS:
        seeds = sorted(seed for name, seed in found if name == variant.name)
        if not seeds:
            continue
        looks = [""] if variant.fit == "crop" else ["", " without bars"]
        for more in looks:
            cells = []
            for column in columns:
                is_score = column in SCORES
                key = column + more if is_score else column
                own = [found[variant.name, seed][key] for seed in seeds]
                if variant.name == variant.reference:
                    cells.append(f"{statistics.fmean(own):.3f}")
                    continue
                if variant.fit == "letterbox" and not is_score:
                    cells.append("")  # of other codes: grey bars are easy
                    continue
                pairs = [seed for seed in seeds if (variant.reference, seed) in found]
                gaps = [
                    found[variant.name, seed][key] - found[variant.reference, seed][column]
                    for seed in pairs
                ]
                if not gaps:
                    cells.append("")
                    continue
                middle, half = interval(gaps)
                cells.append(f"{middle:+.3f} ± {half:.3f}")
            lines.append(
                f"| {variant.name} | {variant.what}{more and ', cut off before judging'} | "
                f"{len(seeds)} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--folder", type=Path, default=Path("runs/ablation"))
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--rows", type=int, default=5000)
    asked.add_argument("--steps", type=int, default=300)
    asked.add_argument("--batch", type=int, default=32)
    asked.add_argument("--per-task", type=int, default=40, help="exam questions a task")
    asked.add_argument("--workers", type=int, default=2)
    asked.add_argument("--variants", nargs="+", choices=[v.name for v in VARIANTS])
    options = asked.parse_args()

    synthesize(recipe_of(options, VARIANTS[0], 0))
    write_wide(options.folder / "square", options.folder / "wide")
    chosen = [v for v in VARIANTS if options.variants is None or v.name in options.variants]
    found: dict[tuple[str, int], dict[str, float]] = {}
    for seed in range(options.seeds):
        for variant in chosen:
            found[variant.name, seed] = run(options, variant, seed)
            print(f"seed {seed}  {variant.name}: " + "  ".join(
                f"{name} {value:.3f}" for name, value in found[variant.name, seed].items()
            ), flush=True)  # fmt: skip
            write_atomic(options.folder / "table.md", (table(found) + "\n").encode())
    print(f"\n{options.steps} steps of {options.batch} rows, {options.rows:,} rows, "
          f"{options.per_task} questions a task\n\n{table(found)}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
