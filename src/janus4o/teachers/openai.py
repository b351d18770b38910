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
import io
import re
from collections.abc import Mapping
from typing import Any

from janus4o.errors import ImageError, Refused
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
from janus4o.recipe import Server
from janus4o.teachers.download import fetch
from janus4o.teachers.serving import (
    Meaning,
    Served,
    ServedPainter,
    ServedWriter,
    count_of,
    retry_after,
    without_fence,
)

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


class _Client(Served):
    """What writer and painter share: the client and the reading of failures."""

    def __init__(self, server: Server, asking: bool = True) -> None:
        super().__init__(server, asking)
        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=server.base_url or "https://api.openai.com/v1",
            max_retries=0,
            timeout=httpx2.Timeout(server.timeout, connect=min(10.0, server.timeout)),
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, trust_env=False),
        )
        # Nothing but the recipe and its key decides under whose account: not other variables.
        self._client.organization = self._client.project = None

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

    def _failure(self, error: openai.OpenAIError | ValueError) -> Refusal | Unanswered:
        """What an error of the package means. What is raised instead of returned would carry the
        request, and with it the key, into a traceback."""
        match error:
            case openai.APITimeoutError():
                return self.timed_out()
            case openai.APIStatusError():
                return self._said_no(error.status_code, error.body, error.response.headers, error)
            case openai.APIConnectionError():
                return self.disconnected(error.__cause__)
            case _:
                return Unanswered(self.words(f"the reply cannot be read: {error}"))

    def _said_no(
        self, status: int, body: object, headers: Mapping[str, str], error: object = ""
    ) -> Refusal | Unanswered:
        """What an answer that is not "200 OK" means; `body` is the object under its `error`."""
        found = body if isinstance(body, dict) else {}
        code, kind, param = (str(found.get(name) or "") for name in ("code", "type", "param"))
        code, kind = code.lower(), kind.lower()
        words = self.words(f"HTTP {status}: {found.get('message') or code or error}")
        later = retry_after(headers.get("retry-after-ms"), headers.get("retry-after"))
        meaning, category = Meaning.BAD, code
        if status in (402,) or {code, kind} & EMPTY_ACCOUNT:
            meaning = Meaning.EMPTY
        elif status in (401, 403) and code not in MODERATION:
            meaning = Meaning.KEY
        elif status == 404 or code in ("model_not_found", "model_deprecated"):
            meaning = Meaning.GONE
        elif status in (408, 409, 429) or status >= 500:
            meaning = Meaning.LATER
        elif code in MODERATION or kind == "image_generation_user_error":
            stage = re.search(r"safety_violations=\[([\w,/ -]+)\]", words)
            meaning, category = Meaning.MODERATED, stage.group(1) if stage else ""
        elif param in SETTINGS:
            meaning, category = Meaning.SETTING, param
        elif status < 400:
            meaning = Meaning.ELSEWHERE
        return self.outcome(meaning, status, words, later, category)


class OpenAIWriter(ServedWriter, _Client):
    """Writes through `/chat/completions`: text and pictures in, text or JSON of a schema out."""

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
            raise Unanswered(self.words(f"the reply is no chat completion: {reply}"))
        usage = self._usage(reply, request)
        choices = reply.choices if isinstance(reply.choices, list) else []
        if len(choices) != 1:
            raise Unanswered(f"{len(choices)} answers instead of one", usage)
        message = getattr(choices[0], "message", None)
        finish = getattr(choices[0], "finish_reason", None)
        model = reply.model if isinstance(reply.model, str) else ""
        said_no = getattr(message, "refusal", None)
        if said_no:
            return Refusal("refused", self.words(said_no), model, usage)
        if finish == "content_filter":
            return Refusal("moderation", "the answer was withheld", model, usage)
        text = getattr(message, "content", None)
        if finish == "length":
            most = self._writer.max_output_tokens
            raise Unanswered(f"cut off after {most} tokens (max_output_tokens)", usage)
        if not isinstance(text, str) or not text.strip():
            raise Unanswered("an empty answer", usage)
        if request.schema is not None:
            text = without_fence(text)
        return WriteReply(text.replace(self._key, "[key]"), model, usage)

    def _usage(self, reply: ChatCompletion, request: WriteRequest) -> Usage:
        counted = reply.usage
        put_in, out = count_of(counted, "prompt_tokens"), count_of(counted, "completion_tokens")
        if put_in is None or out is None:
            price = self.price(request)  # a server that counts nothing: what was reserved
            return Usage(cost_usd=None if price is None else price.call_usd)
        return Usage(put_in, out, 0, self.cost(put_in, 0, out))


class OpenAIPainter(ServedPainter, _Client):
    """Paints through `/images/generations` and `/images/edits`."""

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
            raise Unanswered(self.words(f"the reply holds no picture: {reply}"))
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
        picture = self.picture(data, usage)
        # OpenAI's image replies name no model; other servers may.
        served = (reply.model_extra or {}).get("model")
        model = served if isinstance(served, str) and served else self.name
        return PaintReply(picture, model, usage)

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
            raise Unanswered(self.words(error.message), usage) from None

    def _usage(self, reply: ImagesResponse, request: PaintRequest, images: int) -> Usage:
        counted = reply.usage
        details = getattr(counted, "input_tokens_details", None)
        return self.usage_of(
            request,
            images,
            count_of(counted, "input_tokens"),
            count_of(details, "image_tokens") or 0,
            count_of(counted, "output_tokens"),
        )


def _file(name: str, picture: Picture) -> tuple[str, io.BytesIO, str]:
    ending = picture.media_type.rpartition("/")[2]
    return f"{name}.{ending}", io.BytesIO(picture.data), picture.media_type
