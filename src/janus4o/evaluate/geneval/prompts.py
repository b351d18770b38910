"""What a GenEval prompt asks for: the official metadata, and files and folders that hold it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from janus4o.errors import DataError
from janus4o.evaluate.evidence import Problem, hash_set, read_lines, read_object, write_new
from janus4o.evaluate.geneval.classes import COLOURS, RELATIONS

VERSION = "djghosh13/geneval@af4902f"

_REMEDY = 'a GenEval object is {"tag", "include": [{"class", "count", …}], "exclude"?, "prompt"}'


@dataclass(frozen=True, slots=True)
class Wanted:
    """One include clause.

    Attributes:
        colour: asked of the `count` best boxes; None where any colour will do.
        position: (relation, index of an earlier include clause).
    """

    name: str
    count: int
    colour: str | None = None
    position: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Unwanted:
    """One exclude clause: fewer than `count` boxes of the class are allowed."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """One prompt with its clauses.

    Attributes:
        data: the object as it was read; results carry it unchanged.
    """

    tag: str
    prompt: str
    include: tuple[Wanted, ...]
    exclude: tuple[Unwanted, ...]
    data: dict[str, Any] = field(repr=False, hash=False)

    @property
    def text(self) -> str:
        """The object as official results files write it; the official summary groups by it."""
        return json.dumps(self.data)

    def doubts(self) -> list[str]:
        """Clauses that no picture can meet, because the networks know no such answer."""
        return [
            f"the classifier never answers {clause.colour!r}"
            for clause in self.include
            if clause.colour is not None and clause.colour not in COLOURS
        ] + [
            f"no boxes are ever {clause.position[0]!r} one another"
            for clause in self.include
            if clause.position is not None and clause.position[0] not in RELATIONS
        ]


def parse_metadata(data: Any) -> Metadata:
    """Reads one official metadata object; keys it does not know are kept and ignored.

    Raises:
        DataError: a key is missing, or has a value the official rules would stumble over.
    """
    if not isinstance(data, dict):
        raise DataError("the metadata is not a JSON object", _REMEDY)
    include = [_wanted(clause, index) for index, clause in enumerate(_clauses(data, "include"))]
    exclude = [Unwanted(*_name_and_count(clause)) for clause in _clauses(data, "exclude")]
    tag, prompt = _text(data, "tag"), _text(data, "prompt")
    return Metadata(tag, prompt, tuple(include), tuple(exclude), data)


def read_prompts(path: Path) -> tuple[list[Metadata], list[Problem]]:
    """The official prompt file, original or with rewritten prompts: one metadata object a line."""
    lines, problems = read_lines(path)
    prompts = []
    for line in lines:
        try:
            prompts.append(parse_metadata(line.data))
        except DataError as error:
            problems.append(Problem(line.where, error.message))
    return prompts, problems


def prompt_set_hash(prompts: Sequence[Metadata]) -> str:
    """Hash of what was asked, independent of order, key order and repetition."""
    return hash_set(json.dumps(one.data, sort_keys=True) for one in prompts)


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of an official folder; `id` is "00000/0003"."""

    id: str
    path: Path
    metadata: Metadata = field(repr=False)


