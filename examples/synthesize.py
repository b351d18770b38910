"""Makes a small data set with the offline teacher: python examples/synthesize.py [FOLDER]

No torch, no key, no network. Run it twice: the second time nothing is asked again.
"""

import sys

from janus4o.recipe import parse
from janus4o.rows import open_rows
from janus4o.sketch.teacher import SketchPainter, SketchWriter
from janus4o.synth.inspection import SketchInspector
from janus4o.synth.runner import run

folder = sys.argv[1] if len(sys.argv) > 1 else "runs/example"
recipe = parse(
    {
        "name": "example",
        "synthesis": {"text_to_image": {"count": 8}, "editing": {"count": 8}},
    }
)
inspector = SketchInspector(hold_out=False)  # looks whether pictures show what was asked
outcome = run(recipe, folder, SketchWriter(), SketchPainter(), inspector=inspector)
print(f"{outcome.tally.accepted}, {outcome.tally.calls} calls, ${outcome.spend.cost_usd:.2f}")

for row in open_rows(folder):
    print("edit" if row.is_edit else "draw", "|", row.input_prompt, "|", row.output_image[:12])
