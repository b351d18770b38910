"""A run folder with real sketch pictures and made-up scores, for the report's tests and for looking."""

from __future__ import annotations

import hashlib
import json
import math
import random
from io import BytesIO
from pathlib import Path

from janus4o.images import save_png
from janus4o.records import Provenance, Row
from janus4o.rows import blob_path
from janus4o.scored import HeldOut, Item, Kind, write_items
from janus4o.sketch.render import picture
from janus4o.sketch.scene import (
    LAYOUTS,
    LEARNABLE_BACKGROUNDS,
    LEARNABLE_COLOURS,
    LEARNABLE_SHAPES,
    Scene,
    in_reading_order,
)
from janus4o.sketch.scene import Item as Thing

TASKS = {
    "single_object": (Kind.TEXT_TO_IMAGE, HeldOut.BY_WORDING, 0.99, 0.98),
    "two_object": (Kind.TEXT_TO_IMAGE, HeldOut.BY_SCENE, 0.02, 0.93),
    "counting": (Kind.TEXT_TO_IMAGE, HeldOut.BY_SCENE, 0.0, 0.81),
    "colors": (Kind.TEXT_TO_IMAGE, HeldOut.BY_WORDING, 0.96, 0.97),
    "position": (Kind.TEXT_TO_IMAGE, HeldOut.BY_SCENE, 0.01, 0.86),
    "color_attr": (Kind.TEXT_TO_IMAGE, HeldOut.BY_SCENE, 0.0, 0.74),
    "add": (Kind.EDIT, HeldOut.BY_WORDING, 0.0, 0.79),
    "remove": (Kind.EDIT, HeldOut.BY_WORDING, 0.0, 0.88),
    "replace": (Kind.EDIT, HeldOut.BY_WORDING, 0.01, 0.71),
    "recolour": (Kind.EDIT, HeldOut.BY_WORDING, 0.0, 0.82),
    "background": (Kind.EDIT, HeldOut.BY_WORDING, 0.0, 0.95),
}
RECIPE = """# The offline demo.
name: sketch-demo
seed: 0
synthesis:
  world: learnable
  text_to_image: {count: 8000}
  editing: {count: 8000}
train:
  steps: 1500     # about six minutes
  batch: 64
"""


SYNTHESIS = {
    "targets": {
        "categories": {"1": 0.7, "2": 0.3},
        "task": {"element_manipulation": 0.5, "background_modification": 0.5},
    },
    "states": {"prompt_first": {"accepted": 15, "rejected": 4}},
    "reasons": {"rejected: held_out": 3, "refused: moderation": 1},
    "finished": {"prompt_first": 15, "editing": 15},
    "spend": {
        "calls": 90, "refused": 1, "errors": 2, "input_tokens": 1000, "output_tokens": 200,
        "images": 45, "cost_usd": 1.25, "unpriced": 7,
    },
}  # fmt: skip


def write_drawn(folder: Path, rng: random.Random) -> None:
    """Samples and sweeps, as `janus4o.cli.samples` leaves them."""

    def draw(name: str, facts: dict[str, str], **more: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = picture(random_scene(rng, 2), 64)
        save_png(image, path, {"seed": "1", "verdict": "passed", "reason": "", **facts, **more})

    counting = {"task": "counting", "prompt": "two sampled circles", "guidance": "2"}
    draw("samples/1500/counting.png", counting, verdict="failed", reason="1 objects instead of 2")
    edit = {"task": "add", "prompt": "add a red star", "guidance": "2", "source": "add-source.png"}
    draw("samples/1500/add.png", edit, semantic_weight="1")
    for value in ("0", "0.5", "5"):
        draw(f"sweeps/1500/counting-{value}.png", counting, guidance=value)
        draw(f"sweeps/1500/add-{value}.png", edit, semantic_weight=value)
    for group in ("samples", "sweeps"):
        (folder / group / "1500" / "add-source.png").write_bytes(png(random_scene(rng, 1), 128))


def random_scene(rng: random.Random, count: int) -> Scene:
    slots = rng.choice(LAYOUTS[count])
    return Scene(
        in_reading_order(
            tuple(
                Thing(rng.choice(LEARNABLE_SHAPES), rng.choice(LEARNABLE_COLOURS), slot)
                for slot in slots
            )
        ),
        rng.choice(LEARNABLE_BACKGROUNDS),
    )


def words(scene: Scene) -> str:
    named = [f"a {item.colour} {item.shape}" for item in scene.items]
    return " and ".join(named) + f" on a {scene.background} background"


def png(scene: Scene, size: int) -> bytes:
    buffer = BytesIO()
    picture(scene, size).save(buffer, "PNG")
    return buffer.getvalue()


def make(folder: Path, rows: int = 60, per_task: int = 8, prompt: str = "") -> Path:
    """Writes the folder; `prompt` replaces the first caption and the first question."""
    rng = random.Random(0)
    (folder / "dataset").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    write_data_set(folder, rows, prompt, rng)
    write_metrics(folder, 1500)
    write_scores(folder / "scores", per_task, prompt, rng)
    timings = {"synth": 61.2, "encode": 48.0, "train": 402.7, "eval": 96.4, "report": 1.1}
    (folder / "timings.json").write_text(json.dumps(timings))
    checkpoint = folder / "checkpoints" / "1500"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"\0" * 1000)
    config = {"architectures": ["JanusForConditionalGeneration"], "transformers_version": "5.23.0"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    index = folder / "codes" / "0123-crop" / "index.json"
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps({"tokens": 16, "codebook": 1024}))
    (folder / "synthesis.json").write_text(json.dumps(SYNTHESIS))
    write_drawn(folder, rng)
    return folder


