"""A server on loopback that speaks OpenAI's wire format and Gemini's, breaks on demand and counts what it bills.

Replies are built from the official package's own types, requests are checked against its parameter
types. The sketch teachers stand behind it, so what real client code asks for is really painted.
"""

from __future__ import annotations

import asyncio
import base64
import email.parser
import email.policy
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from openai.types.chat import ChatCompletion, completion_create_params
from openai.types.image_edit_params import ImageEditParamsBase
from openai.types.image_generate_params import ImageGenerateParamsBase
from openai.types.images_response import ImagesResponse

from janus4o.exchange import PaintRequest, Picture, Refusal, WriteRequest
from janus4o.sketch.teacher import SketchPainter, SketchWriter

CHAT, DRAW, EDIT, MODELS = (
    "/v1/chat/completions", "/v1/images/generations", "/v1/images/edits", "/v1/models",
)  # fmt: skip
CHAT_KEYS = set(completion_create_params.CompletionCreateParamsBase.__annotations__) | {"stream"}
FILES, BATCHES = "/v1/files", "/v1/batches"
GENERATE = ":generateContent"
"""How the paths of Gemini's API end; before it stands the model."""
KEYS = {
    CHAT: CHAT_KEYS,
    DRAW: set(ImageGenerateParamsBase.__annotations__) | {"stream", "seed"},
    EDIT: set(ImageEditParamsBase.__annotations__) | {"stream", "seed"},
}
PRICES = {"input": 2.0, "image_input": 4.0, "output": 10.0}
"""US dollars a million tokens, for both models; a picture is 1,000 tokens."""
GRACE = 0.1
"""Seconds in which requests may come in that were sent before the client heard that it is too much."""


@dataclass(frozen=True)
class Asked:
    """One request as it came in: its number, path, fields, pictures, key and time."""

    number: int
    path: str
    fields: dict[str, Any]
    pictures: tuple[bytes, ...] = ()
    key: str = ""
    at: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """What to do instead of a plain answer.

    Attributes:
        kind: status (with `status`, `code`, `retry_after`), reset, hang, truncate, html, garbage,
            refusal, chatter, filter, length, drift, none, two, not_a_picture, address, echo_key;
            of Gemini also words (instead of a picture) and thought (a picture before the picture).
        details: of an error, as Gemini has them.
        delay: seconds before anything is said.
    """

    kind: str = ""
    status: int = 500
    code: str | None = None
    retry_after: str | None = None
    message: str = "a fault made on purpose"
    param: str | None = None
    details: tuple[dict[str, Any], ...] = ()
    delay: float = 0.0


@dataclass
class Batched:
    """A batch as the server keeps it.

    Attributes:
        looks: left until it has ended.
        ends: the status it then has.
    """

    id: str
    lines: list[dict[str, Any]]
    body: dict[str, Any]
    looks: int
    ends: str
    made: int
    status: str = "validating"
    output: str | None = None
    errors: str | None = None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        from openai.types import Batch

        why = [{"code": self.why, "message": "made to fail"}] if self.why else []
        answer = {
            "id": self.id, "object": "batch", "completion_window": "24h", "created_at": self.made,
            "endpoint": self.body["endpoint"], "input_file_id": self.body["input_file_id"],
            "status": self.status, "metadata": self.body.get("metadata"),
            "output_file_id": self.output, "error_file_id": self.errors,
            "errors": {"object": "list", "data": why} if why else None,
        }  # fmt: skip
        checked = Batch.model_validate(answer)  # the package's own type
        dumped: dict[str, Any] = checked.model_dump(mode="json")
        return dumped


Faults = Callable[[Asked], Fault | None]


