"""`janus4o check`: every row of a data set against the checks there are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus4o.cli import console
from janus4o.cli.backend import BackendOption
from janus4o.cluster import Backend
from janus4o.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from janus4o.evaluate.geneval.networks import Detector
    from janus4o.recipe import Recipe
    from janus4o.rows import Rows
    from janus4o.synth.checking.judged import Jury
    from janus4o.synth.checking.run import Checked
    from janus4o.synth.checking.seeing import Eyes

EXAMPLES = 3


def command(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a data set.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for checks.jsonl; default RUN, needed for a data set."),
    ] = None,
    sketch: Annotated[
        bool, typer.Option("--sketch", help="Have the offline world's detector look at pictures.")
    ] = False,
    recipe: Annotated[
        Path | None,
        typer.Option(help="Take teachers.judge and checks from this recipe; default none."),
    ] = None,
    ocr: Annotated[
        bool, typer.Option("--ocr", help="Read text in pictures; needs the extra `ocr`.")
    ] = False,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Count objects: sketch, or KIND=WEIGHTS (mask2former, grounding-dino, owlv2).",
        ),
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(metavar="CHECK=X", help="Another limit for a check.")
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Not this one.")] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="A benchmark's prompts, a line each (or JSON lines with `prompt`)."),
    ] = None,
    backend: BackendOption = Backend.PLAIN,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what each check rejected.")
    ] = False,
) -> None:
    """Check every row: pictures whole, of the size said, not flat, changed by edits, new; prompts new.

    Nothing is removed: `export --passed` leaves out the rows that fail. Goes on after a kill.
    """
    from janus4o.recipe import load
    from janus4o.rows import ROWS_FILE, open_rows
    from janus4o.synth.checking.registry import chosen
    from janus4o.synth.checking.run import check_rows
    from janus4o.synth.inspection import SketchInspector

    if out is not None and out.resolve() == path.resolve():
        raise DataError(f"{str(out)!r} is the data set itself", "name another folder with --out")
    asked = load(recipe) if recipe is not None else None
    limits = {**(asked.checks.limits if asked else {}), **dict(map(_limit, limit or []))}
    checks = chosen(limits, skip or [])
    jury = jury_of(asked) if asked is not None else None
    eyes = eyes_of(ocr, detector)
    rows = open_rows(path)
    if out is None and not (path / ROWS_FILE.parent).is_dir():
        raise DataError(f"{str(path)!r} is no run folder", "say with --out where to write")
    benchmark = [text for file in against or [] for text in read_prompts(file)]
    with console.stages("rows") as progress:
        found = check_rows(
            rows,
            out or path,
            checks=checks,
            inspector=SketchInspector(hold_out=False) if sketch else None,
            eyes=eyes,
            benchmark=benchmark,
            jury=jury,
            backend=backend,
            progress=progress,
        )
    if as_json:
        rejected = {check: len(numbers) for check, numbers in found.failed.items()}
        said: dict[str, Any] = {"rows": found.rows, "passed": found.passed, "failed": rejected}
        if found.unjudged:
            said["unjudged"] = found.unjudged
        console.json(said)
        return
    show(found, rows)
    if not found.passed:
        console.warn("not one row passes every check: look at the examples before you believe it")
    if not benchmark:
        console.note("no benchmark's prompts were given (--against): overlap was not looked for")
    if not sketch:
        console.note("nothing looked at what pictures show: --sketch does for the offline world")
    if jury is None:
        console.note("no judge was asked: --recipe names one (teachers.judge)")


def _limit(word: str) -> tuple[str, float]:
    name, _, value = word.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise UsageError(f"--limit {word!r} is not CHECK=NUMBER", "say new_picture=12") from None


def jury_of(recipe: Recipe) -> Jury | None:
    """The judge that a recipe names, with its words, limits and budget; None where it names none."""
    from janus4o.cli.teachers import judge_of
    from janus4o.ledger.jobs import Manner
    from janus4o.recipe import Limits, Server
    from janus4o.synth import prompts
    from janus4o.synth.checking.judged import Jury

    judge, server = judge_of(recipe), recipe.teachers.judge
    if judge is None:
        return None
    limits = server.limits if isinstance(server, Server) else Limits()
    manner = Manner(recipe.synthesis.concurrency, recipe.checks.budget_usd, limits)
    return Jury(judge, prompts.read(recipe.synthesis.prompts), manner)


def eyes_of(ocr: bool, detector: str | None) -> Eyes:
    """Who reads text and who counts objects; Refused or CheckpointError where one is not there."""
    from janus4o.synth.checking.ocr import RapidReader
    from janus4o.synth.checking.seeing import Eyes

    return Eyes(RapidReader() if ocr else None, counter_of(detector) if detector else None)


def counter_of(word: str) -> DetectorCounter:
    """The counter that `--detector` asks for; raises UsageError or CheckpointError."""
    from janus4o.evaluate.geneval.classes import CLASSES
    from janus4o.sketch.scene import Shape

    kind, _, weights = word.partition("=")
    if word == "sketch":
        from janus4o.evaluate.geneval.sketch import SketchDetector

        return DetectorCounter(word, SketchDetector(), frozenset(shape.value for shape in Shape))
    if kind not in ("mask2former", "grounding-dino", "owlv2") or not weights:
        raise UsageError(
            f"--detector {word!r} is none", "say sketch, or e.g. owlv2=FOLDER (or a hub id)"
        )
    from janus4o.cli.benchmarks import detector_of

    return DetectorCounter(word, detector_of(kind, weights, "auto"), frozenset(CLASSES))


@dataclass(frozen=True, slots=True)
class DetectorCounter:
    """A detector of GenEval's, asked how many there are. Speaks `seeing.Counter`.

    Args:
        word: what `counter_of` made it of.
    """

    word: str
    detector: Detector
    classes: frozenset[str]

    def __reduce__(self) -> tuple[Callable[[str], DetectorCounter], tuple[str]]:
        """Sent to another machine it is made there anew, on a GPU where that has one."""
        kind, _, weights = self.word.partition("=")
        is_here = bool(weights) and Path(weights).exists()
        return counter_of, (f"{kind}={Path(weights).resolve()}" if is_here else self.word,)

    @property
    def name(self) -> str:
        return self.detector.name

    @property
    def heavy(self) -> bool:
        return self.word != "sketch"

    def count(self, image: Image.Image) -> dict[str, tuple[int, int]]:
        options = self.detector.options
        return {
            name: (
                int((found.boxes[:, 4] > options.threshold).sum()),
                int((found.boxes[:, 4] > options.counting_threshold).sum()),
            )
            for name, found in self.detector.detect(image).items()
        }


def show(found: Checked, rows: Rows) -> None:
    """A table of what each check rejected, with examples."""
    console.say(f"{found.passed:,} of {found.rows:,} rows pass every check")
    lines = []
    for check, numbers in sorted(found.failed.items(), key=lambda item: -len(item[1])):
        said = []
        for number in numbers[:EXAMPLES]:
            one, made = found.findings[number][check], rows[number].provenance
            why = f" ({one.why})" if one.why else ""
            said.append(f"{made.id[:8] if made else number}: {one.figure:g}{why}")
        lines.append((check, len(numbers), "; ".join(said)))
    if lines:
        console.say()
        console.table(("check", "rejected", "for example"), lines)
    if found.unjudged:
        number, why = next(iter(found.unjudged.items()))
        console.say()
        console.say(
            f"{len(found.unjudged):,} rows have no verdict of the judge, row {number}: {why}"
        )


def read_prompts(path: Path) -> list[str]:
    """One prompt a line; raises DataError where the file cannot be read."""
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}", "check --against") from error
    return [_prompt(line) for line in lines]


def _prompt(line: str) -> str:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return line
    return str(data["prompt"]) if isinstance(data, dict) and "prompt" in data else line
