"""Teachers that speak OpenAI's wire format: OpenAI, Gemini's compatible endpoint, vLLM, SGLang.

The official package does the wire; everything else is ours. Its retries are off, because a call that
nobody journalled cannot be paid for knowingly. Its errors are sorted here, at the boundary:

    a refusal     moderation, or a request this model will never accept: an answer, never asked again
    unanswered    the network, 5xx, 429, a reply that is not what was asked for: asked again
    stop          a wrong key, an empty account, a model that is gone: no call can succeed now
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import email.utils
import io
import os
import re
import time
from typing import Any

from janus4o.errors import BudgetStop, ImageError, Refused
from janus4o.exchange import (
    PaintReply,
    PaintRequest,
    Picture,
    Refusal,
    Unanswered,
    Usage,
    WriteReply,
    WriteRequest,
)
from janus4o.images import MEDIA_TYPES, kind_of, read_size
from janus4o.ledger.prices import Price
from janus4o.recipe import PainterServer, Rates, Server, WriterServer
from janus4o.teachers import registry
from janus4o.teachers.download import fetch

try:
    import httpx2
    import openai
    from openai.types.chat import ChatCompletion
    from openai.types.images_response import ImagesResponse
except ModuleNotFoundError as missing:
    raise Refused(
        f"teachers behind an API need {missing.name}, which is not installed",
        "pip install 'janus4o[openai]' (or make setup)",
    ) from None

MAX_WORDS = 300
"""Characters kept of what a server says about a failure."""
MAX_EDIT_SOURCES = 16
MODERATION = {
    "moderation_blocked", "content_policy_violation", "content_filter", "safety",
    "image_content_policy_violation", "responsible_ai_policy_violation",
}  # fmt: skip
"""Codes by which servers say that they do not want to."""
SETTINGS = {
    "model", "size", "quality", "moderation", "response_format", "output_format", "seed", "n",
    "max_completion_tokens", "reasoning_effort",
}  # fmt: skip
"""Parameters that come from the recipe: refused once, they are refused always."""
EMPTY_ACCOUNT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
NOT_BILLED = {408, 409, 429, 500, 503, 529}
"""Statuses of calls that were not carried out. What a gateway gave up on (502, 504) may have been."""


class _Client:
    """What writer and painter share: the client, the price list, the reading of failures.

    Args:
        server: the recipe's; its key is read from the environment here and never kept elsewhere.
        asking: False where nothing will be asked (a plan): no key is needed then.

    Raises:
        Refused: there is no such variable in the environment.
    """

    def __init__(self, server: Server, asking: bool = True) -> None:
        key = os.environ.get(server.key, "").strip() if asking else "none"
        if not key:
            raise Refused(
                f"the key of {server.model!r} is not there: {server.key} is not in the environment",
                f"export {server.key}=... (any word for a server that asks for none)",
            )
        self.name = server.model
        self._server = server
        self._key = key
        self._client = openai.AsyncOpenAI(
            api_key=key,
            base_url=server.base_url or "https://api.openai.com/v1",
            max_retries=0,
            timeout=httpx2.Timeout(server.timeout, connect=min(10.0, server.timeout)),
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, trust_env=False),
        )
        # Nothing but the recipe and its key decides under whose account: not other variables.
        self._client.organization = self._client.project = None
        self._known = registry.find(server.model)
        self._rates = server.price or (self._known.rates if self._known else None)

    @property
    def rates(self) -> Rates | None:
        return self._rates

    def serves(self, model: str) -> bool:
        """The name asked for, perhaps with a date after it or a provider before it."""
        if self._server.served is not None:
            return model == self._server.served
        asked, answered = (name.rpartition("/")[2] for name in (self.name, model))
        return (
            answered == asked or re.fullmatch(r"-[\d-]+", answered.removeprefix(asked)) is not None
        )

    async def models(self) -> dict[str, str]:
        """Name → announced day of shutdown ("" where none) of what the server offers."""
        try:
            page = await self._client.models.list()
        except openai.OpenAIError as error:
            failure = self._failure(error)
            if isinstance(failure, Refusal):
                return {}
            raise failure.stop or Refused(str(failure), "see to the server") from None
        return {model.id: getattr(model, "shutdown_date", None) or "" for model in page.data}

    async def close(self) -> None:
        await self._client.close()

    def _words(self, text: object) -> str:
        """A server's words, short, on one line, and without the key should it repeat it."""
        said = " ".join(str(text).replace(self._key, "[key]").split())
        # Keys are echoed in part as well ("sk-abc***xyz"): nothing that looks like one is kept.
        return re.sub(r"\b(sk|AIza)[-\w*]{6,}", "[key]", said)[:MAX_WORDS]

    def _failure(self, error: openai.OpenAIError | ValueError) -> Refusal | Unanswered:
        """What an error of the package means. What is raised instead of returned would carry the
        request, and with it the key, into a traceback."""
        match error:
            case openai.APITimeoutError():
                return Unanswered(f"no answer within {self._server.timeout:g} seconds")
            case openai.APIStatusError():
                return self._status_failure(error)
            case openai.APIConnectionError():
                cause = error.__cause__
                never_sent = isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout)
                words = f"no connection: {cause}" if never_sent else f"connection lost: {cause}"
                return Unanswered(self._words(words), Usage(cost_usd=0.0 if never_sent else None))
            case _:
                return Unanswered(self._words(f"the reply cannot be read: {error}"))

    def _status_failure(self, error: openai.APIStatusError) -> Refusal | Unanswered:
        status, code = error.status_code, (error.code or "").lower()
        kind = (error.type or "").lower()
        body = error.body
        said = body.get("message") if isinstance(body, dict) else None
        words = self._words(f"HTTP {status}: {said or code or error.message}")
        free = Usage(cost_usd=0.0)
        headers = error.response.headers
        later = retry_after(headers.get("retry-after-ms"), headers.get("retry-after"))
        again = "then run the same command again to go on"
        if status in (402,) or {code, kind} & EMPTY_ACCOUNT:
            stop = BudgetStop(
                f"the account of {self.name!r} is empty: {words}", f"top it up, {again}"
            )
            return Unanswered(words, free, stop=stop)
        if status == 429:
            return Unanswered(words, free, limited=True, retry_after=later)
        if status in (401, 403) and code not in MODERATION:
            refused = Refused(
                f"the server of {self.name!r} refuses the key in {self._server.key}: {words}",
                f"check the key and what it may use, {again}",
            )
            return Unanswered(words, free, stop=refused)
        if status == 404 or code in ("model_not_found", "model_deprecated"):
            gone = Refused(
                f"{self.name!r} is not served (any more): {words}",
                "ask for a model that is served, in a new run folder; `janus4o doctor --live` lists them",
            )
            return Unanswered(words, free, stop=gone)
        if status in (408, 409) or status >= 500:
            usage = free if status in NOT_BILLED else Usage(cost_usd=None)
            return Unanswered(words, usage, retry_after=later)
        if code in MODERATION or kind == "image_generation_user_error":
            stage = re.search(r"safety_violations=\[([\w,/ -]+)\]", words)
            category = f"moderation/{stage.group(1)}" if stage else "moderation"
            return Refusal(category, words, self.name, free)
        if (error.param or "") in SETTINGS:
            wrong = Refused(
                f"the server of {self.name!r} does not accept {error.param!r}: {words}",
                f"correct it in the recipe, {again}",
            )
            return Unanswered(words, free, stop=wrong)
        if status < 400:
            wrong = Refused(f"the server of {self.name!r} answers {words}", "check base_url")
            return Unanswered(words, free, stop=wrong)
        return Refusal(f"bad_request/{code}" if code else "bad_request", words, self.name, free)

    def _cost(self, text: int, pictures: int, out: int) -> float | None:
        """US dollars for tokens in and out."""
        rates = self._rates
        if rates is None:
            return None
        of_pictures = rates.input if rates.image_input is None else rates.image_input
        return (text * rates.input + pictures * of_pictures + out * rates.output) / 1e6

    def _picture_tokens(self, pictures: tuple[Picture, ...]) -> int:
        """What pictures sent are reckoned as, on the safe side."""
        each = self._known.picture_tokens if self._known else 5000
        total = 0.0
        for picture in pictures:
            try:
                width, height = read_size(picture.data)
            except ImageError:
                width = height = 1024
            total += each * max(0.25, width * height / 1e6)
        return round(total)


