"""Draws pictures from prompts: python examples/generate.py [MODEL] [FOLDER]

The pictures carry their prompt and seed; `score_folder.py` reads them again.
"""

import sys
from pathlib import Path

import janus4o
from janus4o.images import save_png

PROMPTS = ["a red circle", "a green house on a gray background", "two blue stars"]

name = sys.argv[1] if len(sys.argv) > 1 else "sketch-base"
folder = Path(sys.argv[2] if len(sys.argv) > 2 else "drawn")
folder.mkdir(parents=True, exist_ok=True)

model = janus4o.load(name)
# Two pictures of each prompt; picture j draws from a generator of its own, seeded seed + j.
for made in model.generate(PROMPTS, n=2, guidance=1.0, seed=0):
    path = folder / f"{made.prompt.replace(' ', '-')}-{made.seed}.png"
    save_png(made.image, path, {"prompt": made.prompt, "seed": str(made.seed)})
    print(path)
