"""Scores of a judge for the rows of a data set: asked once each, kept in a ledger beside the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from janus4o.errors import DataError, ImageError
from janus4o.exchange import Picture, Writer
from janus4o.images import MEDIA_TYPES, kind_of
from janus4o.ledger.jobs import Job, Manner, call_all
from janus4o.ledger.journal import Attempt, Spend
from janus4o.records import Row
from janus4o.rows import Rows
from janus4o.synth import judging
from janus4o.synth.checking.registry import SCORES
from janus4o.synth.forms import Malformed, read
from janus4o.synth.judging import Judgement
from janus4o.synth.prompts import Prompts

JUDGED_FOLDER = "judged"
"""Beside checks.jsonl: the ledger with what was asked and answered."""


@dataclass(frozen=True, slots=True)
class Jury:
    """Who judges, how, and with which words."""

    judge: Writer
    prompts: Prompts
    manner: Manner = field(default_factory=Manner)


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of the questions.

    Attributes:
        scores: row number → what the judge said.
        without: row number → why there is no verdict.
        spend: of all runs with this ledger; None where nobody was asked.
    """

    scores: Mapping[int, Judgement]
    without: Mapping[int, str]
    spend: Spend | None = None


def scores_of(row: Row) -> Judgement | None:
    """What a row itself says that a judge said of it when it was made."""
    made = row.provenance
    found = {
        name: said["figure"]
        for name in SCORES
        if made and isinstance(said := made.checks.get(name), dict) and "figure" in said
    }
    whole = all(isinstance(figure, int) for figure in found.values())
    return Judgement(found, "") if found and whole else None


def judge_rows(
    rows: Rows,
    sound: Sequence[bool],
    folder: Path,
    jury: Jury | None,
    progress: Callable[[int], None] = lambda done: None,
) -> Judged:
    """Scores of every row whose pictures decode; what rows know themselves is not asked again.

    Args:
        sound: row by row, whether its pictures decode.
        folder: where the ledger's folder is or will be.
        jury: None asks nobody.

    Raises:
        BudgetStop, Refused, FolderBusy: see `call_all`; answers that came are kept.
    """
    scores: dict[int, Judgement] = {}
    without: dict[int, str] = {}
    open_questions = []
    for number, row in enumerate(rows):
        if (known := scores_of(row)) is not None:
            scores[number] = known
        elif sound[number]:
            open_questions.append(number)
    if jury is None or not open_questions:
        return Judged(scores, without)

    def jobs() -> Iterator[Job]:
        for number in open_questions:
            row = rows[number]
            try:
                pictures = tuple(
                    _picture(rows.read(name)) for name in (*row.input_image, row.output_image)
                )
            except (DataError, ImageError) as error:
                without[number] = error.message
                continue
            request = judging.request_of(jury.prompts, row.input_prompt, pictures)
            yield Job(str(number), request)

    def ended(job: Job, end: Attempt | str) -> None:
        number = int(job.id)
        if isinstance(end, str):
            without[number] = end
        elif end.status == "refused":
            without[number] = f"refused: {end.text}"
        else:
            try:
                form = judging.form_of(rows[number].is_edit)
                scores[number] = read(end.text or "", form)
            except Malformed as fault:
                without[number] = f"malformed: {fault}"
        progress(len(scores) + len(without))

    (folder / JUDGED_FOLDER).mkdir(exist_ok=True)
    spend = call_all(jury.judge, jobs(), folder / JUDGED_FOLDER, jury.manner, ended)
    return Judged(scores, without, spend)


def _picture(data: bytes) -> Picture:
    return Picture(data, MEDIA_TYPES[kind_of(data)])
