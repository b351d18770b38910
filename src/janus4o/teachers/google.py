"""Teachers that speak Gemini's own API: text and pictures through `generateContent`.

As with `openai`, the official package does the wire and nothing else: it retries nothing, reads no
other variable of the environment, and what it raises is sorted here. Gemini says most of its "no" in
answers that look like success: a finish reason or a blocked prompt is a refusal with that category.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from janus4o.errors import BudgetStop, Refused
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
from janus4o.teachers.serving import (
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
    from google import genai
    from google.genai import errors, types
except ModuleNotFoundError as missing:
    raise Refused(
        f"teachers behind Gemini's API need {missing.name}, which is not installed",
        "pip install 'janus4o[google]' (or make setup)",
    ) from None

MAX_SOURCES = 14
MODERATED = {
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "JAILBREAK", "MODEL_ARMOR", "ESCALATION",
}  # fmt: skip
"""Finish reasons and reasons of a blocked prompt by which Gemini says that it does not want to."""
RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
RATIO_TOLERANCE = 0.03
"""How far a size may be from a ratio: Gemini's own sizes are not exact either (1344×768 is 16:9)."""
SCALES = (("1K", 1.4e6), ("2K", 5.6e6), ("4K", 23e6))
"""Name of a scale and the most pixels asked for by it."""
EFFORTS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}


class _Client(Served):
    """What writer and painter share: the client and the reading of failures."""

    def __init__(self, server: Server, asking: bool = True) -> None:
        super().__init__(server, asking)
        timeout = httpx2.Timeout(server.timeout, connect=min(10.0, server.timeout))
        self._http = httpx2.AsyncClient(
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            event_hooks={"request": [tell_when_out]},
        )
        options = types.HttpOptions(
            base_url=server.base_url or "https://generativelanguage.googleapis.com",
            api_version="v1beta",
            timeout=round(server.timeout * 1000),
            httpx_async_client=self._http,
        )
        self._client = genai.Client(vertexai=False, api_key=self._key, http_options=options)

    async def models(self) -> dict[str, str]:
        """Name → "" of what the server offers; it announces no ends here."""
        try:
            page = await self._client.aio.models.list()
            return {(model.name or "").removeprefix("models/"): "" for model in page.page}
        except (errors.APIError, httpx2.HTTPError, ValueError) as error:
            failure = self._failure(error)
            if isinstance(failure, Refusal):
                return {}
            raise failure.stop or Refused(str(failure), "see to the server") from None

    async def close(self) -> None:
        await self._http.aclose()

    async def _generate(
        self, prompt: str, pictures: Iterable[Picture], config: types.GenerateContentConfig
    ) -> types.GenerateContentResponse | Refusal:
        parts = [types.Part.from_text(text=prompt)]
        parts += [
            types.Part.from_bytes(data=picture.data, mime_type=picture.media_type)
            for picture in pictures
        ]
        content = types.Content(role="user", parts=parts)
        try:
            return await self._client.aio.models.generate_content(
                model=self.name, contents=[content], config=config
            )
        except (errors.APIError, httpx2.HTTPError, ValueError) as error:
            failure = self._failure(error)
            if isinstance(failure, Refusal):
                return failure
            raise failure from None

    def _failure(
        self, error: errors.APIError | httpx2.HTTPError | ValueError
    ) -> Refusal | Unanswered:
        """What an error of the package means."""
        match error:
            case httpx2.ConnectTimeout():
                return self.disconnected(error)
            case httpx2.TimeoutException():
                return self.timed_out()
            case httpx2.HTTPError():
                return self.disconnected(error)
            case errors.APIError():
                return self._said_no(error)
            case _:
                return Unanswered(self.words(f"the reply cannot be read: {error}"))

    def _said_no(self, error: errors.APIError) -> Refusal | Unanswered:
        status = error.code if isinstance(error.code, int) else 0
        words = self.words(f"HTTP {status}: {error.message or error.status or 'no reason given'}")
        details = list(_details(error.details))
        reasons = {str(detail.get("reason")) for detail in details}
        later = _later(error, details)
        quotas = {
            str(found.get("quotaId"))
            for detail in details
            for found in detail.get("violations") or []
            if isinstance(found, dict)
        }
        if status == 429 and any("PerDay" in quota for quota in quotas):
            stop = BudgetStop(
                f"the day's quota of {self.name!r} is used up: {words}",
                "run the same command again tomorrow to go on",
            )
            return Unanswered(words, Usage(cost_usd=0.0), stop=stop)
        meaning, category = Meaning.BAD, str(error.status or "").lower()
        settings = [
            str(found.get("field"))
            for detail in details
            for found in detail.get("fieldViolations") or []
            if isinstance(found, dict)
        ]
        if "BILLING_DISABLED" in reasons or status == 402:
            meaning = Meaning.EMPTY
        elif (
            status in (401, 403)
            or reasons & {"API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED"}
            or error.status == "FAILED_PRECONDITION"
        ):
            meaning = Meaning.KEY
        elif status == 404:
            meaning = Meaning.GONE
        elif status in (408, 409, 429) or status >= 500:
            meaning = Meaning.LATER
        elif found := [name for name in settings if name.startswith("generation_config")]:
            meaning, category = Meaning.SETTING, found[0]
        elif status < 400:
            meaning = Meaning.ELSEWHERE
        return self.outcome(meaning, status, words, later, category)

    def _candidate(
        self, reply: types.GenerateContentResponse, usage: Usage
    ) -> types.Candidate | Refusal:
        """The one answer; or why there is none. Raises Unanswered where asking again may help."""
        model = reply.model_version or self.name
        if reply.prompt_feedback is not None and reply.prompt_feedback.block_reason is not None:
            reason = reply.prompt_feedback.block_reason.value
            words = self.words(
                reply.prompt_feedback.block_reason_message or "the prompt is blocked"
            )
            return Refusal(f"moderation/{reason.lower()}", words, model, usage)
        candidates = reply.candidates or []
        if len(candidates) != 1:
            raise Unanswered(f"{len(candidates)} answers instead of one", usage)
        reason = candidates[0].finish_reason.value if candidates[0].finish_reason else "STOP"
        words = self.words(candidates[0].finish_message or "the answer was withheld")
        if reason in MODERATED:
            return Refusal(f"moderation/{reason.lower()}", words, model, usage)
        if reason == "NO_IMAGE":
            return Refusal("no_picture", words, model, usage)
        if reason == "MAX_TOKENS":
            raise Unanswered("cut off at the most tokens (max_output_tokens)", usage)
        if reason != "STOP":
            raise Unanswered(self.words(f"no answer: {reason}"), usage)
        return candidates[0]


