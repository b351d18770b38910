"""How well `janus4o check` finds planted defects: `python benchmarks/checks.py [--rows 400] [--pages 100]`.

The offline world makes a data set; into a share of its rows one defect each is planted. For every check:
how many rows have the defect, how many of those it finds (recall), and how many of the rows it says no to have
it (precision). The world is small, so that rows repeat each other and edits empty pictures without anybody's
planting: rows whose prompt, or whose picture's bytes, an earlier row has, and pictures of one colour count too.

The judge is the offline world's, which is exact; what of its scores is measured is their limits: how much noise,
blur or foreign matter they let through. Text is read by RapidOCR on pages of the offline world, half of which
have letters changed in one of the texts asked for; without the extra `ocr` that line is left out.
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
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from janus4o.cli.check import eyes_of
from janus4o.errors import Janus4oError
from janus4o.images import save_png
from janus4o.ledger.blobs import Blobs
from janus4o.records import Row
from janus4o.rows import ROWS_FILE, open_rows
from janus4o.sketch import detect
from janus4o.sketch.document import draw_document
from janus4o.sketch.pages import CATEGORIES, read_merged, write_content, write_template
from janus4o.sketch.scene import LEARNABLE_BACKGROUNDS, Scene
from janus4o.sketch.scorer import SketchScorer
from janus4o.sketch.view import View, show
from janus4o.synth import documents, prompts
from janus4o.synth.checking.judged import Jury
from janus4o.synth.checking.registry import CHECKS
from janus4o.synth.checking.run import Checked, check_rows
from janus4o.synth.checking.seeing import Eyes, asked, compare_counts
from janus4o.synth.inspection import SketchInspector

SHARE = 0.04
"""Of the rows that get each defect."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument(
        "--rows", type=int, default=400, help="text-to-image rows, and as many edits"
    )
    words.add_argument("--pages", type=int, default=100, help="pages whose text is read")
    words.add_argument("--seed", type=int, default=0)
    options = words.parse_args()
    with tempfile.TemporaryDirectory() as work:
        run = Path(work) / "run"
        counts = [f"synthesis.{k}.count={options.rows}" for k in ("text_to_image", "editing")]
        command = ["synth", "recipes/sketch.yaml", f"output={run}", f"seed={options.seed}", *counts]
        code = "import sys; from janus4o.cli.app import main; sys.exit(main(sys.argv[1:]))"
        subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True)
        planting = Planting(run, random.Random(options.seed))
        planting.plant_all()
        print_table(check(run, planting.benchmark), planting.truth, planting.planted)
    try:
        eyes = eyes_of(True, None)
    except Janus4oError as error:
        print(f"text: left out: {error.message}")
    else:
        read_pages(eyes, options.pages, random.Random(options.seed))


def check(run: Path, benchmark: list[str]) -> Checked:
    return check_rows(
        open_rows(run),
        run,
        inspector=SketchInspector(hold_out=False),
        eyes=eyes_of(False, "sketch"),
        benchmark=benchmark,
        jury=Jury(SketchScorer(), prompts.read()),
    )


