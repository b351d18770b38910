"""Runs the checks over a data set and keeps what they say, row by row.

What is measured of a row is written at once, so that a killed run goes on after its last row; the verdicts
are made of all rows together and written when every row is measured.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from janus4o import files
from janus4o.cluster import Backend
from janus4o.rows import Rows
from janus4o.synth.checking.ahead import Seers, measures_ahead
from janus4o.synth.checking.judged import Judged, Jury, judge_rows
from janus4o.synth.checking.measures import BLIND, Measures
from janus4o.synth.checking.nearest import ALIKE, BLOCK, FAR, Prompts, nearest_pictures, words_of
from janus4o.synth.checking.registry import CHECKS, SCORES, Check, Finding
from janus4o.synth.checking.seeing import Eyes
from janus4o.synth.checks import Inspector

CHECKS_FILE = "checks.jsonl"
MEASURES_FILE = "measures.jsonl"
FLUSH_SECONDS = 2.0
Progress = Callable[[str, int, int], None]
"""Called with (stage, rows done, rows). Stages: measure, judge, compare pictures, compare prompts."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of a data set found.

    Attributes:
        rows: how many there are, and how many pass every check.
        failed: check → numbers of the rows it says no to.
        findings: row by row, check → finding.
        unjudged: row number → why the judge that was asked about it gave no verdict.
    """

    rows: int
    passed: int
    failed: dict[str, list[int]]
    findings: list[dict[str, Finding]]
    unjudged: dict[int, str] = field(default_factory=dict)


def check_rows(
    rows: Rows,
    folder: Path,
    *,
    checks: Mapping[str, Check] = CHECKS,
    inspector: Inspector | None = None,
    eyes: Eyes = BLIND,
    benchmark: Sequence[str] = (),
    jury: Jury | None = None,
    backend: Backend = Backend.PLAIN,
    progress: Progress = lambda stage, done, rows: None,
) -> Checked:
    """Checks every row and writes `checks.jsonl` into `folder`, a line a row.

    Args:
        folder: a run folder, or any other; held meanwhile.
        checks: those to be made, with their limits.
        inspector: finds out what pictures show; without it nobody does.
        eyes: read text and count objects.
        benchmark: prompts that no row may resemble.
        jury: scores pictures; without it only what rows know of a judge counts.
        backend: where pictures are measured; what is found is the same.
        progress: told how far each stage is, one after another.

    Raises:
        FolderBusy: another process works in the folder.
        BudgetStop, Refused: the judge cannot be asked any more; all that was found is kept, and the same
            call goes on.
    """
    with files.lock(folder):
        kind = type(inspector).__name__ if inspector is not None else ""
        key = hashlib.sha256(f"{rows.digest} {kind} {eyes.names} 1".encode()).hexdigest()
        measured = _measure_all(
            rows, folder / MEASURES_FILE, key, (inspector, eyes), backend, progress
        )
        told = _ask(rows, measured, folder, jury, checks, progress)
        findings = _judge(rows, measured, benchmark, checks, told, progress)
        with files.writing(folder / CHECKS_FILE) as file:
            head = {"digest": rows.digest, "rows": len(rows)}
            file.write(_line({**head, **({"unjudged": told.without} if told.without else {})}))
            for row, found in zip(rows, findings, strict=True):
                name = {"id": row.provenance.id} if row.provenance else {}
                said = {check: asdict(one) for check, one in found.items()}
                file.write(_line({**name, "checks": said}))
        (folder / MEASURES_FILE).unlink(missing_ok=True)
    return replace(_sum_up(findings), unjudged=dict(told.without))


def read_checks(folder: Path, digest: str) -> Checked | None:
    """What `check_rows` wrote of this very data set; None where there is nothing, or of another."""
    try:
        with (folder / CHECKS_FILE).open("rb") as file:
            head = json.loads(file.readline())
            if head.get("digest") != digest:
                return None
            found = _sum_up(
                [{k: Finding(**v) for k, v in json.loads(line)["checks"].items()} for line in file]
            )
            unjudged = {int(number): str(why) for number, why in head.get("unjudged", {}).items()}
            return replace(found, unjudged=unjudged)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _sum_up(findings: list[dict[str, Finding]]) -> Checked:
    failed: dict[str, list[int]] = {}
    passed = 0
    for number, found in enumerate(findings):
        no = [check for check, one in found.items() if not one.passed]
        passed += not no
        for check in no:
            failed.setdefault(check, []).append(number)
    return Checked(len(findings), passed, failed, findings)


def _measure_all(
    rows: Rows,
    path: Path,
    key: str,
    seers: Seers,
    backend: Backend,
    progress: Progress,
) -> list[Measures]:
    measured = _measured(path, key, len(rows))
    with path.open("ab" if measured else "wb") as file:
        if not measured:
            file.write(_line({"key": key}))
        else:
            file.truncate(_whole(path, len(measured)))
        written = time.monotonic()
        for found in measures_ahead(rows, len(measured), seers, backend):
            measured.append(found)
            file.write(_line(asdict(found)))
            if time.monotonic() - written > FLUSH_SECONDS:
                file.flush()
                written = time.monotonic()
            progress("measure", len(measured), len(rows))
    return measured


def _ask(
    rows: Rows,
    measured: list[Measures],
    folder: Path,
    jury: Jury | None,
    checks: Mapping[str, Check],
    progress: Progress,
) -> Judged:
    """A judge's scores, where one of the checks wants them."""
    if not any(name in checks for name in SCORES):
        return Judged({}, {})
    sound = [one.figures["decodes"] == 0 for one in measured]

    return judge_rows(rows, sound, folder, jury, lambda done: progress("judge", done, len(rows)))