class GoogleWriter(ServedWriter, _Client):
    """Writes with a Gemini model: text and pictures in, text or JSON of a schema out."""

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        reply = await self._generate(request.prompt, request.pictures, self._config(request))
        if isinstance(reply, Refusal):
            return reply
        usage = self._usage(reply, request)
        answer = self._candidate(reply, usage)
        if isinstance(answer, Refusal):
            return answer
        text = "".join(part.text or "" for part in _parts(answer))
        if not text.strip():
            raise Unanswered("an empty answer", usage)
        if request.schema is not None:
            text = without_fence(text)
        return WriteReply(text.replace(self._key, "[key]"), reply.model_version or "", usage)

    def _config(self, request: WriteRequest) -> types.GenerateContentConfig:
        config: dict[str, Any] = {"max_output_tokens": self._writer.max_output_tokens}
        if self._writer.effort == "none":
            config["thinking_config"] = {"thinking_budget": 0}
        elif self._writer.effort is not None:
            config["thinking_config"] = {"thinking_level": EFFORTS[self._writer.effort]}
        if self._writer.seed:
            config["seed"] = request.seed % 2**31
        if request.schema is not None:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = dict(request.schema)
        return types.GenerateContentConfig(**config)

    def _usage(self, reply: types.GenerateContentResponse, request: WriteRequest) -> Usage:
        put_in, seen, out = _counted(reply)
        if put_in is None or out is None:
            price = self.price(request)  # a server that counts nothing: what was reserved
            return Usage(cost_usd=None if price is None else price.call_usd)
        return Usage(put_in, out, 0, self.cost(request, put_in - seen, seen, out))