def print_table(after: Checked, truth: dict[str, set[int]], planted: dict[str, int]) -> None:
    columns = f"{'check':<18}{'planted':>8}{'there':>7}{'found':>7}{'recall':>8}{'precision':>11}"
    print(columns)
    for name, there in truth.items():
        said = set(after.failed.get(name, []))
        found = len(said & there)
        recall = found / len(there) if there else 1.0
        precision = found / len(said) if said else 1.0
        print(
            f"{name:<18}{planted.get(name, 0):>8}{len(there):>7}{found:>7}{recall:>8.3f}{precision:>11.3f}"
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
        self._by: dict[str, set[int]] = defaultdict(set)
        self._donors: dict[int, int] = {}
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
        self._plant("objects", self._drawn, self._fewer, "shows_prompt")
        self._plant("preservation", self._edits, self._do_too_much, "shows_prompt")
        self._plant("realism", everything, self._smear, "shows_prompt")
        self._plant("technique", everything, self._roughen)
        self._find_natural()
        self._tell_what_follows()
        path = self._run / ROWS_FILE
        path.write_text("".join(json.dumps(row) + "\n" for row in self._rows), "utf-8")

    def _tell_what_follows(self) -> None:
        """Defects that come with others: a foreign picture has another's objects, and preserves nothing."""
        whole = (
            self._by["preservation"] | self._by["realism"]
        )  # what was asked for is there in these
        self.truth["following"] = self.truth["shows_prompt"] - whole
        foreign = self._by["shows_prompt"] | self._by["not_flat"]
        self.truth["preservation"] |= foreign & set(self._edits)
        self.truth["realism"] |= self._by["not_flat"]
        drawn = set(self._drawn)
        self.truth["objects"] |= self._by["not_flat"] & drawn
        for number, other in self._donors.items():
            if number in drawn:
                wanted, shown = (asked(Row.model_validate(self._rows[n])) for n in (number, other))
                if compare_counts(wanted, {name: (n, n) for name, n in shown.items()}):
                    self.truth["objects"].add(number)

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
        self, check: str, among: list[int], spoil: Callable[[int], None], *also: str
    ) -> None:
        wanted, allowed = max(4, round(SHARE * len(among))), set(among)
        self.planted[check] = wanted
        for number in [n for n in self._left if n in allowed][:wanted]:
            self._left.remove(number)
            spoil(number)
            self.truth[check].add(number)
            self._by[check].add(number)
            for other in also:
                self.truth[other].add(number)

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
        self._donors[number] = self._donors.get(earlier, earlier)
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
        self._donors[number] = self._donors.get(other, other)

    def _fewer(self, number: int) -> None:
        """The picture without one of its objects; one that has none afterwards is just its ground."""
        image = self._image(self._rows[number]["output_image"])
        scene = detect.scene(np.asarray(image)).scene
        assert scene is not None
        self._draw(number, replace(scene, items=scene.items[1:]), image.width)

    def _do_too_much(self, number: int) -> None:
        """The edit is done, and the background changed besides; or an object more is gone."""
        row = self._rows[number]
        image = self._image(row["output_image"])
        before, after = (
            detect.scene(np.asarray(self._image(name))).scene
            for name in (row["input_image"][0], row["output_image"])
        )
        assert before is not None
        assert after is not None
        left = [item for item in after.items if item in before.items]
        if left and len(after.items) > 1 and self._rng.random() < 0.5:
            gone = self._rng.choice(left)
            after = replace(after, items=tuple(item for item in after.items if item != gone))
        else:
            taken = (before.background, after.background)
            others = [one for one in LEARNABLE_BACKGROUNDS if one not in taken]
            if before.background is not after.background:
                # The background was what was to change: then something else is lost.
                after = replace(after, items=after.items[1:])
            else:
                after = replace(after, background=self._rng.choice(others))
        self._draw(number, after, image.width)

    def _smear(self, number: int) -> None:
        """A bar or a blot that belongs to nothing."""
        pixels = np.array(self._image(self._rows[number]["output_image"]))
        side = pixels.shape[0]
        high, wide = (side // self._rng.choice((4, 6, 8)) for _ in range(2))
        top, left = self._rng.randrange(side - high), self._rng.randrange(side - wide)
        under = pixels[top : top + high, left : left + wide].mean((0, 1))
        far = [
            20 if one > 128 else 235 for one in under
        ]  # in every channel, so that it can be seen
        pixels[top : top + high, left : left + wide] = far
        self._put(number, save_png(Image.fromarray(pixels)))

    def _roughen(self, number: int) -> None:
        """Noise, or blur, or a picture blown up from a small one."""
        image = self._image(self._rows[number]["output_image"])
        if self._rng.random() < 0.5:
            noise = np.random.default_rng(number).normal(0, self._rng.choice((18, 30)), image.size)
            pixels = np.asarray(image, np.float64) + noise[..., None]
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        elif self._rng.random() < 0.5:
            image = image.filter(ImageFilter.GaussianBlur(image.width / self._rng.choice((40, 60))))
        else:
            image = image.resize((24, 24), Image.Resampling.BOX).resize(image.size)
        self._put(number, save_png(image))

    def _draw(self, number: int, scene: Scene, side: int) -> None:
        self._put(number, save_png(Image.fromarray(show(scene, View.PLAIN, side))))


def read_pages(eyes: Eyes, count: int, rng: random.Random) -> None:
    """Pages as the document pipeline asks for them; half are drawn with other letters."""
    limit = CHECKS["text"]
    planted = found = said = 0
    words = documents.read(None)
    for number in range(count):
        draws = np.random.default_rng([number, rng.randrange(2**31)])
        theme = words.themes[draws.integers(len(words.themes))]
        name = rng.choice(list(CATEGORIES))
        content = json.loads(write_content(name, theme, draws))
        template = json.loads(write_template(name, "a sans serif", theme, draws))
        look = template["visual_template_prompt"].rstrip(".")
        texts = [("title", content["title"])]
        texts += [("paragraph", text) for text in content["paragraphs"]]
        texts += [("entry", f"{one['label']}: {one['value']}") for one in content["data"]]
        prompt, drawn = (
            f"{look}. All text is set in a sans serif and is exactly: "
            + "; ".join(f"{kind} “{text}”" for kind, text in these)
            for these in (texts, misspelt(texts, rng))
        )
        wrong = number % 2 == 1
        planted += wrong
        page = draw_document(read_merged(drawn if wrong else prompt), (512, 512))
        row = Row(input_prompt=prompt, output_image="", output_image_resolution=(512, 512))
        figures, _ = eyes.look(row, page)
        no = not limit.passes(figures["text"])
        said += no
        found += no and wrong
    recall, precision = found / planted, found / said if said else 1.0
    print(f"{'text':<18}{planted:>8}{planted:>7}{found:>7}{recall:>8.3f}{precision:>11.3f}")
    print(f"{count} pages of the offline world, read by {eyes.names}")


def misspelt(texts: list[tuple[str, str]], rng: random.Random) -> list[tuple[str, str]]:
    """Texts of which a third of the words, or two of them, have a letter exchanged, lost or doubled."""
    places = [(n, k) for n, (_, text) in enumerate(texts) for k in range(len(text.split()))]
    places = [(n, k) for n, k in places if texts[n][1].split()[k].isalpha()]
    chosen = set(rng.sample(places, min(len(places), max(2, len(places) // 3))))
    return [
        (kind, " ".join(
            misspell(word, rng) if (n, k) in chosen else word for k, word in enumerate(text.split())
        ))
        for n, (kind, text) in enumerate(texts)
    ]  # fmt: skip


def misspell(word: str, rng: random.Random) -> str:
    at = rng.randrange(len(word))
    other = rng.choice([one for one in "abdeghkmnprstuxz" if one != word[at].lower()])
    return rng.choice((word[:at] + other + word[at + 1 :], word[:at] + other + word[at:]))


def retyped(text: str, rng: random.Random) -> str:
    """The same prompt as somebody else would type it."""
    return rng.choice((text.upper(), f"  {text}. ", text.replace(" ", "  ").title(), f"“{text}”!"))


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
