"""Builds report.html: gathers what the run has finished and hands it to the template."""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from janus4o.asked import Distribution, figures
from janus4o.errors import BadInput
from janus4o.files import write_atomic
from janus4o.people import Audit
from janus4o.report import templates
from janus4o.report.charts import LineChart, bars, line_chart
from janus4o.report.contact import contact_sheets
from janus4o.report.drawn import (
    PROGRESS_FOLDER,
    SAMPLES_FOLDER,
    SWEEPS_FOLDER,
    progress,
    read_drawn,
    sweeps,
)
from janus4o.report.evidence import SCORES_FOLDER, Evidence, read_run
from janus4o.report.gallery import galleries
from janus4o.report.loop import HEIGHT, WIDTH, stations
from janus4o.report.score_table import KINDS, score_tables
from janus4o.report.suite import suite_rows
from janus4o.rows import Rows

REPORT_FILE = "report.html"

LOSSES = {"t2i_loss": "text to image", "edit_loss": "editing"}
"""Keys of metrics.jsonl drawn as curves; `loss` stands in where neither is there."""


@dataclass(frozen=True, slots=True)
class Training:
    """What the metrics say.

    Attributes:
        seconds: time of all steps; None where the metrics do not say.
        tokens: supervised and unsupervised tokens seen; None as above.
    """

    steps: int
    loss: LineChart | None
    rate: LineChart | None
    seconds: float | None
    tokens: float | None


def build(folder: str | Path, out: str | Path | None = None) -> Path:
    """Writes the report of a run folder; the same files give the same bytes.

    Args:
        out: where to write; default `report.html` in the folder.

    Returns:
        The file written.

    Raises:
        DataError: the folder holds no run, or a file of it cannot be understood.
        BadInput: the report cannot be written there.
    """
    folder = Path(folder)
    path = Path(out) if out is not None else folder / REPORT_FILE
    html = render(read_run(folder))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, html.encode())
    except OSError as error:
        raise BadInput(
            f"the report {str(path)!r} cannot be written: {error.strerror}", "name another --out"
        ) from error
    return path


def render(evidence: Evidence) -> str:
    """The page as one string of HTML that needs nothing else."""
    environment = templates.environment()
    environment.filters["percent"] = percent
    environment.filters["duration"] = duration
    environment.filters["title_of"] = title_of
    environment.filters["dollars"] = dollars
    environment.filters["chance"] = chance
    rows, summary = evidence.rows, evidence.summary
    drawn, edited = contact_sheets(rows) if rows is not None else (None, None)
    tables = score_tables(summary) if summary else ()
    answers = galleries(evidence.items, evidence.read_score_picture)
    training = _training(evidence.metrics)
    asked = figures(rows, evidence.targets) if rows is not None else None
    people = _people(rows, evidence) if rows is not None else None
    step, samples = read_drawn(evidence.folder / SAMPLES_FOLDER)
    script = resources.files("janus4o.report").joinpath("page.js").read_text("utf-8")
    return environment.get_template("page.html.j2").render(
        run=evidence,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        stations=stations(evidence, answers, tables, training.loss if training else None),
        station=(WIDTH, HEIGHT),
        tables=tables,
        suite=suite_rows(evidence.suite) if evidence.suite else (),
        votes=evidence.votes,
        meta=summary.get("meta", {}) if summary else {},
        trials=_trials(summary) if summary else (),
        galleries=answers,
        sample_step=step,
        samples=samples,
        progress=progress(evidence.folder / PROGRESS_FOLDER),
        sweeps=sweeps(read_drawn(evidence.folder / SWEEPS_FOLDER)[1]),
        training=training,
        drawn=drawn,
        edited=edited,
        problems=rows.problems if rows is not None else (),
        asked=asked,
        people=people,
        curve=_curve(asked.categories) if asked and asked.categories else None,
        away=bars({reason.replace("_", " "): n for reason, n in evidence.reasons.items()}),
        teachers=_teachers(evidence),
        times=bars(
            evidence.timings, {k: duration(seconds) for k, seconds in evidence.timings.items()}
        ),
        total_time=sum(evidence.timings.values()),
        versions=_versions(evidence),
        scores_folder=SCORES_FOLDER,
    )


def percent(value: float | None) -> str:
    """0.873 → "87"; a tenth more where whole percents would claim 0 or 100."""
    if value is None:
        return "–"
    hundred = 100 * value
    if 0 < hundred < 0.5 or 99.5 <= hundred < 100:
        return f"{hundred:.1f}"
    return f"{hundred:.0f}"