def read_folder(
    folder: Path, prompts: Sequence[Metadata] | None = None, per_prompt: int | None = None
) -> tuple[list[Sample], list[Problem]]:
    """The pictures of `<folder>/00000/{metadata.jsonl, samples/0000.png}`, sorted.

    Folders and files the official evaluator passes over are listed, and so is what it would not
    notice: a prompt without pictures, a metadata file of another prompt set.

    Args:
        prompts: what should be there; folder 00007 must hold the eighth.
        per_prompt: how many pictures each prompt should have.

    Raises:
        DataError: the folder is not there or holds no picture.
    """
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is not a folder", "give the folder that holds 00000/ …")
    samples: list[Sample] = []
    problems: list[Problem] = []
    seen: set[int] = set()
    for entry in sorted(folder.iterdir()):
        if not (entry.is_dir() and entry.name.isdecimal()):
            problems.append(Problem(entry.name, "is no prompt folder", unscored=False))
            continue
        seen.add(int(entry.name))
        found = _read_prompt_folder(entry, problems)
        samples += found
        if per_prompt is not None and found and len(found) != per_prompt:
            problems.append(
                Problem(entry.name, f"has {len(found)} pictures, not {per_prompt}", unscored=False)
            )
        if prompts is not None and found:
            index = int(entry.name)
            if index >= len(prompts):
                problems.append(Problem(entry.name, f"is beyond the {len(prompts)} prompts", False))
            elif found[0].metadata.data != prompts[index].data:
                problems.append(Problem(entry.name, "has another prompt than the file", False))
    for index in range(len(prompts or ())):
        if index not in seen:
            problems.append(Problem(f"{index:0>5}", "the prompt has no folder"))
    if not samples:
        raise DataError(
            f"{str(folder)!r} holds no picture in GenEval's layout",
            "<folder>/00000/samples/0000.png beside <folder>/00000/metadata.jsonl",
        )
    return samples, problems


def write_prompt_folder(folder: Path, index: int, metadata: Metadata) -> Path:
    """Makes the official folder of one prompt; returns where its pictures belong."""
    place = folder / f"{index:0>5}"
    write_new(place / "metadata.jsonl", json.dumps(metadata.data).encode())
    (place / "samples").mkdir(exist_ok=True)
    return place / "samples"


def _read_prompt_folder(folder: Path, problems: list[Problem]) -> list[Sample]:
    try:
        metadata = parse_metadata(read_object(folder / "metadata.jsonl"))
    except DataError as error:
        problems.append(Problem(f"{folder.name}/metadata.jsonl", error.message))
        return []
    pictures = folder / "samples"
    samples = []
    for path in sorted(pictures.iterdir()) if pictures.is_dir() else []:
        where = f"{folder.name}/samples/{path.name}"
        # The official evaluator matches without an end and so takes 0007.png.bak for a picture.
        if re.fullmatch(r"\d+\.png", path.name) is None or not path.is_file():
            problems.append(Problem(where, "is no picture of the layout", unscored=False))
        else:
            samples.append(Sample(f"{folder.name}/{path.stem}", path, metadata))
    if not samples:
        problems.append(Problem(folder.name, "the prompt has no picture"))
    return samples


def _clauses(data: dict[str, Any], key: str) -> list[Any]:
    clauses = data.get(key, [])
    if not isinstance(clauses, list):
        raise DataError(f"{key!r} of the metadata is not a list", _REMEDY)
    return clauses


def _wanted(clause: Any, index: int) -> Wanted:
    name, count = _name_and_count(clause)
    colour = clause.get("color")
    if "color" in clause and not isinstance(colour, str):
        raise DataError(f"the colour of include clause {index} is not a text", _REMEDY)
    return Wanted(name, count, colour, _position(clause, index))


def _position(clause: dict[str, Any], index: int) -> tuple[str, int] | None:
    if "position" not in clause:
        return None
    match clause["position"]:
        # As a list index of the clauses before it, so it may count from the end.
        case [str(relation), int(target)] if type(target) is int and -index <= target < index:
            return relation, target
    raise DataError(
        f"the position of include clause {index} is not [relation, index of an earlier clause]",
        _REMEDY,
    )


def _name_and_count(clause: Any) -> tuple[str, int]:
    if not isinstance(clause, dict):
        raise DataError("a clause of the metadata is not a JSON object", _REMEDY)
    count = clause.get("count")
    if type(count) is not int or count < 0:
        raise DataError(f"the count of a clause is {count!r}, not a whole number", _REMEDY)
    return _text(clause, "class"), count


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise DataError(f"{key!r} is missing from the metadata or not a text", _REMEDY)
    return value
