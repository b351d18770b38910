"""The rows of a data set. The only place that knows their JSON keys.

A row has the published ShareGPT-4o-Image keys (`input_prompt`, `output_image`,
`output_image_resolution`; edits add `input_image`, a list, and `input_image_resolution`) and, where
we made it ourselves, a `provenance` object.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from janus4o.errors import DataError

Resolution = tuple[int, int]
"""(width, height) in pixels."""


class Rejection(BaseModel):
    """A picture painted for a row's prompt that did not pass.

    Attributes:
        picture: its blob.
        prompt: what it was painted from, the row's own words before any rewriting.
        why: "check: detail".
        scores: a judge's, where one was asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    picture: str
    prompt: str
    why: str
    scores: dict[str, int] = Field(default_factory=dict)


class Rewriting(BaseModel):
    """What a row's prompt was before it was written anew for the picture that came.

    Attributes:
        asked: the prompt or instruction the picture was painted from.
        writer: the model that wrote the row's, as the server named it.
        why: what was wrong with the picture for the old one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    asked: str
    writer: str
    why: str


class Provenance(BaseModel):
    """How a row came to be. Content only: times and spend live in the provenance file of the run.

    Attributes:
        id: sample id.
        pipeline: "prompt_first", "image_first", "document" or "editing".
        task: what was asked for: GenEval-like kind or editing task.
        attributes: sampled attributes, as asked for.
        write_prompt: the exact text sent to the writer.
        writer, painter: the model names the servers returned.
        seed: seed sent to the teachers.
        checks: check name → result.
        templates: template of the writer's requests → "version/hash of its text".
        judge: the model name the judge's server returned; empty where nobody judged.
        rejected: pictures painted before from the same prompt, and why they did not pass.
        rewritten: where the prompt is not the one that the picture was painted from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    pipeline: str
    task: str
    attributes: dict[str, Any]
    write_prompt: str
    writer: str
    painter: str
    seed: int
    checks: dict[str, Any] = Field(default_factory=dict)
    templates: dict[str, str] = Field(default_factory=dict)
    judge: str = ""
    rejected: tuple[Rejection, ...] = ()
    rewritten: Rewriting | None = None


class Row(BaseModel):
    """One sample. Images are file names: blob hashes in a run, archive members in an export."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_prompt: str
    output_image: str
    output_image_resolution: Resolution
    input_image: tuple[str, ...] = ()
    input_image_resolution: Resolution | None = None
    provenance: Provenance | None = None

    @property
    def is_edit(self) -> bool:
        return bool(self.input_image)

    def to_json_line(self) -> str:
        """The row as one line of rows.jsonl, without its end."""
        return json.dumps(self.to_json(), ensure_ascii=False)

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object; keys of edits only where it is one."""
        out: dict[str, Any] = {"input_prompt": self.input_prompt}
        if self.is_edit:
            out["input_image"] = list(self.input_image)
            if self.input_image_resolution is not None:
                out["input_image_resolution"] = list(self.input_image_resolution)
        out["output_image"] = self.output_image
        out["output_image_resolution"] = list(self.output_image_resolution)
        if self.provenance is not None:
            made = self.provenance.model_dump(mode="json")
            for key in ("templates", "judge", "rejected", "rewritten"):
                if not made[key]:
                    del made[key]
            out["provenance"] = made
        return out


def from_json(data: Any, where: str) -> Row:
    """Reads one row; raises DataError naming `where` and the first wrong key."""
    try:
        return Row.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "row"
        raise DataError(f"{where}: {key}: {first['msg']}", "see docs/data-format.md") from None