def duration(seconds: float) -> str:
    """A time span in the two largest units: "42 s", "3 min 20 s", "2 h 05 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def dollars(value: float) -> str:
    """US dollars: "$0", "$0.004", "$12.50"."""
    if value == 0:
        return "$0"
    return f"${value:,.2f}" if value >= 0.1 else f"${value:.2g}"


def chance(p_value: float) -> str:
    """A p-value of the sign-flip test, which tells no probabilities below 1 in 10,000."""
    return "≤ 0.0001" if p_value <= 0.0001 else f"{p_value:.2g}"


def title_of(name: str) -> str:
    """ "two_object" → "Two object"."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting tried on the validation questions: model → score, 0–1, and who chose it."""

    label: str
    scores: dict[str, float]
    chosen_by: tuple[str, ...]


def _trials(summary: Mapping[str, Any]) -> tuple[tuple[str, tuple[Trial, ...]], ...]:
    """(heading, settings) of each kind where there was something to choose."""
    found = []
    for kind, heading in KINDS.items():
        scores: dict[str, dict[str, float]] = {}
        chosen: dict[str, tuple[str, ...]] = {}
        for model, kinds in summary.get("meta", {}).get("guidance", {}).items():
            how = kinds.get(kind) or {}
            tried = how.get("validation") or ()
            for trial in tried if len(tried) > 1 else ():
                scores.setdefault(_setting(trial), {})[model] = float(trial["score"])
            chosen[_setting(how)] = (*chosen.get(_setting(how), ()), model)
        if scores:
            settings = (Trial(k, of, chosen.get(k, ())) for k, of in scores.items())
            found.append((heading, tuple(settings)))
    return tuple(found)


def _setting(how: Mapping[str, Any]) -> str:
    weight = how.get("semantic_weight")
    return f"s = {how.get('guidance')}" + ("" if weight is None else f", s2 = {weight}")


def _training(metrics: Sequence[Mapping[str, Any]]) -> Training | None:
    if not metrics:
        return None
    losses = {name: _points(metrics, key) for key, name in LOSSES.items()}
    if not any(losses.values()):
        losses = {"loss": _points(metrics, "loss")}
    seconds = [float(m["seconds"]) for m in metrics if isinstance(m.get("seconds"), int | float)]
    tokens = [float(m["tokens"]) for m in metrics if isinstance(m.get("tokens"), int | float)]
    return Training(
        steps=int(metrics[-1].get("step", len(metrics))),
        loss=line_chart(losses),
        rate=line_chart({"learning rate": _points(metrics, "rate")}, from_zero=True),
        seconds=sum(seconds) if seconds else None,
        tokens=sum(tokens) if tokens else None,
    )


def _points(metrics: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return [
        (float(m["step"]), float(m[key]))
        for m in metrics
        if isinstance(m.get("step"), int | float) and isinstance(m.get(key), int | float)
    ]


def _curve(found: Distribution) -> LineChart | None:
    """Share of prompts in percent against how many categories they name."""
    numbers = [(float(value.label), value) for value in found.values]
    curves = {"came": [(x, 100 * value.share) for x, value in numbers]}
    if found.values[0].wanted is not None:
        curves["asked for"] = [(x, 100 * (value.wanted or 0.0)) for x, value in numbers]
    return line_chart(curves, from_zero=True)


def _people(rows: Rows, evidence: Evidence) -> Audit:
    audited = evidence.audited
    told = (audited.words.told(row.input_prompt) for row in rows)
    return audited.count(told, evidence.targets.get("category", {}))


def _teachers(evidence: Evidence) -> tuple[str, ...]:
    """Names the servers gave for themselves, writers and painters."""
    names = {
        name: None
        for row in evidence.rows or ()
        if row.provenance
        for name in (row.provenance.writer, row.provenance.painter)
    }
    return tuple(names)


def _versions(evidence: Evidence) -> dict[str, str]:
    versions = {"janus4o": _own_version(), "Python": platform.python_version()}
    if evidence.checkpoints and evidence.checkpoints[-1].transformers:
        versions["transformers"] = evidence.checkpoints[-1].transformers
    judge = (evidence.summary or {}).get("meta", {}).get("judge")
    if judge:
        versions["judge"] = str(judge)
    if evidence.rows is not None:
        versions["data set"] = evidence.rows.digest[:16]
    return versions


def _own_version() -> str:
    try:
        return metadata.version("janus4o")
    except metadata.PackageNotFoundError:
        return "source tree, not installed"
