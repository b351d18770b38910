"""The same pictures by every path of the engine, on one sheet: `python benchmarks/paths.py [SHEET]`.

The shipped model draws six prompts and makes two edits, one row a path. The first row is the plain one;
the lines printed say how many pictures of each row have the very codes they have there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

import janus4o
from janus4o.generate.api import Generation
from janus4o.generate.options import GenerateOptions

PROMPTS = [
    "a red circle",
    "a green house on a gray background",
    "two blue stars",
    "a yellow triangle",
    "a purple heart",
    "a blue square on the left of a red circle",
]
EDITS = [(0, "paint the red circle blue"), (3, "paint the yellow triangle green")]
"""(which prompt's picture in the first row, instruction)."""

# name, how the model is loaded, codes a pass and which guesses hold
PATHS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("plain", {"weights": "plain", "dtype": "float32"}, {}),
    ("packed", {"weights": "packed", "dtype": "float32"}, {}),
    ("packed, bfloat16", {"weights": "packed", "dtype": "bfloat16"}, {}),
    ("int8", {"weights": "int8", "dtype": "bfloat16"}, {}),
    ("int4", {"weights": "int4", "dtype": "bfloat16"}, {}),
    ("speculate 8", {"weights": "packed", "dtype": "float32"}, {"speculate": 8}),
    ("speculate 8, ratio", {"weights": "packed", "dtype": "float32"},
     {"speculate": 8, "rule": "ratio"}),
]  # fmt: skip


def rows() -> Iterator[tuple[str, list[Generation]]]:
    """Every path's name and what it made."""
    sources: list[Image.Image] = []
    for name, how, chosen in PATHS:
        model = janus4o.load("sketch-base", device="cpu", **how)
        drawing = GenerateOptions(guidance=1.0, **chosen)
        made = model.generate_with(PROMPTS, drawing)
        sources = sources or [one.image for one in made]
        editing = GenerateOptions(guidance=1.5, semantic_weight=1.0, **chosen)
        asked = [([sources[index]], instruction) for index, instruction in EDITS]
        yield name, made + model.edit_with(asked, editing)


def main(where: Path) -> None:
    made = list(rows())
    first, label, gap = made[0][1], 130, 4
    side = first[0].image.width
    size = (label + len(first) * (side + gap), len(made) * (side + gap))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for row, (name, drawn) in enumerate(made):
        top = row * (side + gap)
        pen.text((4, top + side // 2 - 6), name, fill="black")
        for column, one in enumerate(drawn):
            sheet.paste(one.image, (label + column * (side + gap), top))
        same = sum(a.codes.equal(b.codes) for a, b in zip(drawn, first, strict=True))
        print(f"{name:<20} {same} of {len(drawn)} pictures have the codes of the first row")
    where.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(128).save(where, optimize=True)
    print(where)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("paths.png"))