class GooglePainter(ServedPainter, _Client):
    """Paints and edits with a Gemini image model."""

    def refuses(self, size: tuple[int, int]) -> str:
        """Why a size cannot be asked for, as far as the model is known; empty where it can."""
        if shape_of(size) is None:
            return f"Gemini paints the ratios {', '.join(RATIOS)}, at most about 4096×4096"
        return super().refuses(size)

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal:
        if len(request.sources) > MAX_SOURCES or request.mask is not None:
            words = f"at most {MAX_SOURCES} sources, and no mask"
            return Refusal("bad_request/sources", words, self.name, Usage(cost_usd=0.0))
        reply = await self._generate(request.prompt, request.sources, self._config(request))
        if isinstance(reply, Refusal):
            return reply
        candidates = reply.candidates or []
        found = [
            part.inline_data.data
            for candidate in candidates
            for part in _parts(candidate)
            if part.inline_data is not None and part.inline_data.data
        ]
        put_in, seen, out = _counted(reply)
        usage = self.usage_of(request, len(found), put_in, seen, out)
        answer = self._candidate(reply, usage)
        if isinstance(answer, Refusal):
            return answer
        model = reply.model_version or self.name
        if not found:  # it answered, in words: asking again would be paid again
            said = "".join(part.text or "" for part in _parts(answer))
            return Refusal("no_picture", self.words(said or "an empty answer"), model, usage)
        if len(found) != 1:
            raise Unanswered(f"{len(found)} pictures instead of one", usage)
        return PaintReply(self.picture(found[0], usage), model, usage)

    def _config(self, request: PaintRequest) -> types.GenerateContentConfig:
        config: dict[str, Any] = {"response_modalities": ["IMAGE"]}
        if self._painter.seed:
            config["seed"] = request.seed % 2**31
        shape = shape_of(request.size) if request.size is not None else None
        if shape is not None:
            ratio, scale = shape
            # 1K is what every model paints unasked; the older ones do not know the word.
            larger = {} if scale == "1K" else {"image_size": scale}
            config["image_config"] = {"aspect_ratio": ratio, **larger}
        return types.GenerateContentConfig(**config)


def shape_of(size: tuple[int, int]) -> tuple[str, str] | None:
    """A size in Gemini's words: ratio and scale; None where it has none."""
    width, height = size
    for ratio in RATIOS:
        across, up = map(int, ratio.split(":"))
        if abs(width / height * up / across - 1) <= RATIO_TOLERANCE:
            for scale, most in SCALES:
                if width * height <= most:
                    return ratio, scale
    return None


def _parts(candidate: types.Candidate) -> list[types.Part]:
    """The parts of an answer, without what the model only thought."""
    parts = candidate.content.parts if candidate.content is not None else None
    return [part for part in parts or [] if not part.thought]


def _counted(reply: types.GenerateContentResponse) -> tuple[int | None, int, int | None]:
    """Tokens in, how many of them of pictures, tokens out with thinking; None where not counted."""
    counted = reply.usage_metadata
    put_in = count_of(counted, "prompt_token_count")
    out = count_of(counted, "candidates_token_count")
    thought = count_of(counted, "thoughts_token_count") or 0
    details = (counted.prompt_tokens_details if counted else None) or []
    seen = sum(
        detail.token_count or 0
        for detail in details
        if detail.modality is not None and detail.modality.value == "IMAGE"
    )
    if put_in is not None and out is None:
        out = 0  # a blocked prompt: nothing came out
    return put_in, min(seen, put_in or 0), None if out is None else out + thought


def _details(body: object) -> Iterator[dict[str, Any]]:
    """The `details` of an error, as google.rpc has them."""
    error = body.get("error", body) if isinstance(body, dict) else {}
    details = error.get("details") if isinstance(error, dict) else None
    yield from (detail for detail in details or [] if isinstance(detail, dict))


def _later(error: errors.APIError, details: list[dict[str, Any]]) -> float | None:
    """Seconds the server wants to be left alone, from its header or its RetryInfo."""
    headers = getattr(error.response, "headers", None) or {}
    wait = retry_after(None, headers.get("retry-after"))
    if wait is not None:
        return wait
    for detail in details:
        told = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(detail.get("retryDelay")))
        if told:
            return float(told.group(1))
    return None
