"""What filtering a data set is worth: `python benchmarks/filtering.py`.

A painter of the offline world that is wrong on purpose makes a data set; the shipped base is fine-tuned on
it as it is, and on what `janus4o check` leaves of it, with as many rows of each kind, as many steps and the same
seed. A third arm trains on rows of the painter that is never wrong. Each seed draws data sets of its own.
A run that is finished is not done again, one that was stopped goes on.

    unfiltered   the first rows
    filtered     the first rows that pass `decodes`, `changed` and `shows_prompt`
    clean        the first rows of a painter without fault

Of a picture that was to be drawn, a wrong painter gives, evenly: one object in another colour, one too few (a lone
one gets another shape), or what quite another prompt asks for; of an edit: the source again with
some noise, another edit of the same task, or a picture of something else. A share `--noise` of all requests is spoilt, and
what is spoilt is wrong by the exact judge, never by chance right. The checks for duplicates stay out of it: the
small world repeats itself, and what they do is not what is asked here.

Losses are nats a code on the same rows of a painter without fault, which no arm has seen; scores are shares of exam
questions passed. Differences are paired by seed: mean, and Student's 95 % interval over the seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import statistics
import sys
import zlib

import numpy as np
from PIL import Image
from tuning import SCORES, arguments, difference, exam, held_out_losses, once, shortened

from janus4o.exchange import PaintReply, PaintRequest, Picture, Refusal
from janus4o.files import write_atomic
from janus4o.images import open_image, save_png
from janus4o.model.loading import JanusModel
from janus4o.recipe import Recipe
from janus4o.rows import Rows, open_rows, pictures_of
from janus4o.sketch import detect, judge
from janus4o.sketch import exam as kept
from janus4o.sketch.captions import parse_shown
from janus4o.sketch.edit import EditTask
from janus4o.sketch.edit_sampling import KINDS, sample
from janus4o.sketch.instructions import parse_instruction
from janus4o.sketch.render import Pixels, draw
from janus4o.sketch.sampling import Tag, sample_wanted
from janus4o.sketch.scene import Scene
from janus4o.sketch.teacher import SketchPainter, SketchWriter
from janus4o.sketch.wanted import World, imagine
from janus4o.synth.attributes import Attributes
from janus4o.synth.checking.registry import CHECKS as ALL_CHECKS
from janus4o.synth.checking.registry import chosen
from janus4o.synth.checking.run import check_rows
from janus4o.synth.checks import Anything
from janus4o.synth.inspection import SketchInspector
from janus4o.synth.runner import run as synthesize
from janus4o.train.codes import Codes
from janus4o.train.dataset import Dataset
from janus4o.train.encode import encode_rows
from janus4o.train.loop import train
from janus4o.train.presets import resolve
from janus4o.train.start import start_model

ARMS = {
    "unfiltered": "the first rows",
    "filtered": "the first that pass",
    "clean": "of a painter without fault",
}
CHECKS = ("decodes", "changed", "shows_prompt")
HELD_OUT, HELD_OUT_SEED = 512, 10_000
SPARE = 1.12
"""More rows than filtering takes away on average, by this much."""
SIDE = 128


class WrongPainter(SketchPainter):
    """A painter that carries out a share of what it is asked wrongly; which, follows from the request.

    Args:
        share: of all requests.
    """

    def __init__(self, share: float) -> None:
        super().__init__(World.LEARNABLE, hold_out=True)
        self._share = share

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal:
        right = await super().paint(request)
        rng = np.random.default_rng([request.seed, zlib.crc32(request.prompt.encode()), 1])
        if isinstance(right, Refusal) or rng.random() >= self._share:
            return right
        wrong = (self._wrong_edit if request.sources else self._wrong_drawing)(request, rng)
        return dataclasses.replace(right, picture=Picture(save_png(Image.fromarray(wrong))))

    def _wrong_drawing(self, request: PaintRequest, rng: np.random.Generator) -> Pixels:
        wanted, _ = parse_shown(request.prompt)
        while True:
            scene = imagine(wanted, rng, World.LEARNABLE)
            match rng.integers(3):
                case 0:
                    scene = _recoloured(scene, rng)
                case 1:
                    scene = _one_less(scene, rng)
                case _:
                    scene = _another(rng)
            pixels = draw(scene, SIDE)
            if not kept.held_out(scene) and not judge.check_caption(pixels, wanted).passed:
                return pixels

    def _wrong_edit(self, request: PaintRequest, rng: np.random.Generator) -> Pixels:
        before = np.asarray(open_image(request.sources[0].data), np.uint8)
        source = detect.scene(before).scene
        assert source is not None, "the source was drawn by this painter"
        asked = parse_instruction(request.prompt)
        while True:
            match rng.integers(3):
                case 0:
                    noise = rng.normal(0, 2, before.shape)
                    pixels = (before + noise).round().clip(0, 255).astype(np.uint8)
                case 1:
                    other = sample(_task(asked.kind), source, rng, World.LEARNABLE, kept.held_out)
                    if other is None:
                        continue
                    pixels = draw(other.apply(source), SIDE)
                case _:
                    pixels = draw(_another(rng), SIDE)
            if not judge.check_edit(source, asked, pixels).passed:
                return pixels


class Credulous(Anything):
    """Keeps the exam's questions out of what is asked for, and believes every picture."""

    exact = True  # or an emptied picture would be taken for a failure

    def allow(self, attributes: Attributes) -> None:
        SketchInspector(hold_out=True).allow(attributes)