class OpenAIWriter(_Client):
    """Writes through `/chat/completions`: text and pictures in, text or JSON of a schema out."""

    def __init__(self, server: WriterServer, asking: bool = True) -> None:
        super().__init__(server, asking)
        self._writer = server

    def tokens(self, request: WriteRequest | PaintRequest) -> int:
        pictures = request.pictures if isinstance(request, WriteRequest) else ()
        return (
            _most_tokens(request.prompt)
            + self._picture_tokens(pictures)
            + self._writer.max_output_tokens
        )

    def price(self, request: WriteRequest | PaintRequest) -> Price | None:
        pictures = request.pictures if isinstance(request, WriteRequest) else ()
        seen = self._picture_tokens(pictures)
        most = self._cost(_most_tokens(request.prompt), seen, self._writer.max_output_tokens)
        likely = self._cost(_likely_tokens(request.prompt), seen // 2, 150)
        return None if most is None or likely is None else Price(most, min(most, likely))

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        try:
            reply = await self._client.chat.completions.create(**self._body(request))
        except (openai.OpenAIError, ValueError) as error:
            failure = self._failure(error)
            if isinstance(failure, Refusal):
                return failure
            raise failure from None
        return self._read(reply, request)

    def _body(self, request: WriteRequest) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": request.prompt}]
        for picture in request.pictures:
            data = base64.b64encode(picture.data).decode()
            url = f"data:{picture.media_type};base64,{data}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": "user", "content": content}],
            "max_completion_tokens": self._writer.max_output_tokens,
        }
        if self._writer.effort is not None:
            body["reasoning_effort"] = self._writer.effort
        if self._writer.seed:
            body["seed"] = request.seed % 2**31
        if request.schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": dict(request.schema)},
            }
        return body

    def _read(self, reply: ChatCompletion, request: WriteRequest) -> WriteReply | Refusal:
        """Trusts nothing: the package does not check what a server sends."""
        if not isinstance(reply, ChatCompletion):
            raise Unanswered(self._words(f"the reply is no chat completion: {reply}"))
        usage = self._usage(reply, request)
        choices = reply.choices if isinstance(reply.choices, list) else []
        if len(choices) != 1:
            raise Unanswered(f"{len(choices)} answers instead of one", usage)
        message = getattr(choices[0], "message", None)
        finish = getattr(choices[0], "finish_reason", None)
        model = reply.model if isinstance(reply.model, str) else ""
        said_no = getattr(message, "refusal", None)
        if said_no:
            return Refusal("refused", self._words(said_no), model, usage)
        if finish == "content_filter":
            return Refusal("moderation", "the answer was withheld", model, usage)
        text = getattr(message, "content", None)
        if finish == "length":
            most = self._writer.max_output_tokens
            raise Unanswered(f"cut off after {most} tokens (max_output_tokens)", usage)
        if not isinstance(text, str) or not text.strip():
            raise Unanswered("an empty answer", usage)
        if request.schema is not None:
            text = _without_fence(text)
        return WriteReply(text.replace(self._key, "[key]"), model, usage)

    def _usage(self, reply: ChatCompletion, request: WriteRequest) -> Usage:
        counted = reply.usage
        put_in, out = _count(counted, "prompt_tokens"), _count(counted, "completion_tokens")
        if put_in is None or out is None:
            price = self.price(request)  # a server that counts nothing: what was reserved
            return Usage(cost_usd=None if price is None else price.call_usd)
        return Usage(put_in, out, 0, self._cost(put_in, 0, out))


