"""Real photographs, beside drawn scenes, through every stage a picture of a user goes through."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from janus4o.cli import app
from janus4o.exchange import Picture, Refusal, WriteRequest
from janus4o.images import open_image
from janus4o.model.loading import TinyConfig, load_model, new_model, save_model
from janus4o.model.preprocess import fit_image
from janus4o.sketch.render import draw
from janus4o.sketch.teacher import SketchWriter
from janus4o.train.codes import open_codes
from janus4o.train.tokenizer import random_scene

SHIPPED = Path(skimage.__file__).parent / "data"
PHOTOGRAPHS = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
    "hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
TINY = TinyConfig(
    image_size=32, patch_size=8, hidden=32, layers=1, heads=2, mlp=48,
    vision_hidden=32, vision_layers=1, vision_heads=2, vq_codes=64,
    vq_multipliers=(1, 1, 1, 1), embedding_std=1.0, std=0.2,
)  # fmt: skip


def row(prompt: str, image: str, folder: Path, source: str | None = None) -> dict[str, object]:
    def size(name: str) -> list[int]:
        with Image.open(folder / name) as opened:
            return list(opened.size)

    made: dict[str, object] = {
        "input_prompt": prompt, "output_image": image, "output_image_resolution": size(image),
    }  # fmt: skip
    if source is not None:
        made |= {"input_image": [source], "input_image_resolution": size(source)}
    return made


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A data set in the published layout: photographs and scenes, edits from one to the other."""
    folder = tmp_path / "published"
    folder.mkdir()
    scenes = []
    for number in range(4):
        scene = random_scene(np.random.default_rng(number), 2)
        Image.fromarray(draw(scene, 64)).save(folder / f"scene{number}.png")
        scenes.append(f"scene{number}.png")
    for name in PHOTOGRAPHS:
        (folder / name).write_bytes((SHIPPED / name).read_bytes())
    names = [*PHOTOGRAPHS, *scenes]
    drawn = [row(f"picture {name}", name, folder) for name in names]
    edits = [
        row(f"change {name}", names[(place + 7) % len(names)], folder, name)
        for place, name in enumerate(names)
    ]
    (folder / "text_to_image.json").write_text(json.dumps(drawn))
    (folder / "text_and_image_to_image.json").write_text(json.dumps(edits))
    return folder


def test_photographs_and_scenes_go_all_the_way(published: Path, tmp_path: Path) -> None:
    save_model(new_model(("picture", "change", "make", "it", "blue"), TINY), tmp_path / "init")
    recipe = tmp_path / "photographs.yaml"
    settings = {
        "name": "photographs",
        "output": str(tmp_path / "run"),
        "model": {"init": str(tmp_path / "init")},
        "train": {"steps": 2, "batch": 6, "rate": 1e-3},
    }
    recipe.write_text(json.dumps(settings))
    assert app.main(["import", str(published), "--into", str(tmp_path / "run"), "--decode"]) == 0
    assert app.main(["encode", str(recipe)]) == 0
    assert app.main(["train", str(recipe)]) == 0

    model = load_model(tmp_path / "run/checkpoints/2")
    (folder,) = (tmp_path / "run" / "codes").iterdir()
    codes = open_codes(folder)
    assert (codes.unreadable, codes.skipped, len(codes.rows)) == (0, 0, 28)
    for coded in codes.rows[14:]:
        name = coded.prompt.removeprefix("change ")
        wanted = fit_image(open_image((published / name).read_bytes()), model.geometry, model.fit)
        assert np.array_equal(codes.picture(coded.sources[0]), wanted)
    losses = [
        json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    ]
    assert len(losses) == 2
    assert all(np.isfinite(one["t2i_loss"]) and np.isfinite(one["edit_loss"]) for one in losses)

    for name in PHOTOGRAPHS:
        out = tmp_path / "edited" / name
        words = [str(published / name), "make it blue", "--out", str(out)]
        assert app.main(["edit", *words, "--model", str(tmp_path / "run/checkpoints/2")]) == 0
    assert len(list((tmp_path / "edited").glob("*/*.png"))) == len(PHOTOGRAPHS)


@pytest.mark.parametrize("name", ["chelsea.png", "rocket.jpg", "camera.png"])
def test_the_offline_teacher_refuses_a_photograph_by_name(name: str) -> None:
    data = open_image((SHIPPED / name).read_bytes()).resize((128, 128))
    buffer = io.BytesIO()
    data.save(buffer, "PNG")
    request = WriteRequest("Task: element_manipulation", (Picture(buffer.getvalue()),))
    reply = asyncio.run(SketchWriter().write(request))
    assert isinstance(reply, Refusal)
    assert reply.category == "unreadable_source"
