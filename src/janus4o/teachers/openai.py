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
import json
import re
from collections.abc import AsyncIterator, Mapping
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
from janus4o.ledger.batches import BatchState
from janus4o.recipe import Server
from janus4o.teachers.download import fetch
from janus4o.teachers.serving import (
    AGAIN,
    Meaning,
    Served,
    ServedPainter,
    ServedWriter,
    count_of,
    retry_after,
    tell_when_out,
    without_fence,
)

try:
    import httpx2
    import openai
    from openai.types import Batch
    from openai.types.chat import ChatCompletion
    from openai.types.images_response import ImagesResponse
except ModuleNotFoundError as missing:
    raise Refused(
        f"teachers behind an API need {missing.name}, which is not installed",
        "pip install 'janus4o[openai]' (or make setup)",
    ) from None

CHAT, DRAW = "/v1/chat/completions", "/v1/images/generations"
"""Endpoints of batches."""
TOKEN = "janus4o"
"""Under what a batch keeps our token."""
GONE = "gone"
"""Our word for a batch its server no longer knows."""
ENDED = {"completed", "failed", "expired", "cancelled"}
CLOCKS = 3600.0
"""Seconds by which the server's clock and ours may differ."""
BUSY_SECONDS = 300.0
"""How long a batch waits that had no room in the queue of the account."""
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
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False, trust_env=False, event_hooks={"request": [tell_when_out]}
            ),
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

    # batches

    def takes(self, asked: WriteRequest | PaintRequest) -> bool:
        """Edits are not: how a line would name its pictures is not known."""
        return self._server.batch and not (isinstance(asked, PaintRequest) and asked.sources)

    def share(self, asked: WriteRequest | PaintRequest) -> float:
        return self._rates.batch if self._rates and self.takes(asked) else 1.0

    async def upload(self, lines: bytes) -> str:
        try:
            made = await self._client.files.create(
                file=("batch.jsonl", lines, "application/jsonl"), purpose="batch"
            )
        except (openai.OpenAIError, ValueError) as error:
            raise self._trouble(error) from None
        if not isinstance(made.id, str):
            raise Unanswered(self.words(f"the reply names no file: {made}"), Usage())
        return made.id

    async def create(self, endpoint: str, file: str, token: str) -> BatchState:
        try:
            made = await self._client.batches.create(
                completion_window="24h",
                endpoint=endpoint,  # type: ignore[arg-type]
                input_file_id=file,
                metadata={TOKEN: token},
            )
        except (openai.OpenAIError, ValueError) as error:
            raise self._trouble(error) from None
        return self._state(made)

    async def find(self, token: str, since: float) -> BatchState | None:
        try:
            async for batch in self._client.batches.list(limit=100):
                if (batch.metadata or {}).get(TOKEN) == token:
                    return self._state(batch)
                if batch.created_at < since - CLOCKS:  # newest first
                    return None
        except (openai.OpenAIError, ValueError) as error:
            raise self._trouble(error) from None
        return None

    async def look(self, batch: str) -> BatchState:
        try:
            return self._state(await self._client.batches.retrieve(batch))
        except openai.NotFoundError as error:
            return BatchState(batch, GONE, True, (), self.words(error.message))
        except (openai.OpenAIError, ValueError) as error:
            raise self._trouble(error) from None

    async def fetch(self, file: str) -> AsyncIterator[bytes]:
        try:
            async with self._client.files.with_streaming_response.content(file) as reply:
                rest = b""
                async for part in reply.iter_bytes():
                    *lines, rest = (rest + part).split(b"\n")
                    for (
                        line
                    ) in lines:  # whole ones: what is kept must not hold the key, however cut
                        yield line.replace(self._key.encode(), b"[key]") + b"\n"
                yield rest.replace(self._key.encode(), b"[key]")
        except openai.NotFoundError:
            return  # it was kept too long: what it held is missing
        except (openai.OpenAIError, httpx2.HTTPError, ValueError) as error:
            raise self._trouble(error) from None

    def _trouble(self, error: openai.OpenAIError | httpx2.HTTPError | ValueError) -> Unanswered:
        """What an error means that is no answer to a request of ours, but to do with its batch."""
        if isinstance(error, httpx2.HTTPError):
            return self.disconnected(error)
        failure = self._failure(error)
        if isinstance(error, openai.APIStatusError) and error.status_code in (404, 405, 501):
            failure = Refusal(
                "no_batches", f"no Batch API here, HTTP {error.status_code}", self.name
            )
        if isinstance(failure, Unanswered):
            return failure
        stop = Refused(
            f"the server of {self.name!r} takes no batch: {failure.message}",
            f"set batch: false in the recipe, {AGAIN}",
        )
        return Unanswered(failure.message, Usage(cost_usd=0.0), stop=stop)

    def _state(self, batch: Batch) -> BatchState:
        """Trusts nothing: what is no batch is looked at again."""
        if not isinstance(batch, Batch) or not isinstance(batch.id, str):
            raise Unanswered(self.words(f"the reply is no batch: {batch}"))
        said = [
            f"{error.code}: {error.message}" for error in (batch.errors and batch.errors.data) or []
        ]
        found = tuple(file for file in (batch.output_file_id, batch.error_file_id) if file)
        detail = self.words("; ".join(said))
        return BatchState(batch.id, batch.status, batch.status in ENDED, found, detail)

    def _result(self, line: dict[str, Any] | None, state: BatchState) -> dict[str, Any] | Refusal:
        """The body of a request's answer.

        Raises:
            Unanswered: there is none. It cost nothing where the batch was given up before it.
        """
        response, error = (line or {}).get("response"), (line or {}).get("error")
        if isinstance(response, dict):
            body = response.get("body")
            body = body if isinstance(body, dict) else {}
            status = response.get("status_code")
            if status == 200:
                return body
            failure = self._said_no(status if isinstance(status, int) else 0, body.get("error"), {})
            if isinstance(failure, Refusal):
                return failure
            raise failure
        if isinstance(error, dict):
            words = self.words(f"{error.get('code')}: {error.get('message')}")
            raise Unanswered(f"batch {state.id}: {words}", Usage(cost_usd=0.0))
        if state.status == "failed":
            busy = "token_limit_exceeded" in state.detail
            stop = Refused(
                f"batch {state.id} of {self.name!r} failed: {state.detail or 'no reason given'}",
                f"see to what it says, or set batch: false, {AGAIN}",
            )
            raise Unanswered(
                f"batch {state.id} failed: {state.detail}", Usage(cost_usd=0.0), limited=busy,
                retry_after=BUSY_SECONDS if busy else None, stop=None if busy else stop,
            )  # fmt: skip
        if state.status == "cancelled":
            words = f"batch {state.id} of {self.name!r} was cancelled"
            ended = BudgetStop(words, f"find out why, {AGAIN}")
            raise Unanswered(words, Usage(cost_usd=0.0), stop=ended)
        # Of a completed batch a line is missing: it may have been billed. Of an expired one: not.
        cost = None if state.status in ("completed", GONE) else 0.0
        raise Unanswered(
            f"batch {state.id} {state.status} without this answer", Usage(cost_usd=cost)
        )

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

    def line(self, name: str, asked: WriteRequest | PaintRequest) -> tuple[str, bytes]:
        assert isinstance(asked, WriteRequest)
        return CHAT, _line(name, CHAT, self._body(asked))

    async def read(
        self, line: dict[str, Any] | None, state: BatchState, asked: WriteRequest | PaintRequest
    ) -> WriteReply | Refusal:
        assert isinstance(asked, WriteRequest)
        body = self._result(line, state)
        return (
            body
            if isinstance(body, Refusal)
            else self._read(ChatCompletion.construct(**body), asked)
        )

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
        return Usage(put_in, out, 0, self.cost(request, put_in, 0, out))


class OpenAIPainter(ServedPainter, _Client):
    """Paints through `/images/generations` and `/images/edits`."""

    def line(self, name: str, asked: WriteRequest | PaintRequest) -> tuple[str, bytes]:
        assert isinstance(asked, PaintRequest)
        body = self._body(asked)
        body |= body.pop("extra_body", {})
        return DRAW, _line(name, DRAW, {"prompt": asked.prompt, **body})

    async def read(
        self, line: dict[str, Any] | None, state: BatchState, asked: WriteRequest | PaintRequest
    ) -> PaintReply | Refusal:
        assert isinstance(asked, PaintRequest)
        body = self._result(line, state)
        if isinstance(body, Refusal):
            return body
        return await self._read(ImagesResponse.construct(**body), asked)

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


def _line(name: str, endpoint: str, body: dict[str, Any]) -> bytes:
    """A request as a line of a batch's file."""
    line = {"custom_id": name, "method": "POST", "url": endpoint, "body": body}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _file(name: str, picture: Picture) -> tuple[str, io.BytesIO, str]:
    ending = picture.media_type.rpartition("/")[2]
    return f"{name}.{ending}", io.BytesIO(picture.data), picture.media_type
