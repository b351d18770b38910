"""One sample's conversation with its teachers. What was answered before is not asked again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from janus4o.exchange import (
    Painter,
    PaintReply,
    PaintRequest,
    Picture,
    Unanswered,
    Writer,
    WriteRequest,
)
from janus4o.images import MEDIA_TYPES, kind_of, open_image
from janus4o.ledger.budget import Budget
from janus4o.ledger.calling import Caller, Question, Served, Stopping
from janus4o.ledger.journal import Attempt, request_hash
from janus4o.ledger.limits import Pace
from janus4o.prompt import find_fault
from janus4o.synth.batches import Desk
from janus4o.synth.sample import CallFailed, Sample, Standing, State, TeacherRefused
from janus4o.synth.store import Store

SERVED = "served"
"""Fact of the store: role → the model name its server answers with."""

Pixels = NDArray[np.uint8]
Role = Literal["writer", "judge"]
"""Who writes."""


@dataclass(frozen=True, slots=True)
class Written:
    """A writer's answer: one line of text and the model that wrote it."""

    text: str
    model: str


@dataclass(frozen=True, slots=True)
class Painted:
    """A painter's answer, stored: its name, its bytes and the model that painted it."""

    name: str
    picture: Picture
    model: str


@dataclass(slots=True)
class Teachers:
    """Who is asked, what may be spent, and where answers are kept.

    Attributes:
        answered: answers of earlier runs by (sample id, stage).
        judge: None where nobody scores.
        paces: role ("writer", "painter", "judge") → how often its server may be asked.
        desks: role → where its batches are, if it is asked by the batch.
        stopping: set when the run is to end.
    """

    writer: Writer
    painter: Painter
    size: tuple[int, int]
    store: Store
    budget: Budget
    answered: dict[tuple[str, str], Attempt]
    paces: Mapping[str, Pace] = field(default_factory=dict)
    desks: Mapping[str, Desk] = field(default_factory=dict)
    judge: Writer | None = None
    stopping: Stopping = field(default_factory=Stopping)
    _callers: dict[str, Caller] = field(default_factory=dict)

    def recall(self, attempts: Iterable[Attempt]) -> None:
        """Takes over what was answered before; the later of two answers counts."""
        for one in attempts:
            # Of an answer whose picture is gone nothing is left: it is asked for again.
            if one.status != "error" and (one.blob is None or self.store.blobs.has(one.blob)):
                self.answered[one.sample, one.stage] = one

    @property
    def calls(self) -> int:
        """Made by this run."""
        return sum(caller.calls for caller in self._callers.values())

    @property
    def gone(self) -> bool:
        """A teacher cannot be asked any more; calls in flight are not worth waiting for."""
        return any(caller.gone for caller in self._callers.values())

    def teacher(self, role: str) -> Writer | Painter:
        """Who has this role; raises KeyError where nobody has."""
        if role == "painter":
            return self.painter
        found = self.writer if role == "writer" else self.judge
        if found is None:
            raise KeyError(role)
        return found

    @property
    def roles(self) -> dict[str, object]:
        """Role → who has it."""
        return {"writer": self.writer, "painter": self.painter, "judge": self.judge}

    def caller(self, role: str) -> Caller:
        """Asks one of them."""
        if role not in self._callers:
            served: dict[str, str] = self.store.fact(SERVED) or {}

            def note(model: str) -> str:
                with self.store.alone("served"):
                    known: dict[str, str] = self.store.fact(SERVED) or {}
                    if role not in known:
                        self.store.state_fact(SERVED, {**known, role: model})
                    return known.get(role, model)

            remedy = (
                "two models must not be mixed: ask for one that is still served, in a new run "
                f"folder; or name it as teachers.{role}.served if it is the same model"
            )
            self._callers[role] = Caller(
                self.teacher(role),
                self.store,
                self.budget,
                self.stopping,
                Served(f"the {role}", remedy, served.get(role), note),
                self.paces.get(role),
                self.desks.get(role),
            )
        return self._callers[role]


class Calls:
    """Asks the teachers on behalf of one sample and records what they say."""

    def __init__(self, sample: Sample, teachers: Teachers) -> None:
        self.sample = sample
        self._teachers = teachers

    def keep(self, data: bytes) -> str:
        """Stores a picture nobody was asked for and returns its name; on disk before its row is.

        Raises:
            ImageError: not a PNG, JPEG or WebP.
        """
        return self._teachers.store.blobs.put(data, durable=False)

    def picture(self, name: str) -> tuple[Picture, Pixels]:
        """A stored picture, and decoded: uint8 RGB [H, W, 3]; raises DataError where it is gone."""
        data = self._teachers.store.blobs.read(name)
        picture = Picture(data, MEDIA_TYPES[kind_of(data)])
        return picture, np.asarray(open_image(data), np.uint8)

    def reach(self, state: State) -> None:
        """The sample got this far."""
        self._teachers.store.update(Standing(self.sample, state))

    async def write(
        self,
        stage: str,
        prompt: str,
        pictures: tuple[Picture, ...] = (),
        schema: Mapping[str, Any] | None = None,
        role: Role = "writer",
    ) -> Written:
        """Asks the writer, or the judge; with a schema, for a JSON object.

        Raises:
            TeacherRefused, CallFailed: it said no, or nothing.
        """
        seed = self.sample.stage_seed(stage)
        asked = WriteRequest(prompt, pictures, seed, schema)
        request = request_hash(prompt, pictures, seed)
        question = Question(self.sample.id, stage, request, asked, unfit=_unfit)
        attempt, _ = await self._ask(role, question)
        return Written(" ".join((attempt.text or "").split()), attempt.model)

    async def paint(self, stage: str, prompt: str, sources: tuple[Picture, ...] = ()) -> Painted:
        """Asks the painter; its picture is stored.

        Raises:
            TeacherRefused, CallFailed: it said no, or nothing.
        """
        size, seed = self._teachers.size, self.sample.stage_seed(stage)
        asked = PaintRequest(prompt, sources, size, seed)
        request = request_hash(prompt, sources, seed, size)
        question = Question(self.sample.id, stage, request, asked, self._keep_painted)
        attempt, picture = await self._ask("painter", question)
        if attempt.blob is None:
            raise TeacherRefused("no_picture: the answer holds none")
        if picture is None:
            data = self._teachers.store.blobs.read(attempt.blob)
            picture = Picture(data, MEDIA_TYPES[kind_of(data)])
        return Painted(attempt.blob, picture, attempt.model)

    def _keep_painted(self, reply: PaintReply) -> str:
        durable = reply.usage.cost_usd != 0.0
        return self._teachers.store.blobs.put(reply.picture.data, durable=durable)

    async def _ask(self, role: str, question: Question) -> tuple[Attempt, Picture | None]:
        known = self._teachers.answered.get((self.sample.id, question.stage))
        picture = None
        if known is None or known.request != question.request:
            teacher = self._teachers.teacher(role)
            try:
                known, picture = await self._teachers.caller(role).ask(question)
            except Unanswered as failure:
                raise CallFailed(f"{teacher.name}: {failure}") from None
        if known.status == "refused":
            raise TeacherRefused(known.text or "refused")
        return known, picture


def _unfit(text: str) -> str | None:
    """Why a text cannot be a prompt."""
    fault = find_fault(" ".join(text.split()))
    return f"{fault.name}: what was written {fault.words}" if fault else None
