"""Asks a writer for one JSON object, with one round to mend it.

Language models like to greet, to explain and to quote. A reply of a schema cannot; one that is
malformed all the same is shown to its writer once, and then the sample is given up by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from janus4o.exchange import Picture
from janus4o.synth.calls import Calls, Role, Written
from janus4o.synth.forms import MAX_TEXT, TEXT, Form, Malformed, read
from janus4o.synth.sample import TeacherRefused
from janus4o.synth.setting import Setting

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What was written, and the model that wrote it."""

    value: T
    model: str


async def write(
    calls: Calls,
    setting: Setting,
    stage: str,
    prompt: str,
    pictures: tuple[Picture, ...] = (),
    form: Form[str] = TEXT,
) -> Written:
    """One line of text: from the offline writer as it is, from others out of their JSON.

    Raises:
        TeacherRefused: it said no, or its answer was malformed twice.
        CallFailed: it said nothing.
    """
    if setting.world is not None:
        return await calls.write(stage, prompt, pictures)
    answer = await fill_in(calls, setting, stage, prompt, form, pictures)
    return Written(answer.value, answer.model)


async def fill_in(
    calls: Calls,
    setting: Setting,
    stage: str,
    prompt: str,
    form: Form[T],
    pictures: tuple[Picture, ...] = (),
    role: Role = "writer",
) -> Answer[T]:
    """An object of a form, from any writer.

    Raises:
        TeacherRefused, CallFailed: as `write`.
    """
    first = await calls.write(stage, prompt, pictures, form.schema, role)
    try:
        return Answer(read(first.text, form), first.model)
    except Malformed as fault:
        mend = setting.prompts.fill(
            "repair",
            asked=prompt,
            answer=first.text[:MAX_TEXT],
            fault=str(fault),
            keys=form.keys,
        )
    second = await calls.write(f"{stage}.repair", mend, pictures, form.schema, role)
    try:
        return Answer(read(second.text, form), second.model)
    except Malformed as fault:
        raise TeacherRefused(f"malformed: {fault}, also when asked again") from None
