"""What a writer behind an API answers: one JSON object, checked, with one round to mend it.

Language models like to greet, to explain and to quote. A reply of a schema cannot; one that is
malformed all the same is shown to its writer once, and then the sample is given up by name.
"""

from __future__ import annotations

import json

from janus4o.exchange import Picture
from janus4o.synth.calls import Calls, Written
from janus4o.synth.sample import TeacherRefused
from janus4o.synth.setting import Setting

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
MAX_TEXT = 4000
"""Characters; image models take 32,000, but nobody writes one coherent sentence that long."""
REPAIR = """\
{asked}

Your last answer was: {answer}
It cannot be used: {fault}. Answer again, as a JSON object with the one key "text"."""


async def write(
    calls: Calls, setting: Setting, stage: str, prompt: str, pictures: tuple[Picture, ...] = ()
) -> Written:
    """One line of text: from the offline writer as it is, from others out of their JSON.

    Raises:
        TeacherRefused: it said no, or its answer was malformed twice.
        CallFailed: it said nothing.
    """
    if setting.world is not None:
        return await calls.write(stage, prompt, pictures)
    first = await calls.write(stage, prompt, pictures, SCHEMA)
    text, fault = read(first.text)
    if not fault:
        return Written(text, first.model)
    mend = REPAIR.format(asked=prompt, answer=first.text[:MAX_TEXT], fault=fault)
    second = await calls.write(f"{stage}.repair", mend, pictures, SCHEMA)
    text, fault = read(second.text)
    if fault:
        raise TeacherRefused(f"malformed: {fault}, also when asked again")
    return Written(text, second.model)


def read(answer: str) -> tuple[str, str]:
    """(text, "") of a good answer, ("", what is wrong) of another."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return "", "it is not JSON"
    if not isinstance(found, dict) or found.keys() != {"text"}:
        return "", 'it is not an object with the one key "text"'
    if not isinstance(found["text"], str):
        return "", "the text is not a string"
    text = " ".join(found["text"].split())
    if not text:
        return "", "the text is empty"
    if len(text) > MAX_TEXT:
        return "", f"the text is longer than {MAX_TEXT} characters"
    return text, ""