def _task(kind: str) -> EditTask:
    return next(task for task, kinds in KINDS.items() if kind in kinds)


def _recoloured(scene: Scene, rng: np.random.Generator) -> Scene:
    at = int(rng.integers(len(scene.items)))
    colours = [one for one in World.LEARNABLE.colours if one is not scene.items[at].colour]
    changed = dataclasses.replace(scene.items[at], colour=colours[rng.integers(len(colours))])
    return dataclasses.replace(scene, items=(*scene.items[:at], changed, *scene.items[at + 1 :]))


def _one_less(scene: Scene, rng: np.random.Generator) -> Scene:
    """Without one object, the others where they stand; a lone one becomes another."""
    at = int(rng.integers(len(scene.items)))
    if len(scene.items) > 1:
        return dataclasses.replace(scene, items=scene.items[:at] + scene.items[at + 1 :])
    shapes = [one for one in World.LEARNABLE.shapes if one is not scene.items[0].shape]
    changed = dataclasses.replace(scene.items[0], shape=shapes[rng.integers(len(shapes))])
    return dataclasses.replace(scene, items=(changed,))


def _another(rng: np.random.Generator) -> Scene:
    """What some other prompt asks for."""
    tags = tuple(Tag)
    while True:
        wanted = sample_wanted(rng, World.LEARNABLE, tags[rng.integers(len(tags))])
        scene = imagine(wanted, rng, World.LEARNABLE)
        if not kept.held_out(scene):
            return scene


def recipe_of(options: argparse.Namespace, name: str, seed: int, rows: int) -> Recipe:
    """Of a data set of `rows` rows in the folder `name`, or of a training."""
    settings = {
        "seed": seed,
        "output": str(options.folder / name),
        "synthesis.text_to_image.count": rows * 3 // 5,
        "synthesis.editing.count": rows * 2 // 5,
    }
    return shortened(options, seed, settings)


def make(options: argparse.Namespace, name: str, seed: int, rows: int, share: float) -> Rows:
    """A data set, a share of it wrong; one that is there is not made again."""
    recipe = recipe_of(options, f"{name}-{share:g}", seed, rows)
    writer, painter = SketchWriter(World.LEARNABLE, hold_out=True), WrongPainter(share)
    synthesize(recipe, recipe.folder, writer, painter, inspector=Credulous())
    return open_rows(recipe.folder)


