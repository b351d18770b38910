"""Scores pictures that anybody made: python examples/score_folder.py FOLDER

Every PNG must carry its prompt, as those of `generate.py` and `janus4o generate` do. The exact judge
of the offline world decides; a model behind an API can take its place.
"""

import sys
from pathlib import Path

from janus4o.evaluate.question import Question
from janus4o.evaluate.statistics import wilson
from janus4o.evaluate.verdict import judge_answers
from janus4o.images import open_image, read_metadata
from janus4o.scored import HeldOut
from janus4o.sketch.judge import SketchJudge

paths = sorted(Path(sys.argv[1]).glob("*.png"))
questions = [
    Question("own", number, read_metadata(path)["prompt"], 0, HeldOut.BY_WORDING)
    for number, path in enumerate(paths)
]
pictures = [open_image(path) for path in paths]
verdicts = judge_answers(SketchJudge(), questions, pictures, concurrency=8)
for path, question, verdict in zip(paths, questions, verdicts, strict=True):
    print("✓" if verdict.passed else "✗", path.name, "|", question.prompt, "|", verdict.reason)

result = wilson(sum(verdict.passed for verdict in verdicts), len(verdicts))
print(f"{result.score:.2f}, 95 % interval {result.low:.2f}–{result.high:.2f}, n = {len(verdicts)}")
