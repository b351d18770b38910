"""GenEval-, DPG- and ImgEdit-style scores of the pictures the sketch evaluation has made.

The sketch world's exact detector stands in the place of every network: it writes the evidence that the
benchmarks' networks would write, in the same files, and the benchmarks' own rules and summaries do the
rest. Nothing is drawn for it, and all prompts are the sketch world's: the numbers say how base and tuned
differ, never how they stand beside a published row.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from janus4o.errors import DataError, ImageError
from janus4o.evaluate.arena.contest import Item as Contender
from janus4o.evaluate.comparable import doubt
from janus4o.evaluate.dpg import scoring as dpg
from janus4o.evaluate.dpg.mode import Mode
from janus4o.evaluate.dpg.questions import NEEDED, read_rows
from janus4o.evaluate.evidence import (
    Problem,
    hash_file,
    read_object,
    write_lines,
    write_new,
    write_object,
)
from janus4o.evaluate.geneval import scoring as geneval
from janus4o.evaluate.geneval.collecting import look
from janus4o.evaluate.geneval.crops import open_picture
from janus4o.evaluate.geneval.prompts import Sample, parse_metadata
from janus4o.evaluate.geneval.sketch import SketchColours, SketchDetector, metadata_of
from janus4o.evaluate.geneval.summary import by_prompt
from janus4o.evaluate.imgedit import scoring as imgedit
from janus4o.evaluate.imgedit.edits import SCORE_NAMES, read_edits
from janus4o.evaluate.imgedit.mode import Mode as ReplyMode
from janus4o.evaluate.paired import Scores, difference, with_difference
from janus4o.evaluate.score_file import Score
from janus4o.scored import Item, Kind, read_items
from janus4o.sketch.answers import describe_in_words
from janus4o.sketch.captions import parse_caption
from janus4o.sketch.detect import Detection, scene
from janus4o.sketch.instructions import parse_instruction
from janus4o.sketch.marks import Marks, mark_edit
from janus4o.sketch.propositions import propositions
from janus4o.sketch.view import View

SUITE_FOLDER, SUITE_FILE = "suite", "suite.json"
RULES = 1
"""Raised when equal pictures would be scored differently."""
JUDGE = "sketch judge 1"
PROMPT_SET = "sketch world"
EDIT_TYPES = {"recolour": "adjust"}
"""Editing kinds whose name in ImgEdit-Bench is another."""
VOTED = {Kind.TEXT_TO_IMAGE: 52, Kind.EDIT: 35}
"""Items of the arena's set, as many as the paper's people saw."""

Asked = Mapping[str, Item]
"""Name of a question ("two_object-0003") → an item that answers it."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One benchmark's score of one model, and its scores by prompt for the paired test."""

    score: Score
    by_prompt: Scores
    scale: float = 1.0
    weights: Mapping[str, float] | None = None