@dataclass
class FaultServer:
    """Attributes:
    faults: decides about each request; None answers it.
    limit, window: requests allowed in every `window` seconds; None allows all.
    asked: every request; `billed` those that were carried out, by path; `billed_usd` their price.
    looks, ends, why: of batches made from now on: how often they are looked at before they end, how,
        and why they failed.
    files, batches: uploaded or written; made.
    early: requests that came although the server had said when to come back.
    """

    faults: Faults = lambda asked: None
    limit: int | None = None
    window: float = 60.0
    writer: Any = field(default_factory=SketchWriter)
    painter: Any = field(default_factory=SketchPainter)
    chat_model: str = "scribe-1-2026-01-01"
    shutdown: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    billed: Counter[str] = field(default_factory=Counter)
    billed_usd: float = 0.0
    early: int = 0
    over: int = 0
    most_at_once: int = 0
    url: str = ""
    looks: int = 2
    ends: str = "completed"
    why: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: list[Batched] = field(default_factory=list)
    _share: float = 1.0
    _at_once: int = 0
    _closed_at: float = 0.0
    _closed_until: float = 0.0
    _times: list[float] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[FaultServer]:
        loop = asyncio.new_event_loop()
        ready = threading.Event()
        servers: list[asyncio.Server] = []

        async def serve() -> None:
            server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
            servers.append(server)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            ready.set()

        def work() -> None:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(serve())
            loop.run_forever()
            servers[0].close()
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(
                asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True)
            )
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (head := await _head(reader)) is not None:
                method, path, headers = head
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                try:
                    if not await self._handle(method, path, headers, body, writer):
                        break
                finally:
                    self._at_once -= 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            writer.close()

    async def _handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes,
        writer: asyncio.StreamWriter,
    ) -> bool:  # fmt: skip
        now = time.monotonic()
        if method == "GET" and path.partition("?")[0] == "/v1beta/models":
            named = [{"name": f"models/{name}"} for name in ("scribe-1", "brush-1")]
            return await _send(writer, 200, {"models": named})
        if method == "GET" and path == MODELS:
            data = [
                {"id": name, "created": 1, "object": "model", "owned_by": "test",
                 "shutdown_date": self.shutdown.get(name)}
                for name in ("scribe-1", "brush-1")
            ]  # fmt: skip
            return await _send(writer, 200, {"object": "list", "data": data})
        if path.startswith((FILES, BATCHES)):
            return await self._of_batches(method, path, headers, body, writer)
        fields, pictures = _read_body(headers, body)
        if path.endswith(GENERATE):
            fields = _camel(fields)
        key = headers.get("authorization", "").removeprefix("Bearer ")
        key = key or headers.get("x-goog-api-key", "")
        asked = Asked(len(self.asked), path, fields, pictures, key, now, headers)
        self.asked.append(asked)
        self.early += self._closed_at + GRACE < now < self._closed_until
        fault = self.faults(asked)
        if self.limit is not None and self._over(now):
            self.over += 1
            fault = Fault("status", 429, "rate_limit_exceeded", retry_after="1")
        if fault is None and (unknown := _unknown(path, fields)):
            fault = Fault("status", 400, "unknown_parameter", param=sorted(unknown)[0])
        fault = fault or Fault()
        await asyncio.sleep(fault.delay)
        if fault.kind == "status":
            if fault.retry_after and fault.retry_after.replace(".", "").isdigit():
                self._closed_at = time.monotonic()
                until = self._closed_at + float(fault.retry_after)
                self._closed_until = max(self._closed_until, until)
            error = {
                "message": fault.message, "type": "test_error", "param": fault.param,
                "code": fault.code,
            }  # fmt: skip
            more = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            if path.endswith(GENERATE):
                error = {
                    "code": fault.status, "message": fault.message, "status": fault.code,
                    "details": list(fault.details),
                }  # fmt: skip
            return await _send(writer, fault.status, {"error": error}, more)
        if fault.kind == "reset":
            writer.transport.abort()
            return False
        if fault.kind == "hang":
            await asyncio.sleep(3600)
        if fault.kind == "html":
            page = b"<html><body>Bad gateway, but with status 200</body></html>"
            return await _send_bytes(writer, 200, page, "text/html")
        answering = self._generate if path.endswith(GENERATE) else self._paint
        answer = await (self._chat if path == CHAT else answering)(asked, fault)
        if isinstance(answer, Fault):
            error = {"message": answer.message, "type": "image_generation_user_error",
                     "param": None, "code": answer.code}  # fmt: skip
            return await _send(writer, answer.status, {"error": error})
        data = json.dumps(answer).encode()
        if fault.kind == "garbage":
            return await _send_bytes(writer, 200, data[: len(data) // 2], "application/json")
        if fault.kind == "truncate":
            head = (
                f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
            )
            writer.write(head.encode() + b"\r\n\r\n" + data[: len(data) // 2])
            await writer.drain()
            return False
        return await _send_bytes(writer, 200, data, "application/json")

    def _over(self, now: float) -> bool:
        self._times = [at for at in self._times if at > now - self.window]
        assert self.limit is not None
        if len(self._times) >= self.limit:
            return True
        self._times.append(now)
        return False

    def _bill(self, path: str, text: int, pictures: int, out: int) -> None:
        self.billed[path] += 1
        price = text * PRICES["input"] + pictures * PRICES["image_input"] + out * PRICES["output"]
        self.billed_usd += price * self._share / 1e6

    async def _of_batches(
        self, method: str, path: str, headers: dict[str, str], body: bytes,
        writer: asyncio.StreamWriter,
    ) -> bool:  # fmt: skip
        key = headers.get("authorization", "").removeprefix("Bearer ")
        fields: dict[str, Any] = {"method": method}
        if method == "POST":
            fields |= _read_body(headers, body)[0]
        asked = Asked(len(self.asked), path, fields, (), key, time.monotonic(), headers)
        self.asked.append(asked)
        fault = self.faults(asked) or Fault()
        if fault.kind == "status":
            error = {"message": fault.message, "type": "test_error", "code": fault.code}
            return await _send(writer, fault.status, {"error": error})
        answer: Any = {"error": {"message": "no such thing", "code": "not_found"}}
        path = path.partition("?")[0]
        name = path.removeprefix(FILES).removeprefix(BATCHES).strip("/").removesuffix("/content")
        if path.endswith("/content") and name in self.files:
            data = self.files[name]
            if fault.kind == "truncate":
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(data)}\r\n\r\n"
                writer.write(head.encode() + data[: len(data) // 2])
                await writer.drain()
                return False
            return await _send_bytes(writer, 200, data, "application/octet-stream")
        if method == "POST" and path == FILES:
            assert fields["purpose"] == "batch"
            answer = {
                "id": self._keep(fields["file"]), "object": "file", "bytes": 1, "created_at": 1,
                "filename": "batch.jsonl", "purpose": "batch", "status": "processed",
            }  # fmt: skip
        elif method == "POST":
            lines = [json.loads(line) for line in self.files[fields["input_file_id"]].splitlines()]
            names = [line["custom_id"] for line in lines]
            assert len(set(names)) == len(names)
            assert {line["url"] for line in lines} == {fields["endpoint"]}
            made = Batched(
                f"batch_{len(self.batches)}", lines, fields, self.looks, self.ends,
                int(time.time()), why=self.why,
            )  # fmt: skip
            self.batches.append(made)
            answer = made.to_json()
        elif path == BATCHES:
            newest = [batch.to_json() for batch in reversed(self.batches)]
            answer = {"object": "list", "data": newest, "has_more": False}
        elif found := [batch for batch in self.batches if batch.id == name]:
            await self._advance(found[0])
            answer = found[0].to_json()
        if fault.kind == "reset":  # it was done, and nobody hears of it
            writer.transport.abort()
            return False
        return await _send(writer, 404 if "error" in answer else 200, answer)

    def _keep(self, data: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = data
        return name

    async def _advance(self, batch: Batched) -> None:
        """One look later; at the end every line is answered, or not."""
        batch.looks -= 1
        if batch.looks > 0 or batch.output or batch.errors or batch.status == batch.ends:
            batch.status = batch.status if batch.looks <= 0 else "in_progress"
            return
        batch.status, said = batch.ends, ([], [])
        if batch.ends in ("failed", "cancelled"):
            return
        for number, line in enumerate(batch.lines):
            asked = Asked(len(self.asked), line["url"], line["body"])
            fault = self.faults(asked) or Fault()
            result: dict[str, Any] = {
                "id": f"batch_req_{number}", "custom_id": line["custom_id"], "response": None,
                "error": None,
            }  # fmt: skip
            if batch.ends == "expired" and number >= len(batch.lines) // 2:
                result["error"] = {"code": "batch_expired", "message": "not in time"}
            elif fault.kind == "status":
                error = {"message": fault.message, "type": "x", "code": fault.code, "param": None}
                result["response"] = {"status_code": fault.status, "body": {"error": error}}
            else:
                self._share = 0.5
                answer = await (self._chat if line["url"] == CHAT else self._paint)(asked, fault)
                self._share = 1.0
                status = 200
                if isinstance(answer, Fault):
                    kind = "image_generation_user_error"
                    status = answer.status
                    answer = {
                        "error": {"message": answer.message, "type": kind, "code": answer.code}
                    }
                result["response"] = {"status_code": status, "request_id": "r", "body": answer}
            if fault.kind == "missing":
                continue
            good = result["response"] is not None and result["response"]["status_code"] == 200
            said[0 if good else 1].append(json.dumps(result))
        said[0].reverse()  # answers come in any order
        if said[0]:
            batch.output = self._keep("\n".join([*said[0], said[0][0], ""]).encode())
        if said[1]:
            batch.errors = self._keep("\n".join([*said[1], ""]).encode())

    async def _chat(self, asked: Asked, fault: Fault) -> dict[str, Any]:
        content = asked.fields["messages"][0]["content"]
        prompt = "".join(part["text"] for part in content if part["type"] == "text")
        pictures = tuple(
            Picture(base64.b64decode(part["image_url"]["url"].partition("base64,")[2]))
            for part in content
            if part["type"] == "image_url"
        )
        reply = await self.writer.write(
            WriteRequest(prompt, pictures, asked.fields.get("seed") or 0)
        )
        text = None if isinstance(reply, Refusal) else reply.text
        refusal = reply.message if isinstance(reply, Refusal) else None
        if fault.kind == "refusal":
            text, refusal = None, "I would rather not."
        if fault.kind == "echo_key" and text is not None:
            text = f"{text} {asked.key}"
        finish = {"filter": "content_filter", "length": "length"}.get(fault.kind, "stop")
        if asked.fields.get("response_format") and text is not None:
            schema = asked.fields["response_format"]["json_schema"]["schema"]
            text = _as_object(text, schema)
        if fault.kind == "chatter":
            text = f"Certainly! {text}"
        count = {"none": 0, "two": 2}.get(fault.kind, 1)
        message = {"role": "assistant", "content": text, "refusal": refusal}
        out = 20 + len(text or "")
        self._bill(CHAT, len(prompt), 0, out)
        return ChatCompletion.model_validate(
            {
                "id": f"chat-{asked.number}", "object": "chat.completion", "created": 1,
                "model": "other-9" if fault.kind == "drift" else self.chat_model,
                "choices": [
                    {"index": n, "message": message, "finish_reason": finish, "logprobs": None}
                    for n in range(count)
                ],
                "usage": {"prompt_tokens": len(prompt), "completion_tokens": out,
                          "total_tokens": len(prompt) + out},
            }
        ).model_dump(mode="json")  # fmt: skip

    async def _paint(self, asked: Asked, fault: Fault) -> dict[str, Any] | Fault:
        prompt = asked.fields["prompt"]
        width, _, height = str(asked.fields["size"]).partition("x")
        sources = tuple(Picture(data) for data in asked.pictures)
        request = PaintRequest(
            prompt, sources, (int(width), int(height)), int(asked.fields.get("seed") or 0)
        )
        reply = await self.painter.paint(request)
        if isinstance(reply, Refusal):
            message = f"{reply.message} safety_violations=[{reply.category}]"
            return Fault("status", 400, "moderation_blocked", message=message)
        if fault.kind == "refusal":
            return Fault("status", 400, "moderation_blocked", message="safety_violations=[fun]")
        coded: dict[str, Any] = {"b64_json": base64.b64encode(reply.picture.data).decode()}
        if fault.kind == "not_a_picture":
            coded = {"b64_json": base64.b64encode(b"GIF89a nothing").decode()}
        if fault.kind == "address":
            coded = {"url": "https://127.0.0.1/picture.png"}
        count = {"none": 0, "two": 2}.get(fault.kind, 1)
        seen = 100 * len(sources)
        self._bill(asked.path, len(prompt), seen, 1000)
        answer = ImagesResponse.model_validate(
            {
                "created": 1, "data": [coded] * count, "output_format": "png",
                "size": asked.fields["size"],
                "usage": {
                    "input_tokens": len(prompt) + seen, "output_tokens": 1000,
                    "total_tokens": len(prompt) + seen + 1000,
                    "input_tokens_details": {"text_tokens": len(prompt), "image_tokens": seen},
                },
            }
        )  # fmt: skip
        dumped = answer.model_dump(mode="json")
        if fault.kind == "drift":
            dumped["model"] = "other-9"
        return dumped

    async def _generate(self, asked: Asked, fault: Fault) -> dict[str, Any]:
        """Gemini's answer, in its own names; a picture is 1,000 tokens, one sent is 100."""
        from google.genai import types

        parts = asked.fields["contents"][0]["parts"]
        config = asked.fields.get("generationConfig") or {}
        prompt = "".join(part.get("text", "") for part in parts)
        pictures = tuple(
            Picture(_unsafe64(part["inlineData"]["data"]), part["inlineData"]["mimeType"])
            for part in parts
            if "inlineData" in part
        )
        seed, paints = config.get("seed") or 0, "IMAGE" in (config.get("responseModalities") or ())
        said: list[dict[str, Any]]
        finish, out = "STOP", 1000
        if paints:
            reply = await self.painter.paint(PaintRequest(prompt, pictures, (64, 64), seed))
            if isinstance(reply, Refusal):
                said, finish, out = [], "IMAGE_SAFETY", 0
            else:
                data = reply.picture.data
                if fault.kind == "not_a_picture":
                    data = b"GIF89a nothing"
                coded = base64.urlsafe_b64encode(data).decode()
                shown = {"inlineData": {"mimeType": reply.picture.media_type, "data": coded}}
                said = [shown] * {"none": 0, "two": 2}.get(fault.kind, 1)
                if fault.kind == "thought":
                    said = [{**shown, "thought": True}, shown]
                if fault.kind == "words":
                    said = [{"text": "I can only describe it."}]
        else:
            wrote = await self.writer.write(WriteRequest(prompt, pictures, seed))
            text = wrote.message if isinstance(wrote, Refusal) else wrote.text
            if schema := config.get("responseJsonSchema"):
                text = _as_object(text, schema)
            if fault.kind == "echo_key":
                text = f"{text} {asked.key}"
            if fault.kind == "chatter":
                text = f"Certainly! {text}"
            said, out = [{"text": text}], 20 + len(text)
        if fault.kind == "filter":
            said, finish = [], "IMAGE_PROHIBITED_CONTENT" if paints else "SAFETY"
        finish = {"length": "MAX_TOKENS", "no_image": "NO_IMAGE"}.get(fault.kind, finish)
        candidate = {"content": {"role": "model", "parts": said}, "finishReason": finish}
        count = {"none": 0, "two": 1 if paints else 2}.get(fault.kind, 1)
        answer: dict[str, Any] = {"candidates": [candidate] * count}
        if fault.kind == "refusal":
            answer, out = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, 0
        seen = 100 * len(pictures)
        self._bill(asked.path, len(prompt), seen, out)
        model = asked.path.rpartition("/")[2].removesuffix(GENERATE)
        answer |= {
            "modelVersion": "other-9" if fault.kind == "drift" else model,
            "usageMetadata": {
                "promptTokenCount": len(prompt) + seen, "candidatesTokenCount": out,
                "totalTokenCount": len(prompt) + seen + out,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": len(prompt)},
                    {"modality": "IMAGE", "tokenCount": seen},
                ],
            },
        }  # fmt: skip
        checked = types.GenerateContentResponse.model_validate(answer)  # the package's own type
        dumped: dict[str, Any] = checked.model_dump(mode="json", by_alias=True, exclude_none=True)
        return dumped


def _unsafe64(text: str) -> bytes:
    """Base64 of either alphabet; Gemini takes both."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/"))


def _unknown(path: str, fields: dict[str, Any]) -> list[str]:
    """Fields the API does not have."""
    if not path.endswith(GENERATE):
        return sorted(set(fields) - KEYS[path])
    from google.genai import types

    known = set(types.GenerateContentConfig.model_fields)
    config = {_snake(name) for name in fields.get("generationConfig", {})}
    top = {"contents", "generationConfig", "safetySettings", "systemInstruction", "tools"}
    return sorted(set(fields) - top) + sorted(config - known)


def _camel(value: Any, name: str = "") -> Any:
    """Keys as Gemini's documentation has them; its package sends both forms, and both are taken."""
    if isinstance(value, list):
        return [_camel(inner, name) for inner in value]
    if not isinstance(value, dict) or name == "responseJsonSchema":
        return value
    named = {re.sub("_([a-z])", lambda found: found[1].upper(), key): key for key in value}
    return {new: _camel(value[old], new) for new, old in named.items()}


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _read_body(headers: dict[str, str], body: bytes) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    kind = headers.get("content-type", "")
    if not kind.startswith("multipart/"):
        return json.loads(body), ()
    whole = f"content-type: {kind}\r\n\r\n".encode() + body
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(whole)
    fields: dict[str, Any] = {}
    pictures: list[bytes] = []
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition")).removesuffix("[]")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if name == "image":
            pictures.append(content)
            fields.setdefault("image", part.get_filename())
        elif name in ("mask", "file"):
            fields[name] = content
        else:
            fields[name] = content.decode()
    return fields, tuple(pictures)


def _as_object(text: str, schema: dict[str, Any]) -> str:
    """What the sketch writer says in the form asked for: its documents are objects already."""
    try:
        if set(schema["properties"]) <= json.loads(text).keys():
            return text
    except (ValueError, AttributeError):
        pass
    return json.dumps({next(iter(schema["properties"])): text})


async def _head(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]] | None:
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = text.strip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = dict(line.split(": ", 1) for line in lines)
    return method, path, {name.lower(): value for name, value in headers.items()}


async def _send(
    writer: asyncio.StreamWriter, status: int, body: Any, more: dict[str, str] | None = None
) -> bool:
    data = json.dumps(body).encode()
    return await _send_bytes(writer, status, data, "application/json", more)


async def _send_bytes(
    writer: asyncio.StreamWriter,
    status: int,
    data: bytes,
    kind: str,
    more: dict[str, str] | None = None,
) -> bool:
    headers = {"content-type": kind, "content-length": str(len(data)), **(more or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {status} Fault\r\n{lines}\r\n".encode() + data)
    await writer.drain()
    return True
