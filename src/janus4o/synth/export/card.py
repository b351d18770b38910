"""The card of a data set: README.md with what is known of how its rows came to be.

Texts of teachers stand in it as code and can neither format nor end anything.
"""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from janus4o.audited import Audited
from janus4o.records import Row
from janus4o.rows import FAMILIES, ROWS_FILE
from janus4o.synth.export.parts import Part

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
MOST_REQUESTS = 24
SYNTHESIS_FILE = "synthesis.json"
SHAPES: Mapping[str, TypeAdapter[Any]] = {
    "targets": TypeAdapter(dict[str, dict[str, FiniteFloat]]),
    "states": TypeAdapter(dict[str, dict[str, int]]),
    "reasons": TypeAdapter(dict[str, int]),
    "spend": TypeAdapter(dict[str, FiniteFloat]),
}
"""What of synthesis.json is used, and what it must be."""
SPENT = ("calls", "input_tokens", "output_tokens", "images", "cost_usd", "unpriced", "uncertain")


@dataclass(frozen=True, slots=True)
class Making:
    """What a run folder knows besides its rows; empty for a data set that was not made here.

    Attributes:
        synthesis: synthesis.json, those of `SHAPES` that are there and well-formed.
        dates: model → first and last day it was called, "2026-01-31".
        problems: what of synthesis.json is left out, a line each.
    """

    name: str
    synthesis: Mapping[str, Any] = field(default_factory=dict)
    dates: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def targets(self) -> dict[str, dict[str, float]]:
        return dict(self.synthesis.get("targets") or {})


def read_making(folder: Path) -> Making:
    """Reads what is there; a file that cannot be read counts as none."""
    try:
        found = json.loads((folder / SYNTHESIS_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        found = {}
    spans: dict[str, tuple[float, float]] = {}
    for model, started in _calls(folder / ROWS_FILE.with_name("provenance.jsonl")):
        first, last = spans.get(model, (started, started))
        spans[model] = min(first, started), max(last, started)
    problems: list[str] = []
    return Making(
        folder.resolve().name,
        _well_formed(found if isinstance(found, dict) else {}, problems),
        {model: (_day(first), _day(last)) for model, (first, last) in spans.items()},
        tuple(problems),
    )


def _well_formed(found: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, shape in SHAPES.items():
        if found.get(key) is None:
            continue
        try:
            kept[key] = shape.validate_python(found[key], strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (key, *first["loc"])))
            problems.append(f"{SYNTHESIS_FILE}: {where}: {first['msg']}; {key!r} is left out")
    if absent := [key for key in SPENT if kept.get("spend") and key not in kept["spend"]]:
        del kept["spend"]
        problems.append(f"{SYNTHESIS_FILE}: spend has no {absent[0]!r}; 'spend' is left out")
    return kept


def _calls(path: Path) -> Iterator[tuple[str, float]]:
    try:
        with path.open("rb") as file:
            for line in file:
                for call in json.loads(line)["calls"]:
                    yield str(call["model"]), float(call["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def write(
    rows: Sequence[Row],
    making: Making,
    form: str,
    parts: Mapping[str, Sequence[Part]],
    figures: Sequence[str],
    problems: int,
    audited: Audited,
) -> str:
    """The card's text."""
    counts = dict.fromkeys(FAMILIES, 0)
    models: Counter[tuple[str, str]] = Counter()
    requests: dict[str, str] = {}
    checks: Counter[str] = Counter()
    checked: Counter[str] = Counter()
    photographs = 0
    for row in rows:
        counts[FAMILIES[row.is_edit]] += 1
        made = row.provenance
        if made is None:
            continue
        models.update([(made.writer, "writer"), (made.painter, "painter")])
        if made.judge:
            models[made.judge, "judge"] += 1
        if len(requests) < MOST_REQUESTS:
            requests.setdefault(", ".join(made.templates) or made.pipeline, made.write_prompt)
        checked.update(list(made.checks))
        checks.update(check for check, said in made.checks.items() if _passed(said))
        photographs += "source_picture" in made.attributes
    files = {
        family: ", ".join(_span([one.name for one in parts.get(family, ())])) or "none"
        for family in FAMILIES
    }
    synthesis = making.synthesis
    painters = {model for (model, role) in models if role == "painter"}
    return _template().render(
        name=making.name,
        form=form,
        size=next((name for most, name in SIZES if sum(counts.values()) < most), "n>1M"),
        configs={family: _pattern(family, form) for family in FAMILIES if counts[family]},
        counts=counts,
        files=files,
        problems=problems,
        figures=figures,
        models=[
            {
                "name": model,
                "role": role,
                "rows": count,
                "first": making.dates.get(model, ("", ""))[0],
                "last": making.dates.get(model, ("", ""))[1],
            }
            for (model, role), count in models.most_common()
        ],
        requests=[{"title": title, "text": text} for title, text in requests.items()],
        states=_states(synthesis.get("states") or {}),
        reasons=synthesis.get("reasons") or {},
        checks={check: (checks[check], count) for check, count in checked.items()},
        spend=synthesis.get("spend") or {},
        offline=bool(painters) and all(model.startswith("sketch") for model in painters),
        prompts=audited.count(
            (audited.words.told(row.input_prompt) for row in rows),
            making.targets.get("category", {}),
        ),
        audited=audited,
        photographs=photographs,
    )


def _passed(said: object) -> bool:
    return bool(said.get("passed") if isinstance(said, dict) else said)


def _states(found: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    names = list(dict.fromkeys(state for counts in found.values() for state in counts))
    rows = {name: [f"{counts.get(s, 0):,}" for s in names] for name, counts in found.items()}
    return {"names": names, "rows": rows} if names else {}


def _span(names: Sequence[str]) -> list[str]:
    """First and last of many."""
    return list(names) if len(names) <= 3 else [names[0], "…", names[-1]]


def _pattern(family: str, form: str) -> str:
    ending = {
        "sharegpt": ".json",
        "parquet": "-*.parquet",
        "webdataset": "-*.tar",
        "pairs": "-*.parquet",
    }[form]
    return f"{family}{ending}"


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("janus4o.synth.export", ""),
        undefined=StrictUndefined,
        autoescape=False,  # it is Markdown: the filters below see to what comes from outside
        keep_trailing_newline=True,
    )
    environment.filters.update(
        percent=_percent, yaml=json.dumps, code=_code, text=_text, html=html.escape, fenced=_fenced
    )
    return environment.get_template("card.md.j2")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _code(text: object) -> str:
    """Inline code of one line that neither ends early nor breaks a table."""
    words = " ".join(str(text).split()).replace("|", "¦")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", words)), default=0))
    return f"{fence} {words} {fence}" if len(fence) > 1 else f"`{words}`"


def _text(text: object) -> str:
    """One line of plain text without markup."""
    words = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|!&~$])", r"\\\1", words).replace(r"\<", "&lt;")


def _fenced(text: object) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", str(text))), default=0))
    return f"{fence}text\n{text}\n{fence}"