def first(rows: Rows, wanted: int, among: set[int]) -> list[int]:
    """Numbers of the first rows of each kind, three drawn to two edited, `wanted` in all."""
    found = []
    for is_edit, count in ((False, wanted * 3 // 5), (True, wanted * 2 // 5)):
        there = (n for n, row in enumerate(rows) if row.is_edit == is_edit and n in among)
        numbers = list(itertools.islice(there, count))
        if len(numbers) < count:
            raise SystemExit(f"{len(numbers)} rows of {count} pass in {rows.folder}: raise --spare")
        found += numbers
    return found


def sound(rows: Rows) -> set[int]:
    """Numbers of the rows that pass the checks."""
    skip = [name for name in ALL_CHECKS if name not in CHECKS]
    found = check_rows(
        rows, rows.folder, checks=chosen({}, skip), inspector=SketchInspector(hold_out=False)
    )
    wrong = {number for numbers in found.failed.values() for number in numbers}
    return set(range(len(rows))) - wrong


def of_rows(codes: Codes, numbers: list[int], digest: str) -> Codes:
    """Some rows of an encoded data set."""
    return dataclasses.replace(
        codes, rows=tuple(codes.rows[n] for n in numbers), digest=f"{codes.digest}-{digest}"
    )


class Data:
    """The rows of one seed: what each arm trains on, and what all are measured with."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        raw = math.ceil(options.rows / (1 - options.noise) * options.spare)
        self._pools = {
            "noisy": make(options, f"data/{seed}", seed, raw, options.noise),
            "clean": make(options, f"data/{seed}", seed, options.rows, 0.0),
        }
        self._held = make(options, "data/held-out", HELD_OUT_SEED, HELD_OUT * 5 // 4, 0.0)
        noisy, clean = self._pools.values()
        passed = sound(noisy)
        everything = set(range(raw))
        self.numbers = {
            "unfiltered": first(noisy, options.rows, everything),
            "filtered": first(noisy, options.rows, passed),
            "clean": first(clean, options.rows, everything),
        }
        self.wrong = {
            arm: sum(n not in passed for n in numbers) / len(numbers)
            for arm, numbers in self.numbers.items()
            if arm != "clean"
        }

    def codes(self, model: JanusModel, arm: str) -> Codes:
        rows = self._pools["clean" if arm == "clean" else "noisy"]
        return of_rows(encode_rows(rows, model, rows.folder / "codes"), self.numbers[arm], arm)

    def held_out(self, model: JanusModel) -> Dataset:
        """Rows no arm has trained on."""
        seen = {
            (row.input_prompt, pictures_of(row)) for rows in self._pools.values() for row in rows
        }
        new = [
            number
            for number, row in enumerate(self._held)
            if (row.input_prompt, pictures_of(row)) not in seen
        ]
        codes = encode_rows(self._held, model, self._held.folder / "codes")
        return Dataset(of_rows(codes, new, "new"), model)


def run(options: argparse.Namespace, data: Data, arm: str, seed: int) -> dict[str, float]:
    """One fine-tuning with its losses and scores, or what an equal one left."""
    recipe = recipe_of(options, "", seed, options.rows)
    settings = resolve(recipe.train)
    folder = options.folder / "runs" / f"{arm}-{seed}"

    def tune(digest: str) -> dict[str, float]:
        model = start_model(recipe.model.init, recipe.model.fit, seed)
        train(settings, model, data.codes(model, arm), folder)
        held = data.held_out(model)
        found = held_out_losses(model, held, range(len(held)))
        return found | exam(model, digest, options.per_task, folder / "scores")

    asked = [recipe.train.model_dump(mode="json"), data.numbers[arm], options.noise]
    return once(folder, [*asked, options.per_task], tune)


def table(found: dict[tuple[str, int], dict[str, float]]) -> str:
    """Markdown; `unfiltered` as it is, the others as differences to it."""
    columns = ["t2i", "edit", *SCORES]
    lines = ["| arm | rows | seeds | " + " | ".join(columns) + " |",
             "|" + "---|" * (len(columns) + 3)]  # fmt: skip
    for arm, what in ARMS.items():
        seeds = sorted(seed for name, seed in found if name == arm)
        cells = []
        for column in columns:
            own = {seed: found[arm, seed][column] for seed in seeds}
            if arm == "unfiltered":
                cells.append(f"{statistics.fmean(own.values()):.3f}" if own else "")
                continue
            pairs = [seed for seed in seeds if ("unfiltered", seed) in found]
            gaps = [own[seed] - found["unfiltered", seed][column] for seed in pairs]
            cells.append(difference(gaps))
        lines.append(f"| {arm} | {what} | {len(seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    asked = arguments(__doc__.splitlines()[0], "runs/filtering", rows=4000, steps=400, batch=64)
    asked.add_argument("--noise", type=float, default=0.3, help="share of requests spoilt")
    asked.add_argument(
        "--spare", type=float, default=SPARE, help="more rows than needed on average"
    )
    options = asked.parse_args()

    found: dict[tuple[str, int], dict[str, float]] = {}
    rows: dict[int, Data] = {}
    # What the question is about comes first, the ceiling last.
    for arms in (("unfiltered", "filtered"), ("clean",)):
        for seed, arm in itertools.product(range(options.seeds), arms):
            if seed not in rows:
                rows[seed] = Data(options, seed)
                wrong = ", ".join(
                    f"{share:.3f} of {one}" for one, share in rows[seed].wrong.items()
                )
                print(f"seed {seed}  wrong by the exact judge: {wrong}", flush=True)
            found[arm, seed] = run(options, rows[seed], arm, seed)
            print(f"seed {seed}  {arm}: " + "  ".join(
                f"{name} {value:.3f}" for name, value in found[arm, seed].items()
            ), flush=True)  # fmt: skip
            write_atomic(options.folder / "table.md", (table(found) + "\n").encode())
    print(f"\n{options.noise:g} of the requests spoilt, {options.rows:,} rows an arm, {options.steps} "
          f"steps of {options.batch}, {options.per_task} questions a task\n\n{table(found)}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
