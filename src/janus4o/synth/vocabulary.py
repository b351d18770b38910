"""What the open world can be asked for, from a YAML file that users can copy and change."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from janus4o.errors import RecipeError
from janus4o.synth.taxonomy import Taxonomy, Values

VOCABULARY = Path(__file__).with_name("vocabulary.yaml")
GROUPED = ("objects", "people", "background", "style", "lighting", "camera", "composition")
"""Dimensions of the file: sub-dimension → list of words. `colours` is one list."""


@cache
def read(path: str | None) -> Taxonomy:
    """A vocabulary file, the shipped one if None.

    Raises:
        RecipeError: it is not there, not YAML, or lacks a dimension; names what is wrong.
    """
    data = _load(path)
    grouped = {name: _groups(data, name, path) for name in GROUPED}
    people = {f"people, {kind}": leaves for kind, leaves in grouped["people"].items()}
    return Taxonomy(
        objects={**grouped["objects"], **people},
        people=frozenset(name for leaves in people.values() for name in leaves),
        colours=_words(data.get("colours"), "colours", path),
        background=grouped["background"],
        style=grouped["style"],
        lighting=grouped["lighting"],
        camera=grouped["camera"],
        composition={},
        layout=grouped["composition"],
    )


def digest(path: str | None) -> str:
    """Of the file's content, however it is written: part of every sample id."""
    return hashlib.sha256(repr(_load(path)).encode()).hexdigest()[:16]


@cache
def _load(path: str | None) -> dict[str, Any]:
    try:
        data = yaml.safe_load((Path(path) if path else VOCABULARY).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).partition("\n")[0]
        raise RecipeError(
            f"synthesis.vocabulary: {path!r} cannot be read: {first}",
            "copy the shipped vocabulary.yaml and change it",
        ) from None
    if not isinstance(data, dict) or data.keys() != {*GROUPED, "colours"}:
        wanted = ", ".join((*GROUPED, "colours"))
        raise RecipeError(
            f"synthesis.vocabulary: {path!r} has not the keys wanted", f"they are {wanted}"
        )
    return data


def _groups(data: dict[str, Any], name: str, path: str | None) -> dict[str, Values]:
    groups = data[name]
    if not isinstance(groups, dict):
        raise RecipeError(
            f"synthesis.vocabulary: {path!r}: {name} is not a mapping", "kind: [word, ...]"
        )
    return {str(kind): _words(leaves, f"{name}.{kind}", path) for kind, leaves in groups.items()}


def _words(leaves: Any, where: str, path: str | None) -> Values:
    if not isinstance(leaves, list) or not all(isinstance(leaf, str) and leaf for leaf in leaves):
        raise RecipeError(
            f"synthesis.vocabulary: {path!r}: {where} is not a list of words",
            "quote words that YAML reads otherwise, such as 'yes'",
        )
    return tuple(leaves)
