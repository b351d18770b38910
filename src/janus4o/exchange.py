"""What is asked of a writer, a painter or a judge, and what comes back.

Every teacher (a paid API, the offline sketch world, our own model) speaks these types and nothing
else: text and encoded pictures in, text and encoded pictures out. A refusal is an answer, not an
error: it was asked, it may have been paid for, and it must be recorded. `Unanswered` is raised
where no usable answer came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from janus4o.errors import ImageError, Janus4oError, PromptError


@dataclass(frozen=True, slots=True)
class Picture:
    """One encoded picture.

    Attributes:
        data: the provider's original bytes.
        media_type: "image/png", "image/jpeg" or "image/webp".
    """

    data: bytes = field(repr=False)
    media_type: str = "image/png"


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call consumed, as the provider counted it.

    Attributes:
        input_tokens, output_tokens: tokens, 0 where the provider counts none.
        images: pictures returned.
        cost_usd: US dollars; 0.0 means free, None means the price is unknown.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    images: int = 0
    cost_usd: float | None = 0.0


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Text wanted from a language model, perhaps about pictures.

    Attributes:
        prompt: the whole user message, exactly as sent.
        pictures: pictures the message is about, in order.
        seed: what the teacher should draw its randomness from, where it supports one.
        schema: JSON schema of an object; the reply's text is then such an object.
    """

    prompt: str
    pictures: tuple[Picture, ...] = ()
    seed: int = 0
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class WriteReply:
    """Text that came back; `model` is the name the server returned, not the one asked for."""

    text: str
    model: str
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class PaintRequest:
    """A picture wanted. With `sources` it is an edit and `prompt` is the instruction.

    Attributes:
        size: (width, height) in pixels, or None for the teacher's own choice.
        mask: PNG of the first source's size; where it is transparent, the picture may change.
    """

    prompt: str
    sources: tuple[Picture, ...] = ()
    size: tuple[int, int] | None = None
    seed: int = 0
    mask: Picture | None = None


@dataclass(frozen=True, slots=True)
class PaintReply:
    """A picture that came back; `model` is the name the server returned."""

    picture: Picture
    model: str
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """A question to a judge: does `picture` show what was asked?

    For an edit, `sources` holds what was to be edited and `prompt` the instruction.
    """

    prompt: str
    picture: Picture
    sources: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """A verdict.

    Attributes:
        passed: whether the picture shows what was asked.
        score: 0–1.
        reason: one line; empty when nothing is wrong.
    """

    passed: bool
    score: float
    reason: str
    model: str
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The teacher answered, and the answer is no. Terminal: asking again would be paid again.

    Attributes:
        category: one lower-case word or path, e.g. "moderation", "unsupported_task".
        message: the teacher's own words.
    """

    category: str
    message: str
    model: str
    usage: Usage = Usage()


class Declined(Exception):
    """A teacher of our own cannot do what it is asked; `refusal_of` makes the answer of it."""

    def __init__(self, category: str, message: str) -> None:
        super().__init__(message)
        self.category = category


def refusal_of(error: Declined | PromptError | ImageError, model: str) -> Refusal:
    """The answer of a teacher of our own that met `error`: it refuses as a paid one would."""
    if isinstance(error, Declined):
        return Refusal(error.category, str(error), model)
    if isinstance(error, ImageError):
        return Refusal("unreadable_source", error.message, model)
    return Refusal("unreadable_prompt", error.message, model)


class Unanswered(Exception):
    """A call brought no usable answer; asking again may help.

    Args:
        usage: what it consumed. `cost_usd` None means that it may have been billed; 0.0 that it
            was not.
        limited: the server said that it is asked too often.
        retry_after: seconds the server wants to be left alone, None where it did not say.
        stop: what ends the run, where no call can succeed now: a wrong key, an empty account, a
            model that is gone.
        final: asking this again is of no use; other requests may be answered.
    """

    def __init__(
        self,
        message: str,
        usage: Usage = Usage(cost_usd=None),
        *,
        limited: bool = False,
        retry_after: float | None = None,
        stop: Janus4oError | None = None,
        final: bool = False,
    ) -> None:
        super().__init__(message)
        self.usage = usage
        self.limited = limited
        self.retry_after = retry_after
        self.stop = stop
        self.final = final


class Writer(Protocol):
    """Writes prompts, captions and instructions."""

    @property
    def name(self) -> str: ...

    async def write(self, request: WriteRequest) -> WriteReply | Refusal: ...


class Painter(Protocol):
    """Paints pictures and edits them.

    `max_categories` is the largest number of distinct object categories it can be asked for.
    """

    @property
    def name(self) -> str: ...

    @property
    def max_categories(self) -> int: ...

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal: ...


class Judge(Protocol):
    """Says whether a picture shows what was asked."""

    @property
    def name(self) -> str: ...

    async def judge(self, request: JudgeRequest) -> JudgeReply | Refusal: ...
