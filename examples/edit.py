"""Edits one picture at several semantic weights: python examples/edit.py [MODEL] [PICTURE]

A lower weight keeps more of the source. The shipped base has never seen an edit: give a checkpoint of
`janus4o run`, such as runs/sketch/checkpoints/1500.
"""

import sys
from pathlib import Path

import janus4o
from janus4o.images import open_image

name = sys.argv[1] if len(sys.argv) > 1 else "sketch-base"
model = janus4o.load(name)
source = (
    open_image(sys.argv[2])
    if len(sys.argv) > 2
    else model.generate(["a red circle"], guidance=1.0, seed=0)[0].image
)

Path("edited").mkdir(exist_ok=True)
for weight in (0.0, 1.0, 5.0):
    made = model.edit(
        [source], "make the background teal", guidance=1.0, semantic_weight=weight, seed=0
    )
    path = f"edited/weight-{weight:g}.png"
    made[0].image.save(path)
    print(path)
