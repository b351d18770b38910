"""The Basic suite: its nine kinds of edit, the names of their scores, and its files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus4o.errors import DataError
from janus4o.evaluate.evidence import Problem, hash_set, read_object

VERSION = "PKU-YuanGroup/ImgEdit@547185d"

_INTEGRITY = ("Prompt Compliance", "Visual Naturalness", "Physical & Detail Integrity")

SCORE_NAMES: dict[str, tuple[str, str, str]] = {
    "add": ("Prompt Compliance", "Visual Naturalness", "Physical & Detail Coherence"),
    "remove": _INTEGRITY,
    "replace": _INTEGRITY,
    "adjust": ("Prompt Compliance", "Visual Seamlessness", "Physical & Detail Fidelity"),
    "background": ("Instruction Compliance", "Visual Seamlessness", "Physical Consistency"),
    "style": ("Style Fidelity", "Content Preservation", "Rendering Quality"),
    "extract": ("Object Identity", "Mask Precision", "Visual Quality"),
    "action": ("Action Fidelity", "Identity Preservation", "Visual & Anatomical Coherence"),
    "compose": (
        "Instruction Compliance",
        "Visual Naturalness",
        "Physical Consistency & Fine Detail",
    ),
}
"""Edit type → what its judge is asked to score. The first limits the other two."""

ALIASES = {"alter": "adjust", "hybrid": "compose", "motion": "action", "removal": "remove"}
"""Names other releases and tables use."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit of the suite; `source` and `prompt` are empty where only its type is known."""

    key: str
    type: str
    source: str = ""
    prompt: str = ""


def canonical(edit_type: str) -> str:
    """The name the published files use now."""
    name = edit_type.strip().lower()
    return ALIASES.get(name, name)


def read_edits(path: Path) -> tuple[dict[str, Edit], list[Problem]]:
    """Reads `basic_edit.json`, {key: {id, prompt, edit_type}}, or the shorter {key: edit type}.

    Raises:
        DataError: the file is no JSON object, or holds no edit.
    """
    edits: dict[str, Edit] = {}
    problems = []
    for key, value in read_object(path).items():
        kind = value.get("edit_type") if isinstance(value, Mapping) else value
        if not isinstance(kind, str):
            problems.append(Problem(f"{path.name} {key!r}", "names no edit type"))
            continue
        about: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        edits[key] = Edit(key, kind, str(about.get("id", "")), str(about.get("prompt", "")))
        if canonical(kind) not in SCORE_NAMES:
            what = f"unknown edit type {kind!r}"
            problems.append(Problem(f"{path.name} {key!r}", what, unscored=False))
    if not edits:
        raise DataError(f"{str(path)!r} holds no edit", "give basic_edit.json")
    return edits, problems


def edits_hash(edits: Collection[Edit]) -> str:
    """Hash of what was asked, independent of order."""
    return hash_set(repr((e.key, e.type, e.source, e.prompt)) for e in edits)


def source_of(edit: Edit, folder: Path) -> Path:
    """Its source picture below `folder`; raises DataError where its name leads out of there."""
    path = folder / edit.source
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"source {edit.source!r} lies outside of {str(folder)!r}", "")
    return path


def find_pictures(folder: Path, edits: Mapping[str, Edit]) -> tuple[dict[str, Path], list[Problem]]:
    """The edited pictures `<folder>/<key>.png`; missing and left-over ones are listed.

    Raises:
        DataError: the folder is not there or holds none of them.
    """
    if not folder.is_dir():
        raise DataError(
            f"{str(folder)!r} is not a folder", "give the folder of the edited pictures"
        )
    problems = []
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix == ".png" and path.stem in edits:
            found[path.stem] = path
        else:
            problems.append(Problem(path.name, "is no picture of the suite", unscored=False))
    problems += [Problem(f"{key}.png", "is missing") for key in edits if key not in found]
    if not found:
        raise DataError(f"{str(folder)!r} holds no picture of the suite", "<key>.png")
    return found, problems
