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
import json
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tuning import LOSSES, SCORES, arguments, difference, exam, held_out_losses, once, shortened

from janus4o.cli.synth import synthesize
from janus4o.files import write_atomic
from janus4o.images import open_image, save_png
from janus4o.rows import FAMILIES, open_rows
from janus4o.train.dataset import Dataset, hold_out
from janus4o.train.encode import encode_rows
from janus4o.train.loop import train
from janus4o.train.presets import resolve
from janus4o.train.start import start_model

HELD_OUT = 256
WIDE = 3 / 2
"""Width of a wide picture by its height."""


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


def recipe_of(options: argparse.Namespace, variant: Variant, seed: int) -> Any:
    """The demo's recipe, shortened and changed."""
    settings = {
        "output": str(options.folder / "square"),
        "train.validation": min(HELD_OUT, options.rows // 4),
    }
    return shortened(options, seed, settings | variant.changes)


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


def run(options: argparse.Namespace, variant: Variant, seed: int) -> dict[str, float]:
    """One fine-tuning with its losses and scores, or what an equal one left."""
    recipe = recipe_of(options, variant, seed)
    settings = resolve(recipe.train)
    data = options.folder / variant.data
    folder = data / "runs" / f"{variant.name}-{seed}"

    def tune(digest: str) -> dict[str, float]:
        model = start_model(recipe.model.init, variant.fit, seed)
        codes = encode_rows(open_rows(data), model, data / "codes")
        train(settings, model, codes, folder)
        rows = Dataset(codes, model)
        _, held = hold_out(len(rows), settings.validation, seed)
        given = widen if variant.data == "wide" else unchanged
        looks = {"": unchanged}
        if variant.fit == "letterbox":
            looks[" without bars"] = cut_out
        found = held_out_losses(model, rows, held.tolist())
        return found | exam(model, digest, options.per_task, folder / "scores", given, looks)

    asked = [recipe.train.model_dump(mode="json"), variant.fit, options.rows, options.per_task]
    return once(folder, asked, tune)


def unchanged(picture: Image.Image) -> Image.Image:
    return picture


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
                cells.append(difference(gaps))
            lines.append(
                f"| {variant.name} | {variant.what}{more and ', cut off before judging'} | "
                f"{len(seeds)} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines)


def main() -> int:
    asked = arguments(__doc__.splitlines()[0], "runs/ablation", rows=5000, steps=300, batch=32)
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
