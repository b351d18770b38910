"""Whom pictures show, asked of a vision model: perceived gender, origin, age and occupation of the
person they are mostly about.

What a model perceives is not what somebody is, and the model has biases of its own: its answers are
counted, and nothing is decided by them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from janus4o.errors import DataError, ImageError
from janus4o.evaluate.asking import Progress, Question, as_picture, ask
from janus4o.evaluate.evidence import Problem
from janus4o.exchange import Writer, WriteRequest
from janus4o.images import open_image
from janus4o.ledger.jobs import Manner
from janus4o.ledger.journal import Spend
from janus4o.people import Told

UNCLEAR = "cannot be told"
SIDE = 768
"""Pixels of a picture's longer side as it is sent: more costs more and tells no more."""
ASKED = """Look at the picture. Which person is it mostly about? Say how that person appears, not who they are.

Answer with one JSON object and nothing else. "somebody": true or false, whether a person is shown at all
(drawn and painted people count, animals and statues do not). For each other key one of its values, word
for word; "{unclear}" where the picture does not show it.
{choices}"""


@dataclass(frozen=True, slots=True)
class Portrayed:
    """What the pictures show.

    Attributes:
        told: of each picture asked about that was answered; None where nobody is shown.
        models: names the server gave.
        problems: pictures and answers that could not be used.
        spend: of all runs with this ledger.
    """

    told: dict[str, Told | None]
    models: tuple[str, ...]
    problems: list[Problem]
    spend: Spend


def look(
    pictures: Iterable[tuple[str, Callable[[], bytes]]],
    groups: Mapping[str, Sequence[str]],
    writer: Writer,
    ledger: Path,
    manner: Manner = Manner(),
    progress: Progress = lambda done: None,
) -> Portrayed:
    """Asks about each picture once; answers that are in the ledger are not asked for again.

    Args:
        pictures: name and how to read it.
        groups: dimension → the groups to choose from.

    Raises:
        Janus4oError: see `calling.call_all`.
    """
    prompt, schema = _prompt(groups), _schema(groups)
    problems: list[Problem] = []

    def questions() -> Iterator[Question]:
        for name, read in pictures:
            try:
                image = open_image(read())
            except (ImageError, DataError) as error:
                problems.append(Problem(name, error.message))
                continue
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            yield Question(name, WriteRequest(prompt, (as_picture(image),), schema=schema))

    asked = ask(writer, questions(), ledger, manner, progress)
    told: dict[str, Told | None] = {}
    for name, answer in asked.answers.items():
        try:
            told[name] = read_reply(answer.text, groups)
        except ValueError as error:
            problems.append(Problem(name, f"an answer that cannot be used: {error}"))
    models = tuple(dict.fromkeys(answer.model for answer in asked.answers.values()))
    return Portrayed(told, models, [*problems, *asked.problems], asked.spend)


def read_reply(text: str, groups: Mapping[str, Sequence[str]]) -> Told | None:
    """What an answer says; None where it says that nobody is shown.

    Raises:
        ValueError: it is no such object, or holds a value that there was not to choose from.
    """
    start, end = text.find("{"), text.rfind("}")
    try:
        data: Any = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        raise ValueError("no JSON object") from None
    if not isinstance(data, dict) or not isinstance(data.get("somebody"), bool):
        raise ValueError('no "somebody"')
    if not data["somebody"]:
        return None
    found: dict[str, frozenset[str]] = {}
    for dimension, choices in groups.items():
        value = data.get(dimension)
        if value in choices:
            found[dimension] = frozenset({str(value)})
        elif value != UNCLEAR:
            raise ValueError(f"{dimension} is {str(value)[:40]!r}")
    return found


def _prompt(groups: Mapping[str, Sequence[str]]) -> str:
    lines = [
        f"{json.dumps(name)}: {', '.join(map(json.dumps, (*choices, UNCLEAR)))}"
        for name, choices in groups.items()
    ]
    return ASKED.format(unclear=UNCLEAR, choices="\n".join(lines))


def _schema(groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    values = {
        name: {"type": "string", "enum": [*choices, UNCLEAR]} for name, choices in groups.items()
    }
    return {
        "type": "object",
        "properties": {"somebody": {"type": "boolean"}, **values},
        "required": ["somebody", *groups],
        "additionalProperties": False,
    }
