"""Votes: one JSON object a line, only ever appended.

A rater is a name and the session it began with. The same name with another session is another
person, or the same one without their browser: nobody can tell, so those votes are listed and not
counted. A second vote at one place of the order replaces the first: that is how a rater corrects.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from janus4o.evaluate.arena.contest import Contest, first_fault
from janus4o.evaluate.arena.order import Trial, order
from janus4o.evaluate.evidence import Problem, read_lines

Choice = Literal["left", "right", "tie", "skip"]
QUESTIONS = {"follows": "follows the instruction", "looks": "looks better"}


class Vote(BaseModel):
    """One trial answered.

    Attributes:
        contest: its id.
        session: random hexadecimal of the browser the rater began in.
        seat, place: which order, and where in it, from 0.
        ms: milliseconds between seeing and answering.
        at: when, UTC, as the clock of the page or server had it.
        scripted: the rule that chose; empty where a person did.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    contest: str
    rater: Annotated[str, Field(min_length=1, max_length=60)]
    session: Annotated[str, Field(pattern="^[0-9a-f]{16,64}$")]
    seat: Annotated[str, Field(max_length=60)]
    place: Annotated[int, Field(ge=0)]
    item: str
    left: str
    right: str
    follows: Choice
    looks: Choice
    ms: Annotated[int, Field(ge=0)]
    at: str
    scripted: Annotated[str, Field(max_length=60)] = ""


def append_vote(path: Path, vote: Vote) -> None:
    """Adds one line, on disk before this returns; what a kill left half-written stays a line of its own."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        line = ("\n" if torn else "") + vote.model_dump_json() + "\n"
        data = line.encode()
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def read_votes(
    contest: Contest, files: Iterable[Path]
) -> tuple[list[tuple[Vote, Trial]], list[Problem]]:
    """The votes that count with the trial each answers, and every line that does not, with the reason.

    Raises:
        DataError: a file cannot be read or is empty.
    """
    orders = cache(lambda seat: order(contest, seat))
    items = {item.item for item in contest.items}
    known: dict[str, tuple[str, str]] = {}
    kept: dict[tuple[str, int], tuple[Vote, Trial]] = {}
    problems: list[Problem] = []
    for path in files:
        lines, torn = read_lines(path)
        problems += torn
        for line in lines:
            try:
                vote = Vote.model_validate(line.data)
            except ValidationError as error:
                problems.append(Problem(line.where, first_fault(error)))
                continue
            trials = orders(vote.seat)
            trial = trials[vote.place] if vote.place < len(trials) else None
            if vote.contest != contest.id:
                fault = "a vote of another contest"
            elif vote.item not in items:
                fault = f"a vote for an unknown item {vote.item!r}"
            elif trial is None or (vote.item, vote.left, vote.right) != (
                trial.item,
                trial.left,
                trial.right,
            ):
                fault = f"not what stands at place {vote.place} of seat {vote.seat!r}"
            elif known.setdefault(vote.rater, own := (vote.session, vote.seat)) != own:
                fault = f"another session calls itself {vote.rater!r} too"
            else:
                kept[vote.rater, vote.place] = vote, trial
                continue
            problems.append(Problem(line.where, fault))
    return list(kept.values()), problems
