"""What a judge is asked about a picture, and what it answers: four scores from 1 to 5.

The scale and what is told apart are those of the field's judges of edits (ImgEdit's 1 to 5; following and
quality apart, as VIEScore does), asked for in words of our own and answered as JSON of a schema. A score is
never lowered by another one: each has its own limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from janus4o.exchange import Picture, WriteRequest
from janus4o.synth.forms import Form, Malformed, closed
from janus4o.synth.prompts import Prompts

LOWEST, HIGHEST = 1, 5
LONGEST = 400
"""Characters of a reason that are kept."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge says of one picture.

    Attributes:
        scores: "following", "realism", "technique" and, of edits, "preservation" → 1 to 5.
        why: what is most wrong; empty where nothing is.
    """

    scores: Mapping[str, int]
    why: str


def form_of(is_edit: bool) -> Form[Judgement]:
    """What an answer has to look like."""
    names = ("following", *(("preservation",) if is_edit else ()), "realism", "technique")
    schema = closed({**{key: {"type": "integer"} for key in names}, "why": {"type": "string"}})

    def read(found: dict[str, Any]) -> Judgement:
        scores = {name: _score(found[name], name) for name in names}
        if not isinstance(found["why"], str):
            raise Malformed("why is not a string")
        return Judgement(scores, " ".join(found["why"].split())[:LONGEST])

    return Form(schema, f"the keys {', '.join(names)} and why", read)


def request_of(
    prompts: Prompts, asked: str, pictures: tuple[Picture, ...], seed: int = 0
) -> WriteRequest:
    """The question about a picture, which is the last one; sources of an edit come before it."""
    is_edit = len(pictures) > 1
    text = prompts.fill("judge_edit" if is_edit else "judge", asked=asked)
    return WriteRequest(text, pictures, seed, form_of(is_edit).schema)


def _score(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not LOWEST <= value <= HIGHEST:
        raise Malformed(f"{name} is no whole number from {LOWEST} to {HIGHEST}")
    return value