def _measured(path: Path, key: str, most: int) -> list[Measures]:
    """What an earlier run measured of this data set, as far as its lines are whole."""
    found: list[Measures] = []
    try:
        with path.open("rb") as file:
            if json.loads(file.readline()).get("key") != key:
                return []
            for line in file:
                data = json.loads(line) if line.endswith(b"\n") else {}
                found.append(Measures(data["figures"], data["why"], tuple(data["hash"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return found[:most]


def _whole(path: Path, lines: int) -> int:
    """Bytes that the head and so many lines take."""
    with path.open("rb") as file:
        return sum(len(file.readline()) for _ in range(lines + 1))


def _judge(
    rows: Rows,
    measured: list[Measures],
    benchmark: Sequence[str],
    checks: Mapping[str, Check],
    told: Judged,
    progress: Progress,
) -> list[dict[str, Finding]]:
    def limit(name: str, otherwise: float) -> float:
        return checks[name].limit if name in checks else otherwise

    far = max(FAR, math.ceil(limit("new_picture", 0)) + 1)
    pictures = nearest_pictures(
        [one.hash for one in measured],
        far,
        lambda done: progress("compare pictures", done, len(rows)),
    )
    prompts = [number for number, row in enumerate(rows) if not row.is_edit]
    words = [words_of(rows[number].input_prompt) for number in prompts]
    known = Prompts(words, min(ALIKE, limit("new_prompt", 1)))
    benchmarks = Prompts(
        [words_of(text) for text in benchmark], min(ALIKE, limit("not_in_benchmark", 1))
    )
    places = {number: place for place, number in enumerate(prompts)}
    findings = []
    for number, one in enumerate(measured):
        if number % BLOCK == 0:
            progress("compare prompts", number, len(rows))
        figures, why = dict(one.figures), dict(one.why)
        if (said := told.scores.get(number)) is not None:
            figures |= said.scores
            why |= dict.fromkeys(said.scores, said.why)
        if near := pictures[number]:
            figures["new_picture"] = near[0]
            why["new_picture"] = f"like row {near[1]}"
        if (place := places.get(number)) is not None:
            like = known.nearest(words[place], place)
            figures["new_prompt"] = round(like[0], 3) if like else 0.0
            if like:
                why["new_prompt"] = f"like row {prompts[like[1]]}"
            if benchmark:
                like = benchmarks.nearest(words[place])
                figures["not_in_benchmark"] = round(like[0], 3) if like else 0.0
                if like:
                    why["not_in_benchmark"] = f"like {benchmark[like[1]]!r}"
        findings.append(
            {
                name: _finding(check, figure, why.get(name, ""))
                for name, check in checks.items()
                if (figure := figures.get(name)) is not None
            }
        )
    progress("compare prompts", len(rows), len(rows))
    return findings


def _finding(check: Check, figure: float, why: str) -> Finding:
    passed = check.passes(figure)
    return Finding(figure, passed, "" if passed else why)


def _line(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()
