"""Puts a model's pictures before a judge."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from janus4o.evaluate.question import Question
from janus4o.exchange import Judge, JudgeRequest, Picture, Refusal


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a picture shows what was asked; `reason` is empty when nothing is wrong."""

    passed: bool
    reason: str = ""


def judge_answers(
    judge: Judge, questions: Sequence[Question], answers: Sequence[Image.Image], concurrency: int
) -> list[Verdict]:
    """Verdicts in the order of the questions, at most `concurrency` in flight.

    A judge that refuses has not passed the answer; the reason says so.
    """

    async def ask(gate: asyncio.Semaphore, question: Question, answer: Image.Image) -> Verdict:
        sources = () if question.source is None else (_picture(question.source),)
        async with gate:
            reply = await judge.judge(JudgeRequest(question.prompt, _picture(answer), sources))
        if isinstance(reply, Refusal):
            return Verdict(False, f"the judge refused: {reply.message}")
        return Verdict(reply.passed, reply.reason)

    async def ask_all() -> list[Verdict]:
        gate = asyncio.Semaphore(concurrency)
        pairs = zip(questions, answers, strict=True)
        return await asyncio.gather(*(ask(gate, question, answer) for question, answer in pairs))

    return asyncio.run(ask_all())


def _picture(image: Image.Image) -> Picture:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return Picture(buffer.getvalue())
