"""Draws what docs/teacher.md shows: a sheet of samples of all four pipelines, and `plan` and the live line.

    python tests/teachers/show.py            # writes docs/pictures/pipelines.png, plan.svg, synth.svg

The real command line and the real OpenAI client ask the fault server on loopback; the sketch teachers stand
behind it, and a third of all requests goes wrong.
"""

from __future__ import annotations

import io
import os
import pty
import random
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import yaml
from fault_server import Asked, Fault, FaultServer
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.text import Text

from janus4o.images import open_image, save_png
from janus4o.records import Row
from janus4o.rows import Rows, open_rows
from janus4o.sketch.captions import parse_caption
from janus4o.sketch.render import draw
from janus4o.sketch.teacher import SketchPainter, SketchWriter
from janus4o.sketch.wanted import World, imagine

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SIDE, GAP, WORDS, COLUMNS = 150, 10, 44, 4
PIPELINES = {
    "prompt_first": "Prompt first: attributes, a prompt, a picture",
    "image_first": "Image first: a picture that is there, a sentence, a picture",
    "document": "Document: content, a template, a page",
    "editing": "Editing: a source, an instruction, the result",
}
KEY = {"JANUS4O_SHOW_KEY": "sk-nothing"}


def storm(asked: Asked) -> Fault | None:
    rng = random.Random(asked.number)
    if rng.random() > 0.33:
        return Fault(delay=0.15)
    kind = rng.choice(["status", "status", "reset", "truncate", "html", "none"])
    status = rng.choice([429, 500, 502, 503])
    return Fault(kind, status, retry_after="0.2" if status == 429 else None)


def recipe(url: str, folder: Path) -> Path:
    """A recipe of all four pipelines; the pictures that image-first describes are drawn beside it."""
    (folder / "there").mkdir()
    things = ("red circle", "green star", "blue house", "yellow ring")
    captions = [
        f"a {thing} {place}" for place in ("on the left", "on the right") for thing in things
    ]
    for number, caption in enumerate(captions):
        scene = imagine(parse_caption(caption), np.random.default_rng(number), World.RICH)
        data = save_png(Image.fromarray(draw(scene, 256)))
        (folder / "there" / f"{number}.png").write_bytes(data)
    server = {"api": "openai", "base_url": url, "key": next(iter(KEY)), "seed": True}
    price = {"input": 2.0, "image_input": 4.0, "output": 10.0, "picture": {"any": 0.01}}
    data = {
        "name": "shown",
        "output": str(folder / "run"),
        "teachers": {
            "writer": {**server, "model": "scribe-1", "price": price},
            "painter": {**server, "model": "brush-1", "price": price},
            "size": [256, 256],
            "max_categories": 3,
        },
        "synthesis": {
            "world": "rich",
            "hold_out": False,
            "budget_usd": 5.0,
            "concurrency": 4,
            "text_to_image": {"count": 12},
            "image_first": {"count": 4, "pictures": {"path": str(folder / "there")}},
            "document": {"count": 5},
            "editing": {"count": 12},
        },
    }
    path = folder / "shown.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def on_a_terminal(*words: str) -> str:
    """What a command shows on a terminal, control codes and all."""
    ours, theirs = pty.openpty()
    env = {**os.environ, **KEY, "COLUMNS": "118", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "janus4o.cli.app", *words]
    running = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=env)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other end is closed: it has ended
        pass
    os.close(ours)
    if running.wait():
        sys.exit(shown.decode().split("\r")[-2])
    return shown.decode()


def screenshot(lines: list[str], name: str, title: str) -> None:
    console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), overflow="ignore", no_wrap=True)
    console.save_svg(str(PICTURES / name), title=title)


def sheet(rows: Rows, there: Path) -> Image.Image:
    """A row of samples for each pipeline, what was written below each picture.

    Args:
        there: folder of the pictures that image-first describes.
    """
    font = ImageFont.load_default(11)
    wide = COLUMNS * (2 * SIDE + 2 * GAP)
    high = 24 + SIDE + 74
    page = Image.new("RGB", (wide + GAP, len(PIPELINES) * high), "white")
    pen = ImageDraw.Draw(page)
    for line, (pipeline, heading) in enumerate(PIPELINES.items()):
        top = line * high
        pen.text((GAP, top + 6), heading, "black", ImageFont.load_default(13))
        made = [r for r in rows if r.provenance and r.provenance.pipeline == pipeline]
        for column, row in enumerate(made[:COLUMNS]):
            left = GAP + column * (2 * SIDE + 2 * GAP)
            for at, data in enumerate(shown(rows, row, there)):
                small = open_image(data).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                x, y = left + at * (SIDE + 4), top + 24
                page.paste(small, (x, y))
                pen.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), outline="silver")
            words = textwrap.wrap(row.input_prompt, WORDS)[:4]
            pen.multiline_text((left, top + 28 + SIDE), "\n".join(words), "black", font)
    return page


def shown(rows: Rows, row: Row, there: Path) -> list[bytes]:
    """The pictures of a row, that which it is made from first."""
    made_from = [rows.read(name) for name in row.input_image]
    if row.provenance and "picture" in row.provenance.attributes:
        made_from.append((there / row.provenance.attributes["picture"]).read_bytes())
    return [*made_from, rows.read(row.output_image)]


def main() -> None:
    server = FaultServer(
        faults=storm, writer=SketchWriter("rich", False), painter=SketchPainter("rich", False)
    )
    with server.running(), tempfile.TemporaryDirectory() as folder:
        path = recipe(server.url, Path(folder))
        planned = on_a_terminal("plan", str(path))
        made = on_a_terminal("synth", str(path))
        rows = open_rows(Path(folder) / "run")
        sheet(rows, Path(folder) / "there").save(PICTURES / "pipelines.png", optimize=True)
        hidden = planned.replace(folder, "runs").replace("\r", "")
        screenshot(hidden.splitlines(), "plan.svg", "janus4o plan shown.yaml")
        frames = made.replace(folder, "runs").replace("\n", "\r").split("\r")
        frames = [frame for frame in frames if "rows" in frame and "left" in frame]
        lines = [frames[len(frames) // 3], frames[2 * len(frames) // 3], *made.splitlines()[-2:]]
        lines = [line.replace(folder, "runs").rpartition("\r")[2] or line for line in lines]
        screenshot(lines, "synth.svg", "janus4o synth shown.yaml")
    print(f"{len(rows)} rows, {len(server.asked)} requests, {sum(server.billed.values())} billed")


if __name__ == "__main__":
    main()
