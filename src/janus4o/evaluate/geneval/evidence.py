"""Stored detections: what a detector and a colour classifier said about pictures, one a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from janus4o.errors import DataError
from janus4o.evaluate.evidence import Problem, read_lines
from janus4o.evaluate.geneval.classes import CLASSES
from janus4o.evaluate.geneval.prompts import Metadata, parse_metadata
from janus4o.evaluate.geneval.rules import Boxes, Options, Verdict, judge

_REMEDY = "a line is {id, metadata, detections, colors, options?}; see docs/scoring.md"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about one picture.

    Attributes:
        detections: class → raw boxes.
        colours: class → colour of each raw box, where the classifier was asked; None elsewhere.
        filename: the picture's path where the line names one.
        detector, classifier: the networks as the line names them; empty where it does not.
    """

    id: str
    metadata: Metadata
    detections: Mapping[str, Boxes] = field(repr=False)
    colours: Mapping[str, Sequence[str | None]] = field(repr=False)
    options: Options = field(default_factory=Options)
    filename: str = ""
    detector: str = ""
    classifier: str = ""

    def judge(self) -> Verdict:
        """The verdict; raises DataError where a colour that matters is not stored."""
        return judge(self.metadata, self.detections, self._colours_of, self.options)

    def _colours_of(self, name: str, indices: Sequence[int]) -> list[str]:
        stored = self.colours.get(name, ())
        known = [stored[index] if index < len(stored) else None for index in indices]
        found = [colour for colour in known if colour is not None]
        if len(found) < len(known):
            raise DataError(f"the colour of a {name} is not stored", "ask the classifier about it")
        return found


def read_evidence(path: Path) -> tuple[list[Evidence], list[Problem]]:
    """Reads a file of stored detections; what cannot be used is listed.

    Raises:
        DataError: the file cannot be read or is empty.
    """
    lines, problems = read_lines(path)
    evidence: list[Evidence] = []
    places: dict[str, str] = {}
    for line in lines:
        try:
            one = parse_evidence(line.data)
        except DataError as error:
            name = line.data.get("id")
            where = f"{line.where} ({name})" if name is not None else line.where
            problems.append(Problem(where, error.message))
            continue
        if one.id in places:
            problems.append(Problem(line.where, f"repeats {one.id!r} of {places[one.id]}"))
            continue
        places[one.id] = line.where
        evidence.append(one)
        problems += [Problem(f"{line.where} ({one.id})", doubt, False) for doubt in _doubts(one)]
    return evidence, problems


def parse_evidence(data: Mapping[str, Any]) -> Evidence:
    """Reads one line; raises DataError."""
    name = data.get("id")
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise DataError("'id' is missing or neither text nor number", _REMEDY)
    detections = {str(key): _boxes(key, rows) for key, rows in _object(data, "detections").items()}
    colours = _object(data, "colors") if data.get("colors") is not None else {}
    for key, values in colours.items():
        if not isinstance(values, list) or not all(isinstance(v, str | None) for v in values):
            raise DataError(f"the colours of {key!r} are not a list of texts", _REMEDY)
    return Evidence(
        id=str(name),
        metadata=parse_metadata(data.get("metadata")),
        detections=detections,
        colours=colours,
        options=Options.parse(data.get("options") or {}),
        filename=str(data.get("filename", name)),
        detector=str(data.get("detector") or ""),
        classifier=str(data.get("classifier") or ""),
    )


def _boxes(name: str, rows: Any) -> Boxes:
    shape = f"the boxes of {name!r} are not rows of five finite numbers"
    if not isinstance(rows, list):
        raise DataError(shape, _REMEDY)
    if not rows:
        return np.zeros((0, 5), np.float32)
    numbers = all(
        isinstance(row, list)
        and len(row) == 5
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in row)
        for row in rows
    )
    if not numbers:
        raise DataError(shape, _REMEDY)
    try:
        with np.errstate(over="ignore"):
            boxes = np.array(rows, np.float64).astype(np.float32)
    except OverflowError:
        raise DataError(shape, _REMEDY) from None
    if not np.isfinite(boxes).all():
        raise DataError(shape, _REMEDY)
    return boxes


def _object(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise DataError(f"{key!r} is missing or not a JSON object", _REMEDY)
    return value


def _doubts(one: Evidence) -> list[str]:
    doubts = one.metadata.doubts()
    wanted = {clause.name for clause in one.metadata.include}
    wanted |= {clause.name for clause in one.metadata.exclude}
    doubts += [
        f"{name!r} is not one of GenEval's 80 classes and was not detected"
        for name in sorted(wanted - set(CLASSES) - set(one.detections))
    ]
    return doubts