def write_data_set(folder: Path, rows: int, prompt: str, rng: random.Random) -> None:
    def keep(data: bytes) -> str:
        name = f"{hashlib.sha256(data).hexdigest()}.png"
        path = blob_path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return name

    lines = []
    for k in range(rows):
        scene = random_scene(rng, rng.choice([1, 1, 2, 2, 2, 3, 4]))
        is_edit = k % 2 == 1
        attributes = {
            "objects": [
                {
                    "category": i.shape.value,
                    "count": 1,
                    "colour": rng.choice([i.colour.value, None]),
                }
                for i in scene.items
            ],
            "background": rng.choice([scene.background.value, None]),
            "composition": "left of" if len(scene.items) == 2 else None,
        }
        target = random_scene(rng, len(scene.items)) if is_edit else scene
        row = Row(
            input_prompt=(k == 0 and prompt)
            or (f"make it {words(target)}" if is_edit else words(scene)),
            output_image=keep(png(target, 128)),
            output_image_resolution=(128, 128),
            input_image=(keep(png(scene, 128)),) if is_edit else (),
            input_image_resolution=(128, 128) if is_edit else None,
            provenance=Provenance(
                id=f"{k:08x}",
                pipeline="editing" if is_edit else "prompt_first",
                task=rng.choice(["element_manipulation", "background_modification"])
                if is_edit
                else "text_to_image",
                attributes={} if is_edit else attributes,
                write_prompt="…",
                writer="sketch-writer-1",
                painter="sketch-painter-1",
                seed=k,
            ),
        )
        lines.append(json.dumps(row.to_json()))
    (folder / "dataset" / "rows.jsonl").write_text("\n".join(lines) + "\n")


def write_metrics(folder: Path, steps: int) -> None:
    rng = random.Random(1)
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            warm = min(1.0, step / 75)
            rate = 1e-3 * warm * (0.15 + 0.85 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            t2i = 1.1 + 2.6 * math.exp(-step / 260) + rng.gauss(0, 0.05)
            edit = 0.55 + 2.9 * math.exp(-step / 320) + rng.gauss(0, 0.06)
            line = {
                "step": step,
                "loss": (t2i + edit) / 2,
                "t2i_loss": t2i,
                "edit_loss": edit,
                "rate": rate,
                "seconds": 0.268,
                "tokens": 4200,
            }
            file.write(json.dumps(line) + "\n")


def write_scores(folder: Path, per_task: int, prompt: str, rng: random.Random) -> None:
    from janus4o.evaluate.scores import ModelScores, Setting, Trial, _intervals, _tally
    from janus4o.evaluate.statistics import mean
    from janus4o.evaluate.summary import write_summary

    items = []
    for model in ("base", "tuned"):
        asked = random.Random(2)
        for task, (kind, held_out, base, tuned) in TASKS.items():
            for number in range(per_task):
                wanted = random_scene(asked, 2)
                passed = rng.random() < (base if model == "base" else tuned)
                made = wanted if passed else random_scene(rng, rng.choice([1, 2, 3]))
                path = f"pictures/{model}/{task}-{number:04d}.png"
                source = f"pictures/source/{task}-{number:04d}.png" if kind is Kind.EDIT else None
                for name, data in ((path, png(made, 64)), (source, png(wanted, 128))):
                    if name:
                        (folder / name).parent.mkdir(parents=True, exist_ok=True)
                        (folder / name).write_bytes(data)
                items.append(
                    Item(
                        model=model,
                        kind=kind,
                        task=task,
                        number=number,
                        prompt=(number == 0 and prompt) or words(wanted),
                        seed=1_000_000 + number,
                        held_out=held_out,
                        passed=passed,
                        reason="" if passed else f"{len(made.items)} objects instead of 2",
                        picture=path,
                        source=source,
                    )
                )
    write_items(folder, items)
    settings = {Kind.TEXT_TO_IMAGE: Setting(2.0), Kind.EDIT: Setting(1.0, 0.0)}
    scores = {}
    for model in ("base", "tuned"):
        own = [item for item in items if item.model == model]
        scores[model] = ModelScores(
            name=model,
            inputs=hashlib.sha256(model.encode()).hexdigest(),
            tasks={kind: _tally(own, kind) for kind in Kind},
            means={kind: mean(_intervals(own, kind)) for kind in Kind},
            settings=settings,
            trials={kind: (Trial(setting, 0.5),) for kind, setting in settings.items()},
            seconds=48.2,
        )
    write_summary(folder, scores["base"], scores["tuned"], "sketch-detector 1", "test", 1_000_000)
