"""How well `janus4o check` finds planted defects: `python benchmarks/checks.py [--rows 400]`.

The offline world makes a data set; into a share of its rows one defect each is planted. For every check:
how many rows have the defect, how many of those it finds (recall), and how many of the rows it says no to have
it (precision). The world is small, so that rows repeat each other and edits empty pictures without anybody's
planting: rows whose prompt, or whose picture's bytes, an earlier row has, and pictures of one colour count too.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from janus4o.images import save_png
from janus4o.ledger.blobs import Blobs
from janus4o.rows import ROWS_FILE, open_rows
from janus4o.synth.checking.run import Checked, check_rows
from janus4o.synth.inspection import SketchInspector

SHARE = 0.04
"""Of the rows that get each defect."""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument(
        "--rows", type=int, default=400, help="text-to-image rows, and as many edits"
    )
    asked.add_argument("--seed", type=int, default=0)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as work:
        run = Path(work) / "run"
        counts = [f"synthesis.{k}.count={options.rows}" for k in ("text_to_image", "editing")]
        words = ["synth", "recipes/sketch.yaml", f"output={run}", f"seed={options.seed}", *counts]
        code = "import sys; from janus4o.cli.app import main; sys.exit(main(sys.argv[1:]))"
        subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
        planting = Planting(run, random.Random(options.seed))
        planting.plant_all()
        show(check(run, planting.benchmark), planting.truth, planting.planted)


def check(run: Path, benchmark: list[str]) -> Checked:
    return check_rows(
        open_rows(run), run, inspector=SketchInspector(hold_out=False), benchmark=benchmark
    )


def show(after: Checked, truth: dict[str, set[int]], planted: dict[str, int]) -> None:
    columns = f"{'check':<18}{'planted':>8}{'there':>7}{'found':>7}{'recall':>8}{'precision':>11}"
    print(columns)
    for name, there in truth.items():
        said = set(after.failed.get(name, []))
        found = len(said & there)
        recall = found / len(there) if there else 1.0
        precision = found / len(said) if said else 1.0
        print(
            f"{name:<18}{planted[name]:>8}{len(there):>7}{found:>7}{recall:>8.3f}{precision:>11.3f}"
        )
    print(f"{after.rows} rows, {after.passed} pass every check")


class Planting:
    """Spoils rows of a run folder. `truth`: check → numbers of the rows it ought to say no to."""

    def __init__(self, run: Path, rng: random.Random) -> None:
        self._run, self._rng = run, rng
        self._blobs = Blobs(run / "blobs")
        lines = (run / ROWS_FILE).read_text("utf-8").splitlines()
        self._rows = [json.loads(line) for line in lines]
        self._edits = [n for n, row in enumerate(self._rows) if "input_image" in row]
        self._drawn = [n for n, row in enumerate(self._rows) if "input_image" not in row]
        self._left = list(range(1, len(self._rows)))
        rng.shuffle(self._left)
        self.truth: dict[str, set[int]] = defaultdict(set)
        self.planted: dict[str, int] = {}
        self.benchmark: list[str] = []

    def plant_all(self) -> None:
        everything = list(range(len(self._rows)))
        self._plant("decodes", everything, self._cut)
        self._plant("resolution", everything, self._say_other_size)
        self._plant("not_flat", everything, self._flatten, "shows_prompt")
        self._plant("changed", self._edits, self._leave_unchanged, "shows_prompt")
        self._plant("new_picture", self._drawn, self._draw_again, "shows_prompt")
        self._plant("new_prompt", self._drawn, self._say_again, "shows_prompt")
        self._plant("not_in_benchmark", self._drawn, self._publish)
        self._plant("shows_prompt", everything, self._exchange)
        self._find_natural()
        path = self._run / ROWS_FILE
        path.write_text("".join(json.dumps(row) + "\n" for row in self._rows), "utf-8")

    def _find_natural(self) -> None:
        """Defects that need no planting, by equality alone."""
        seen: set[object] = set()
        for number, row in enumerate(self._rows):
            if number in self.truth["decodes"]:
                continue
            if max(high - low for low, high in self._image(row["output_image"]).getextrema()) == 0:
                self.truth["not_flat"].add(number)
            shown = (*row.get("input_image", ()), row["output_image"])
            said = () if "input_image" in row else (row["input_prompt"],)
            for check, one in (("new_picture", shown), *(("new_prompt", text) for text in said)):
                if (check, one) in seen:
                    self.truth[check].add(number)
                seen.add((check, one))

    def _plant(
        self, check: str, among: list[int], spoil: Callable[[int], None], also: str = ""
    ) -> None:
        wanted, allowed = max(4, round(SHARE * len(among))), set(among)
        self.planted[check] = wanted
        for number in [n for n in self._left if n in allowed][:wanted]:
            self._left.remove(number)
            spoil(number)
            self.truth[check].add(number)
            if also:
                self.truth[also].add(number)

    def _read(self, name: str) -> bytes:
        return self._blobs.read(name)

    def _image(self, name: str) -> Image.Image:
        return Image.open(io.BytesIO(self._read(name))).convert("RGB")

    def _put(self, number: int, data: bytes) -> None:
        self._rows[number]["output_image"] = self._blobs.put(data, durable=False)

    def _cut(self, number: int) -> None:
        data = self._read(self._rows[number]["output_image"])
        self._put(number, data[: len(data) * self._rng.randrange(3, 9) // 10])

    def _say_other_size(self, number: int) -> None:
        width, height = self._rows[number]["output_image_resolution"]
        self._rows[number]["output_image_resolution"] = [width, height + self._rng.choice((-1, 8))]

    def _flatten(self, number: int) -> None:
        size = tuple(self._rows[number]["output_image_resolution"])
        noise = np.random.default_rng(number).normal(
            0, self._rng.choice((0, 2)), (size[1], size[0], 3)
        )
        colour = np.array([self._rng.randrange(20, 236) for _ in range(3)])
        self._put(number, save_png(Image.fromarray((colour + noise).round().astype(np.uint8))))

    def _leave_unchanged(self, number: int) -> None:
        source = self._image(self._rows[number]["input_image"][0])
        self._put(number, self._rng.choice((save_png, jpeg))(source))

    def _draw_again(self, number: int) -> None:
        sound = [n for n in self._drawn if n < number and n not in self.truth["decodes"]]
        earlier = self._rng.choice(sound or [0])
        image = self._image(self._rows[earlier]["output_image"])
        half = image.resize((image.width * 3 // 4, image.height * 3 // 4)).resize(image.size)
        brighter = ImageEnhance.Brightness(image).enhance(1.03)
        self._put(
            number, self._rng.choice((save_png, jpeg))(self._rng.choice((image, half, brighter)))
        )

    def _say_again(self, number: int) -> None:
        earlier = self._rng.choice([n for n in self._drawn if n < number] or [0])
        self._rows[number]["input_prompt"] = retyped(self._rows[earlier]["input_prompt"], self._rng)

    def _publish(self, number: int) -> None:
        self.benchmark.append(retyped(self._rows[number]["input_prompt"], self._rng))

    def _exchange(self, number: int) -> None:
        """The picture of another row of its kind that asks for something else."""
        among = self._edits if number in self._edits else self._drawn
        prompt = self._rows[number]["input_prompt"]
        sound = [n for n in among if n not in self.truth["decodes"]]
        other = self._rng.choice([n for n in sound if self._rows[n]["input_prompt"] != prompt])
        self._rows[number]["output_image"] = self._rows[other]["output_image"]


def retyped(text: str, rng: random.Random) -> str:
    """The same prompt as somebody else would type it."""
    return rng.choice((text.upper(), f"  {text}. ", text.replace(" ", "  ").title(), f"“{text}”!"))


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
