"""Everything a report is made of, read from a run folder. What is not there yet is None or empty."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from janus4o.audited import AUDIT_FILE, Audited, read_audit
from janus4o.errors import DataError
from janus4o.recipe import KEPT
from janus4o.report.suite import SUITE_FILE, SUITE_FOLDER
from janus4o.report.votes import ARENA_FOLDER, Votes, read_arena
from janus4o.rows import ROWS_FILE, Rows, open_rows
from janus4o.scored import Item, read_items

METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.json"
SYNTHESIS_FILE = "synthesis.json"
"""What was wanted, what became of it and what it cost: `janus4o status --json` and `targets`."""
SCORES_FOLDER = "scores"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved model.

    Attributes:
        step: optimiser steps it was trained for.
        megabytes: its weights.
        architecture: class name in its config; empty where there is none.
        transformers: version of the library that wrote it; empty where unknown.
    """

    step: int
    megabytes: float
    architecture: str
    transformers: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A run folder as far as it has come.

    Attributes:
        recipe_text: recipe.yaml as given.
        recipe: the same, parsed.
        rows: the data set.
        audited: audit.json.
        metrics: one object an optimiser step (keys: train writes them).
        summary: scores/summary.json.
        suite: scores/suite/suite.json.
        votes: arena/report.json.
        items: judged answers.
        timings: stage → seconds, in the order they ran.
        checkpoints: in the order of their steps.
        synthesis: synthesis.json; empty where there is none.
        codes: index.json of the codes; empty where nothing is encoded.
    """

    folder: Path
    recipe_text: str
    recipe: dict[str, Any]
    rows: Rows | None
    audited: Audited
    metrics: tuple[dict[str, Any], ...]
    summary: dict[str, Any] | None
    suite: dict[str, Any] | None
    votes: Votes | None
    items: tuple[Item, ...]
    timings: dict[str, float]
    checkpoints: tuple[Checkpoint, ...]
    synthesis: dict[str, Any]
    codes: dict[str, Any]

    @property
    def targets(self) -> dict[str, dict[str, float]]:
        """Attribute → value → share the recipe asks for."""
        return _laws(self.synthesis.get("targets"))

    @property
    def reasons(self) -> dict[str, int]:
        """ "rejected: held_out" → samples that came to nothing so."""
        found = self.synthesis.get("reasons")
        return {k: n for k, n in found.items() if type(n) is int} if _is_dict(found) else {}

    @property
    def spend(self) -> dict[str, float]:
        """Calls, tokens, pictures and US dollars, under the names of `ledger.journal.Spend`."""
        return _numbers(found) if _is_dict(found := self.synthesis.get("spend")) else {}

    @property
    def name(self) -> str:
        return str(self.recipe.get("name") or self.folder.resolve().name)

    def read_score_picture(self, name: str) -> bytes | None:
        """A picture an item names, or None where it was deleted or lies outside the folder."""
        scores = (self.folder / SCORES_FOLDER).resolve()
        path = (scores / name).resolve()
        return path.read_bytes() if path.is_relative_to(scores) and path.is_file() else None


def read_run(folder: Path) -> Evidence:
    """Reads a run folder.

    Raises:
        DataError: no such folder, nothing of a run in it, or a file that cannot be understood.
    """
    if not folder.is_dir():
        raise DataError(f"run folder {str(folder)!r} does not exist", "give a folder below runs/")
    recipe_text = _text(folder / KEPT)
    scores = folder / SCORES_FOLDER
    rows = open_rows(folder) if (folder / ROWS_FILE).is_file() else None
    evidence = Evidence(
        folder=folder,
        recipe_text=recipe_text,
        recipe=_recipe(recipe_text),
        rows=rows,
        audited=read_audit(folder / AUDIT_FILE, rows.digest if rows is not None else ""),
        metrics=_lines(folder / METRICS_FILE),
        summary=_object(scores / SUMMARY_FILE),
        suite=_object(scores / SUITE_FOLDER / SUITE_FILE),
        votes=read_arena(folder / ARENA_FOLDER),
        items=tuple(read_items(scores)),
        timings=_numbers(_object(folder / TIMINGS_FILE)),
        checkpoints=_checkpoints(folder / "checkpoints"),
        synthesis=_object(folder / SYNTHESIS_FILE) or {},
        codes=_codes(folder / "codes"),
    )
    if not (recipe_text or evidence.rows or evidence.metrics or evidence.summary):
        raise DataError(
            f"{str(folder)!r} holds no run", "give a folder that `janus4o run` or `synth` made"
        )
    return evidence


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}") from error


def _recipe(text: str) -> dict[str, Any]:
    # Read loosely: a report on an old run must not fail on a key that has since been renamed.
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def _object(path: Path) -> dict[str, Any] | None:
    text = _text(path)
    if not text:
        return None
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DataError(f"{str(path)!r} is not JSON: {error}", "delete it and run again") from error
    if not isinstance(data, dict):
        raise DataError(f"{str(path)!r} is not a JSON object", "delete it and run again")
    return data


def _lines(path: Path) -> tuple[dict[str, Any], ...]:
    """JSON lines; a last line cut off by a kill is left out."""
    objects = []
    lines = _text(path).splitlines()
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise DataError(
                f"{path} line {number} is not JSON", "run `janus4o train` again"
            ) from error
        if isinstance(value, dict):
            objects.append(value)
    return tuple(objects)


def _is_dict(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _laws(data: Any) -> dict[str, dict[str, float]]:
    found = (
        {key: _numbers(law) for key, law in data.items() if _is_dict(law)} if _is_dict(data) else {}
    )
    return {key: law for key, law in found.items() if law}


def _codes(folder: Path) -> dict[str, Any]:
    """The newest index; codes of several models may lie side by side."""
    indexes = sorted(folder.glob("*/index.json"), key=lambda path: (path.stat().st_mtime_ns, path))
    return (_object(indexes[-1]) or {}) if indexes else {}


def _numbers(data: dict[str, Any] | None) -> dict[str, float]:
    return {
        str(stage): float(seconds)
        for stage, seconds in (data or {}).items()
        if isinstance(seconds, int | float) and not isinstance(seconds, bool)
    }


def _checkpoints(folder: Path) -> tuple[Checkpoint, ...]:
    if not folder.is_dir():
        return ()
    found = [path for path in folder.iterdir() if path.name.isdigit() and path.is_dir()]
    checkpoints = []
    for path in sorted(found, key=lambda path: int(path.name)):
        config = _object(path / "config.json") or {}
        weights = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        checkpoints.append(
            Checkpoint(
                step=int(path.name),
                megabytes=weights / 1e6,
                architecture=", ".join(map(str, config.get("architectures") or ())),
                transformers=str(config.get("transformers_version") or ""),
            )
        )
    return tuple(checkpoints)
