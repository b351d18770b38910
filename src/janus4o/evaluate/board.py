"""Score files beside published rows, in tables that never mix two scales.

A score of ours joins published rows only where `comparable` has no doubt about what its file says. All
others stand in tables of their own, one for each way of scoring: the
same rules, mode, networks and prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus4o.boards import Standing, Table, Value
from janus4o.errors import DataError
from janus4o.evaluate.comparable import doubt
from janus4o.evaluate.evidence import read_object
from janus4o.evaluate.references import References
from janus4o.evaluate.score_file import FORMAT, caveat, overall_name

PARTS = {"GenEval": "tags", "DPG-Bench": "l1", "ImgEdit-Bench Basic": "types"}
"""Where a score file keeps its columns."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A system's score file.

    Attributes:
        key: everything that decides what the score may be compared with.
    """

    system: str
    path: Path
    data: dict[str, Any]
    value: Value
    parts: dict[str, Value]
    scale: tuple[float, float]
    key: tuple[str, ...]

    @property
    def benchmark(self) -> str:
        return str(self.data["benchmark"])

    @property
    def prompts(self) -> int:
        """How many prompts were scored."""
        overall = self.data["scores"].get("overall", {})
        return int(overall.get("prompts", self.data["prompt_set"]["n"]))

    @property
    def doubt(self) -> str:
        """Why it may not join published rows; empty where it may."""
        data = self.data
        tiles = data["scores"].get("tiles")
        return doubt(
            self.benchmark, data["networks"], data["mode"], data["prompt_set"], self.prompts, tiles
        )


def read_entry(path: Path, system: str = "") -> Entry:
    """Reads a score file.

    Args:
        system: default: the model that made the pictures, where the file says so, or its name.

    Raises:
        DataError: it is no score file of this format.
    """
    data = read_object(path)
    benchmark = data.get("benchmark")
    if data.get("format") != FORMAT or not isinstance(benchmark, str) or benchmark not in PARTS:
        raise DataError(
            f"{str(path)!r} is no score file", "give what `janus4o eval geneval|dpg|imgedit` wrote"
        )
    try:
        scores, networks = data["scores"], data["networks"]
        scale = tuple(float(end) for end in scores.get("scale", (0, 1)))
        made = data["about"].get("made", {})
        entry = Entry(
            system=system or str(made.get("model") or path.stem.removesuffix(".score")),
            path=path,
            data=data,
            value=_value(scores[overall_name(benchmark)]),
            parts={str(name): _value(one) for name, one in scores[PARTS[benchmark]].items()},
            scale=(scale[0], scale[1]),
            key=tuple(
                str(part)
                for part in (
                    benchmark,
                    data["version"],
                    data["mode"],
                    sorted(networks.items()),
                    data["prompt_set"].get("sha256", ""),
                    scores.get("tiles", ""),
                    scale,
                )
            ),
        )
        _ = entry.doubt, int(data["unscored"])
        _ = [(one["where"], one["what"], one["unscored"]) for one in data["problems"]]
        _ = [(one["file"], one["sha256"]) for one in data["evidence"]]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(f"{str(path)!r} is no whole score file: {error}", "score again") from error
    return entry


def tables(entries: Sequence[Entry], references: References) -> list[Table]:
    """Published tables of the benchmarks that `entries` score, then ours that fit none of them."""
    benchmarks = list(dict.fromkeys(entry.benchmark for entry in entries))
    found: list[Table] = []
    for benchmark in benchmarks:
        apart = [entry for entry in entries if entry.benchmark == benchmark]
        own_prompts = all(entry.data["prompt_set"].get("name") for entry in apart)
        for name, scale in references.scales.items():
            if scale.benchmark != benchmark or own_prompts:
                continue  # beside another prompt set published rows say nothing
            joined = [entry for entry in apart if not entry.doubt]
            apart = [entry for entry in apart if entry not in joined]
            rows = [_ours(entry) for entry in joined]
            rows += [
                Standing(
                    system=row.system,
                    value=Value(row.score),
                    parts={part: Value(value) for part, value in row.parts.items()},
                    ours=False,
                    source=f"{row.source}, {row.date}"
                    + (" (quoted)" if row.read == "quoted" else ""),
                    caveat=row.caveat,
                )
                for row in references.rows
                if row.scale == name
            ]
            note = " ".join(scale.caveat.split())
            found.append(Table(benchmark, scale.title, note, scale.range, scale.parts, _best(rows)))
        by_key: dict[tuple[str, ...], list[Entry]] = {}
        for entry in apart:
            by_key.setdefault(entry.key, []).append(entry)
        found += [_apart(same) for same in by_key.values()]
    return found


def _apart(entries: Sequence[Entry]) -> Table:
    first = entries[0]
    parts = dict.fromkeys(part for entry in entries for part in entry.parts)
    networks = ", ".join(
        f"{role} {name or 'not named'}" for role, name in first.data["networks"].items()
    )
    mode = f"mode {first.data['mode']}, " if first.data["mode"] else ""
    why = dict.fromkeys(entry.doubt for entry in entries)
    note = f"{caveat('; '.join(why))}. {mode}{networks}; n = {', '.join(str(e.data['n']) for e in entries)}."
    asked = first.data["prompt_set"].get("name", "")  # only sets that are no benchmark's have one
    where = f"{asked} prompts, " if asked else ""
    title = f"{first.benchmark}, {where}scored here: not comparable"
    rows = _best([_ours(entry) for entry in entries])
    return Table(first.benchmark, title, note, first.scale, tuple(parts), rows)


def _ours(entry: Entry) -> Standing:
    return Standing(
        system=entry.system,
        value=entry.value,
        parts=entry.parts,
        ours=True,
        source=entry.path.name,
        caveat=caveat(entry.doubt),
        unscored=int(entry.data["unscored"]),
    )


def _best(rows: Sequence[Standing]) -> tuple[Standing, ...]:
    return tuple(sorted(rows, key=lambda row: -row.value.score))


def _value(entry: dict[str, Any]) -> Value:
    n = entry.get("n")
    return Value(
        float(entry["score"]),
        float(entry["low"]),
        float(entry["high"]),
        int(n) if n is not None else None,
    )