def write_suite(folder: Path, made: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Scores what `items.jsonl` lists, in `<folder>/suite/`; does nothing where that is done with the same `made`.

    `prompts.jsonl`, `questions.csv`, `edits.json` and `arena.jsonl` say what was asked; the folder of
    each model holds evidence and a score file of each benchmark; `suite.json` sets them side by side.

    Args:
        folder: a scores folder.
        made: model → how its pictures were made; the first is what the others are compared with.

    Returns:
        suite.json: `rows`, one a benchmark.

    Raises:
        DataError: `items.jsonl` cannot be read, or a file cannot be written.
    """
    place, items = folder / SUITE_FOLDER, read_items(folder)
    inputs = {
        "items": hash_file(folder / "items.jsonl"),
        "made": hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest(),
        "rules": RULES,
    }
    done = place / SUITE_FILE
    if done.is_file():
        before = read_object(done)
        if before.get("inputs") == inputs and all(
            _score_file(place, model, row["name"]).is_file()
            for row in before["rows"]
            for model in row["models"]
        ):
            return before
    asked = {kind: _asked(items, kind) for kind in Kind}
    own = {m: {_name(item): item for item in items if item.model == m} for m in made}
    see = _Eyes(folder)
    files = _write_questions(place, asked, see)
    rows = []
    for name, (kind, score_one) in BENCHMARKS.items():
        answered = [m for m in made if any(item.kind is kind for item in own[m].values())]
        scores: dict[str, Score] = {}
        first: tuple[Path, Scored] | None = None
        for model in answered:
            path = _score_file(place, model, name)
            one = score_one(see, place / model, files, asked[kind], own[model])
            prompt_set = {"name": PROMPT_SET, **one.score.prompt_set}
            score = replace(
                one.score,
                prompt_set=prompt_set,
                doubt=doubt(one.score.benchmark, one.score.networks, "", prompt_set, one.score.n),
                about={"made": {"model": model, **made[model]}},
            )
            if first is None:
                first = path, one
            else:
                other, theirs = first
                both = difference(one.by_prompt, theirs.by_prompt, weights=one.weights)
                score = with_difference(score, both, other, one.scale)
            score.write(path)
            scores[model] = score
        if scores:
            rows.append(_row(name, scores))
    summary = {"inputs": inputs, "prompts": PROMPT_SET, "rows": rows}
    write_object(done, summary)
    return summary


def _score_file(place: Path, model: str, name: str) -> Path:
    return place / model / f"{name}.score.json"


def _row(name: str, scores: Mapping[str, Score]) -> dict[str, Any]:
    one = next(iter(scores.values()))
    return {
        "name": name,
        "benchmark": one.benchmark,
        "scale": one.scores.get("scale", [0, 1]),
        "unit": one.unit,
        "models": {
            model: {
                **{key: score.overall[key] for key in ("score", "low", "high")},
                "n": score.n,
                "unscored": score.unscored,
                "against": score.against,
            }
            for model, score in scores.items()
        },
    }


def _asked(items: Iterable[Item], kind: Kind) -> Asked:
    found: dict[str, Item] = {}
    for item in items:
        if item.kind is kind:
            found.setdefault(_name(item), item)
    return found


def _name(item: Item) -> str:
    return Path(item.picture).stem


@dataclass(frozen=True, slots=True)
class _Files:
    """What was asked, in the benchmarks' own files."""

    prompts: Path
    questions: Path
    edits: Path


def _write_questions(place: Path, asked: Mapping[Kind, Asked], see: _Eyes) -> _Files:
    files = _Files(place / "prompts.jsonl", place / "questions.csv", place / "edits.json")
    drawn, edited = asked[Kind.TEXT_TO_IMAGE], asked[Kind.EDIT]
    write_lines(files.prompts, (_metadata(item) for item in _by_prompt(drawn)))
    table = io.StringIO()
    rows = csv.DictWriter(table, ["text", *NEEDED], lineterminator="\n")
    rows.writeheader()
    for name, item in drawn.items():
        for one in propositions(parse_caption(item.prompt)):
            rows.writerow(
                {
                    "item_id": name,
                    "text": item.prompt,
                    "proposition_id": one.id,
                    "dependency": ",".join(map(str, one.parents)) or 0,
                    "tuple": one.what,
                    "question_natural_language": one.question,
                }
            )
    write_new(files.questions, table.getvalue().encode())
    write_object(
        files.edits,
        {
            name: {
                "id": Path(item.source or "").name,
                "prompt": item.prompt,
                "edit_type": EDIT_TYPES.get(item.task, item.task),
            }
            for name, item in edited.items()
        },
    )
    chosen = [*_spread(drawn, VOTED[Kind.TEXT_TO_IMAGE]), *_spread(edited, VOTED[Kind.EDIT])]
    write_lines(place / "arena.jsonl", (_contender(item, see).model_dump() for item in chosen))
    return files


def _by_prompt(asked: Asked) -> Iterable[Item]:
    return {(item.task, item.prompt): item for item in asked.values()}.values()


def _spread(asked: Asked, count: int) -> list[Item]:
    """The first of each task in turn, until there are `count`."""
    order = sorted(asked.values(), key=lambda item: item.number)
    return order[:count]


def _contender(item: Item, see: _Eyes) -> Contender:
    source = ""
    if item.source is not None:
        try:
            found = see(item.source).scene
        except ImageError:
            found = None  # the arena lists it when the contest is made
        source = describe_in_words(found) if found and found.items else "a sketch picture"
    return Contender(item=_name(item), prompt=item.prompt, source=source)


def _metadata(item: Item) -> dict[str, Any]:
    return metadata_of(parse_caption(item.prompt), item.task, item.prompt)


def _geneval(
    see: _Eyes, place: Path, files: _Files, asked: Asked, own: Mapping[str, Item]
) -> Scored:
    detector, colours = SketchDetector(), SketchColours()
    lines, unread = [], []
    for name, item in asked.items():
        if name not in own:
            continue  # its prompt is listed by the score, unless it was asked twice
        sample = Sample(name, see.folder / own[name].picture, parse_metadata(_metadata(item)))
        try:
            line = look(sample, detector, colours)
        except (ImageError, DataError) as error:
            unread.append(Problem(name, error.message))
            continue
        lines.append({**line, "filename": own[name].picture})
    path = place / "detections.jsonl"
    write_lines(path, lines)
    scored, problems = geneval.judge_file(path)
    score = geneval.score_detections(path, scored, [*problems, *unread], files.prompts)
    results = [one.result for one in scored]
    # The sketch world asks short prompts more than once, each time with another seed.
    weights = Counter(result.prompt_key for result in results)
    return Scored(score, by_prompt(results), weights=weights)


def _dpg(see: _Eyes, place: Path, files: _Files, asked: Asked, own: Mapping[str, Item]) -> Scored:
    answers: dict[str, list[dict[str, str]]] = {}
    unread = []
    for name, item in asked.items():
        if name not in own:
            continue  # listed by the score as an item without a picture
        try:
            found = see(own[name].picture).scene
        except ImageError as error:
            unread.append(Problem(f"{name}.png", error.message, unscored=False))
            continue
        answers[f"{name}.png"] = [
            {
                one.question: "yes" if found is not None and one.holds(found) else "no"
                for one in propositions(parse_caption(item.prompt))
            }
        ]
    path = place / "answers.json"
    write_object(path, answers)
    names = [f"{name}.png" for name in asked if name in own]
    run = dpg.score_run(read_rows(files.questions), names, answers, 1, Mode.FIXED)
    score = dpg.score_file(run, [files.questions, path], JUDGE, 1)
    score = replace(score, problems=[*score.problems, *unread])
    return Scored(score, dpg.by_prompt(run), 100)


def _imgedit(
    see: _Eyes, place: Path, files: _Files, asked: Asked, own: Mapping[str, Item]
) -> Scored:
    edits, _ = read_edits(files.edits)
    lines = []
    for name, item in asked.items():
        edit = edits[name]
        line: dict[str, Any] = {"id": name, "edit_type": edit.type, "source": edit.source}
        line["judge"] = JUDGE
        try:
            if name not in own:
                raise ImageError("no picture of this edit")
            line["reply"] = _reply(_mark(see, item, own[name]), edit.type)
        except (ImageError, DataError) as error:
            line["reply"] = {"error": error.message}
        lines.append(line)
    path = place / "replies.jsonl"
    write_lines(path, lines)
    judged, problems = imgedit.judge_lines(path, ReplyMode.STRICT)
    score = imgedit.score_file(
        judged, problems, [path, files.edits], ReplyMode.STRICT, JUDGE, list(edits.values())
    )
    return Scored(score, imgedit.by_edit(judged))


def _mark(see: _Eyes, item: Item, own: Item) -> Marks:
    operation = parse_instruction(item.prompt)
    source = see(str(item.source), operation.source_view)
    if source.scene is None:
        raise DataError(f"the source shows no scene: {source.reason}", "")
    return mark_edit(source.scene, operation, see(own.picture))


def _reply(marks: Marks, edit_type: str) -> str:
    """As a judge writes it; the marks are not limited here, the benchmark's parser does that."""
    given = (marks.instruction, marks.quality, marks.preservation)
    named = zip(SCORE_NAMES[edit_type], given, strict=True)
    why = marks.reason or "as asked, and nothing else changed"
    return "\n".join([f"Brief reasoning: {why}.", *(f"{name}: {mark}" for name, mark in named)])


BENCHMARKS = {
    "geneval": (Kind.TEXT_TO_IMAGE, _geneval),
    "dpg": (Kind.TEXT_TO_IMAGE, _dpg),
    "imgedit": (Kind.EDIT, _imgedit),
}
"""Name of the score files → what is scored, and how."""


class _Eyes:
    """Looks at each picture of a folder once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[tuple[str, View], Detection] = {}

    def __call__(self, picture: str, view: View = View.PLAIN) -> Detection:
        """What it shows; raises ImageError where it cannot be read."""
        key = picture, view
        if key not in self._found:
            pixels = np.asarray(open_picture(self.folder / picture), np.uint8)
            self._found[key] = scene(pixels, view)
        return self._found[key]