class OpenAIPainter(_Client):
    """Paints through `/images/generations` and `/images/edits`."""

    max_categories = 100

    def __init__(self, server: PainterServer, asking: bool = True) -> None:
        super().__init__(server, asking)
        self._painter = server
        known = self._known
        if known and known.quality and server.quality not in (None, *known.quality):
            raise Refused(
                f"{self.name!r} has no quality {server.quality!r}",
                f"teachers.painter.quality is one of {', '.join(known.quality)}",
            )

    def refuses(self, size: tuple[int, int]) -> str:
        """Why a size cannot be asked for, as far as the model is known; empty where it can."""
        return self._known.sizes.refuses(size) if self._known else ""

    def tokens(self, request: WriteRequest | PaintRequest) -> int:
        sources = request.sources if isinstance(request, PaintRequest) else ()
        return _most_tokens(request.prompt) + self._picture_tokens(sources) + 5000

    def price(self, request: WriteRequest | PaintRequest) -> Price | None:
        rates = self._rates
        if rates is None or not rates.picture or not isinstance(request, PaintRequest):
            return None
        quality = self._painter.quality
        dearest = max(rates.picture.values())
        each = rates.picture.get(quality or "", dearest)
        width, height = request.size or (1024, 1024)
        # Tokens grow with the pixels, but not below those of a square of 1024, and oblong
        # pictures are not cheaper in proportion: half as much again is left as a margin.
        picture = each * max(1.0, width * height / 1024**2)
        seen = self._picture_tokens(request.sources)
        most = self._cost(_most_tokens(request.prompt), seen, 0)
        likely = self._cost(_likely_tokens(request.prompt), seen // 2, 0)
        assert most is not None
        assert likely is not None
        return Price(most + 1.5 * picture, likely + picture)

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal:
        if len(request.sources) > MAX_EDIT_SOURCES:
            words = f"{len(request.sources)} sources; {MAX_EDIT_SOURCES} are the most"
            return Refusal("bad_request/sources", words, self.name, Usage(cost_usd=0.0))
        try:
            reply = await (self._edit(request) if request.sources else self._draw(request))
        except (openai.OpenAIError, ValueError) as error:
            failure = self._failure(error)
            if isinstance(failure, Refusal):
                return failure
            raise failure from None
        return await self._read(reply, request)

    async def _draw(self, request: PaintRequest) -> ImagesResponse:
        reply: ImagesResponse = await self._client.images.generate(
            prompt=request.prompt, **self._body(request)
        )
        return reply

    async def _edit(self, request: PaintRequest) -> ImagesResponse:
        body = self._body(request)
        if request.mask is not None:
            body["mask"] = _file("mask", request.mask)
        sources = [_file(f"source{n}", picture) for n, picture in enumerate(request.sources)]
        reply: ImagesResponse = await self._client.images.edit(
            prompt=request.prompt, image=sources if len(sources) > 1 else sources[0], **body
        )
        return reply

    def _body(self, request: PaintRequest) -> dict[str, Any]:
        painter = self._painter
        body: dict[str, Any] = {"model": self.name, "n": 1}
        if request.size is not None:
            body["size"] = f"{request.size[0]}x{request.size[1]}"
        if painter.quality is not None:
            body["quality"] = painter.quality
        extra: dict[str, Any] = {}
        if painter.moderation is not None and not request.sources:
            body["moderation"] = painter.moderation
        if painter.seed:
            extra["seed"] = request.seed % 2**31
        if not self.name.startswith(("gpt-image", "chatgpt-image")):
            # Those always answer with bytes and refuse the question; others may prefer addresses.
            body["response_format"] = "url" if painter.urls else "b64_json"
        if extra:
            body["extra_body"] = extra
        return body

    async def _read(self, reply: ImagesResponse, request: PaintRequest) -> PaintReply | Refusal:
        if not isinstance(reply, ImagesResponse):
            raise Unanswered(self._words(f"the reply holds no picture: {reply}"))
        pictures = reply.data if isinstance(reply.data, list) else []
        usage = self._usage(reply, request, len(pictures))
        if len(pictures) != 1:
            raise Unanswered(f"{len(pictures)} pictures instead of one", usage)
        coded, url = pictures[0].b64_json, pictures[0].url
        if isinstance(coded, str) and coded:
            try:
                data = base64.b64decode(coded.partition("base64,")[2] or coded, validate=True)
            except (binascii.Error, ValueError):
                raise Unanswered("the picture's base64 is damaged", usage) from None
        elif isinstance(url, str) and url:
            data = await self._fetch(url, usage)
        else:
            raise Unanswered("an answer without a picture", usage)
        try:
            kind = kind_of(data)
            read_size(data)
        except ImageError as error:
            raise Unanswered(self._words(error.message), usage) from None
        # OpenAI's image replies name no model; other servers may.
        served = (reply.model_extra or {}).get("model")
        model = served if isinstance(served, str) and served else self.name
        return PaintReply(Picture(data, MEDIA_TYPES[kind]), model, usage)

    async def _fetch(self, url: str, usage: Usage) -> bytes:
        if not self._painter.urls:
            stop = Refused(
                f"{self.name!r} answers with addresses of pictures instead of pictures",
                "have the server answer with b64_json, or set teachers.painter.urls: true",
            )
            raise Unanswered("an address instead of a picture", usage, stop=stop)
        try:
            return await fetch(url, self._server.timeout)
        except ImageError as error:
            raise Unanswered(self._words(error.message), usage) from None

    def _usage(self, reply: ImagesResponse, request: PaintRequest, images: int) -> Usage:
        counted = reply.usage
        put_in, out = _count(counted, "input_tokens"), _count(counted, "output_tokens")
        price = self.price(request)
        if put_in is None or out is None or (self._rates and not self._rates.output):
            # A server that counts nothing, or is paid by the picture.
            cost = None if price is None else (price.low_usd if images else price.call_usd)
            return Usage(put_in or 0, out or 0, images, cost)
        details = getattr(counted, "input_tokens_details", None)
        pictures = min(put_in, _count(details, "image_tokens") or 0)
        return Usage(put_in, out, images, self._cost(put_in - pictures, pictures, out))


def retry_after(milliseconds: str | None, seconds_or_date: str | None) -> float | None:
    """What the headers `retry-after-ms` and `retry-after` say, in seconds; None where nothing."""
    for text, unit in ((milliseconds, 1000.0), (seconds_or_date, 1.0)):
        with contextlib.suppress(ValueError, TypeError):
            wait = float(text or "") / unit
            if 0 <= wait < float("inf"):
                return wait
    with contextlib.suppress(ValueError, TypeError):
        when = email.utils.parsedate_to_datetime(seconds_or_date or "")
        return max(0.0, when.timestamp() - time.time())
    return None


def _without_fence(text: str) -> str:
    """JSON without the fence some models put around it."""
    return re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())


def _count(counted: object, name: str) -> int | None:
    number = getattr(counted, name, None)
    return number if isinstance(number, int) and 0 <= number < 10**9 else None


def _most_tokens(text: str) -> int:
    """More than any tokenizer makes of a text in a language written in words."""
    return len(text.encode("utf-8", "surrogatepass")) // 2 + 64


def _likely_tokens(text: str) -> int:
    return len(text) // 4 + 16


def _file(name: str, picture: Picture) -> tuple[str, io.BytesIO, str]:
    ending = picture.media_type.rpartition("/")[2]
    return f"{name}.{ending}", io.BytesIO(picture.data), picture.media_type
