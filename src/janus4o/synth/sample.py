"""One sample on its way from a number to a row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from janus4o.prompt import canonical
from janus4o.recipe import Editing, Recipe
from janus4o.records import Row
from janus4o.synth import documents, pictures, prompts, vocabulary
from janus4o.synth.checking.registry import SCORES, chosen


class Pipeline(StrEnum):
    """How a sample is made."""

    PROMPT_FIRST = "prompt_first"
    IMAGE_FIRST = "image_first"
    DOCUMENT = "document"
    EDITING = "editing"
    SECOND_TURN = "editing_turn_2"
    THIRD_TURN = "editing_turn_3"


TURNS = (Pipeline.EDITING, Pipeline.SECOND_TURN, Pipeline.THIRD_TURN)
"""Edits of pictures, of the results of those, and of the results of these."""


ATTEMPTS = 64
"""Samples of one slot after which a run with planned shares says that it cannot be filled."""


def attempts(recipe: Recipe, pipeline: Pipeline) -> int:
    """How many samples a slot of a pipeline has; slot = index // attempts.

    Pictures are described one after the other, each once: those samples have nothing to be planned.
    """
    planned = recipe.synthesis.planned and pipeline is not Pipeline.IMAGE_FIRST
    return ATTEMPTS if planned else 1


def in_turns(editing: Editing) -> list[int]:
    """How many edits are made in each turn."""
    count, turns = editing.count, editing.turns
    return [count // turns + (turn < count % turns) for turn in range(turns)]


class State(StrEnum):
    """How far a sample is. The last four are ends; `failed` is tried again by the next run.

    planned: drawn, nothing asked.          leased: a worker of this run has it.
    written: the writer answered.           painted: the painter answered.
    checked: its picture is sound; whether it is accepted depends on the samples before it.
    rejected: a check said no.              refused: a teacher said no.
    """

    PLANNED = "planned"
    LEASED = "leased"
    WRITTEN = "written"
    PAINTED = "painted"
    CHECKED = "checked"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Sample:
    """What identifies a sample and everything it draws.

    Attributes:
        index: 0-based within its pipeline.
        id: 32 hexadecimal digits, from the recipe's content, the pipeline and the index.
    """

    pipeline: Pipeline
    index: int
    id: str

    @cached_property
    def seed(self) -> int:
        """48 bits, so that JSON readers of any language keep it."""
        return int(self.id[:12], 16)

    def stage_seed(self, stage: str) -> int:
        """The seed sent with one call; stages must not draw the same numbers as each other."""
        return int(hashlib.sha256(f"{self.id}/{stage}".encode()).hexdigest()[:12], 16)

    def rng(self, stage: str) -> np.random.Generator:
        return np.random.default_rng(self.stage_seed(stage))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a sample is, as the store keeps it.

    Attributes:
        reason: why it was rejected, refused or failed: "check: detail" or "category: message".
        row: what it becomes once accepted.
    """

    sample: Sample
    state: State
    reason: str = ""
    row: Row | None = None

    @property
    def fingerprint(self) -> bytes | None:
        """Equal for two rows that would teach the same thing twice; 16 bytes, kept by the 100,000."""
        if self.row is None:
            return None
        shown = (canonical(self.row.input_prompt), self.row.input_image, self.row.output_image)
        return hashlib.blake2b(repr(shown).encode(), digest_size=16).digest()


class Rejected(Exception):
    """A check said no: `check: detail`."""


class TeacherRefused(Exception):
    """A teacher said no: `category: message`."""


class CallFailed(Exception):
    """A teacher gave no answer, however often it was asked."""


Content = dict[str, dict[str, Any]]

CHECKS = "checks"
"""Of the content: what decides which samples are accepted; their ids do not depend on it."""
SHARED = ""
"""Of the content: what all samples depend on. The other parts are named by their pipeline."""


def limits_of(recipe: Recipe) -> dict[str, float]:
    """The least scores with which a picture passes; raises UsageError for a check that does not exist."""
    checks = chosen(recipe.checks.limits)
    return {name: checks[name].limit for name in SCORES}


def content_of(recipe: Recipe) -> Content:
    """Everything that determines the samples: the recipe's part, this package's texts, and what is
    in the files the recipe names.
    """
    synthesis = recipe.synthesis
    texts, editing = prompts.read(synthesis.prompts), synthesis.editing
    shared = {**recipe.content(), "templates": texts.digest("prompt_first", "editing")}
    if synthesis.world == "open":
        shared["vocabulary"] = vocabulary.digest(synthesis.vocabulary)
    if editing.instruction == "descriptive":
        shared["descriptive"] = texts.templates["editing_descriptive"].digest
    if editing.two_sources:
        shared["two_sources"] = texts.templates["editing_two_sources"].digest
    if editing.sources == "pictures" and editing.pictures is not None:
        shared["pictures"] = pictures.open_pictures(editing.pictures, recipe.seed).digest
    content = {SHARED: shared}
    if gate := recipe.content_of_checks():
        if "judge" in gate:
            asked = texts.digest("judge", "judge_edit", "rewrite", "rewrite_edit")
            gate |= {"limits": limits_of(recipe), "templates": asked}
        content[CHECKS] = gate
    if synthesis.image_first.count and synthesis.image_first.pictures is not None:
        content[Pipeline.IMAGE_FIRST.value] = {
            **recipe.content_of("image_first"),
            "templates": texts.digest("image_first"),
            "pictures": pictures.open_pictures(synthesis.image_first.pictures, recipe.seed).digest,
        }
    if synthesis.document.count:
        names = [name for name in prompts.PLACEHOLDERS if name.startswith("document_")]
        content[Pipeline.DOCUMENT.value] = {
            **recipe.content_of("document"),
            "templates": texts.digest(*names),
            "vocabulary": documents.read(synthesis.document.vocabulary).digest,
        }
    return content


def name_samples(recipe: Recipe) -> SampleNames:
    """The ids of a recipe's samples."""
    content = content_of(recipe)
    shared = json.dumps(content.pop(SHARED), sort_keys=True)
    hashes = {SHARED: hashlib.sha256(shared.encode()).hexdigest()}
    for pipeline, part in content.items():
        text = f"{shared}\n{json.dumps(part, sort_keys=True)}"
        hashes[pipeline] = hashlib.sha256(text.encode()).hexdigest()
    return SampleNames(hashes)


@dataclass(frozen=True, slots=True)
class SampleNames:
    """Makes samples by number.

    Attributes:
        hashes: pipeline, or `SHARED` for those not named, → hash of what determines its samples.
    """

    hashes: Mapping[str, str]

    @property
    def content(self) -> str:
        return self.hashes[SHARED]

    def sample(self, pipeline: Pipeline, index: int) -> Sample:
        content = self.hashes.get(pipeline.value, self.content)
        text = f"{content}/{pipeline.value}/{index}"
        return Sample(pipeline, index, hashlib.sha256(text.encode()).hexdigest()[:32])
