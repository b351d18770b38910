"""What a call means that is not answered, or with a no: the same on both wires, writing and painting."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from janus4o.errors import BudgetStop, Refused
from janus4o.exchange import PaintReply, PaintRequest, Picture, Refusal, Unanswered, WriteRequest
from janus4o.recipe import Recipe

from .one_call import PROMPT, SQUARE, paint, say

Ask = Callable[..., Recipe]
Serve = Callable[..., Any]
Call = Callable[[Recipe], Any]
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.0s"}


def writes(recipe: Recipe) -> Any:
    return say(recipe, WriteRequest(PROMPT))


def paints(recipe: Recipe) -> Any:
    return paint(recipe, SQUARE)


@pytest.fixture(params=["openai", "google"])
def api(request: pytest.FixtureRequest) -> str:
    """The wire."""
    name: str = request.param
    if name == "google":
        pytest.importorskip("google.genai", reason="needs the extra google")
    return name


@pytest.mark.parametrize("call", [writes, paints])
@pytest.mark.parametrize(
    ("fault", "cost", "says"),
    [
        ({"kind": "status", "status": 500}, 0.0, "HTTP 500"),
        ({"kind": "status", "status": 503}, 0.0, "HTTP 503"),
        ({"kind": "status", "status": 408}, 0.0, "HTTP 408"),
        ({"kind": "status", "status": 502}, None, "HTTP 502"),
        ({"kind": "status", "status": 504}, None, "HTTP 504"),
        ({"kind": "reset"}, None, "connection lost"),
        ({"kind": "hang"}, None, "no answer within"),
        ({"kind": "html"}, None, r"no chat completion: <html>|no picture: <html>|cannot be read"),
        ({"kind": "garbage"}, None, "cannot be read"),
        ({"kind": "truncate"}, None, "connection lost"),
        ({"kind": "none"}, "billed", r"0 (answers|pictures) instead of one"),
        ({"kind": "two"}, "billed", r"2 (answers|pictures) instead of one"),
    ],
    ids=lambda value: str(value.get("status", value["kind"])) if isinstance(value, dict) else "",
)
def test_what_is_no_answer_is_unanswered(
    serve: Serve, ask: Ask, wire: ModuleType, api: str, call: Call, fault: dict[str, Any],
    cost: Any, says: str,
) -> None:  # fmt: skip
    server = serve(faults=lambda asked: wire.Fault(**fault))
    short = {"timeout": 0.3} if fault["kind"] == "hang" else {}
    with pytest.raises(Unanswered, match=says) as caught:
        call(ask(server.url, api=api, writer=short, painter=short))
    expected = pytest.approx(server.billed_usd) if cost == "billed" else cost
    assert caught.value.usage.cost_usd == expected
    assert caught.value.stop is None
    assert not caught.value.limited
    hidden = caught.value.__context__ is None or caught.value.__suppress_context__
    assert hidden, "the request, with its key, would be in a traceback"
    assert caught.value.__cause__ is None
    assert len(server.asked) == 1, "the package tried again by itself"


@pytest.mark.parametrize(
    ("call", "kind", "says"), [(writes, "length", "cut off"), (paints, "not_a_picture", "GIF")]
)
def test_what_cannot_be_used_is_unanswered_and_paid_for(
    serve: Serve, ask: Ask, wire: ModuleType, api: str, call: Call, kind: str, says: str
) -> None:
    server = serve(faults=lambda asked: wire.Fault(kind))
    with pytest.raises(Unanswered, match=says) as caught:
        call(ask(server.url, api=api))
    assert caught.value.usage.cost_usd == pytest.approx(server.billed_usd)
    assert server.billed_usd > 0
    assert len(server.asked) == 1


def test_nobody_there_costs_nothing(ask: Ask, api: str) -> None:
    with pytest.raises(Unanswered, match="no connection") as caught:
        writes(ask("http://127.0.0.1:9/v1", api=api))
    assert caught.value.usage.cost_usd == 0.0


@pytest.mark.parametrize(
    ("api", "told"),
    [
        ("openai", {"retry_after": "7"}),
        ("google", {"retry_after": "7"}),
        ("google", {"details": (RETRY_INFO,)}),
    ],
    indirect=["api"],
)
def test_too_often_says_how_long(
    serve: Serve, ask: Ask, wire: ModuleType, api: str, told: dict[str, Any]
) -> None:
    server = serve(faults=lambda asked: wire.Fault("status", 429, "RESOURCE_EXHAUSTED", **told))
    with pytest.raises(Unanswered) as caught:
        writes(ask(server.url, api=api))
    assert caught.value.limited
    assert caught.value.retry_after == 7.0
    assert caught.value.usage.cost_usd == 0.0


def failing(field: str) -> dict[str, Any]:
    return {"fieldViolations": [{"field": field, "description": "no"}]}


PER_DAY = {"violations": [{"quotaId": "RequestsPerDayPerProject"}]}


@pytest.mark.parametrize(
    ("api", "status", "code", "more", "error", "says"),
    [
        ("openai", 401, "invalid_api_key", {}, Refused, "refuses the key in JANUS4O_TEST_KEY"),
        ("openai", 403, None, {}, Refused, "refuses the key"),
        ("openai", 404, "model_not_found", {}, Refused, "is not served"),
        ("openai", 402, None, {}, BudgetStop, "account .* is empty"),
        ("openai", 429, "insufficient_quota", {}, BudgetStop, "account .* is empty"),
        ("openai", 307, None, {}, Refused, "check base_url"),
        ("openai", 400, "invalid_value", {"param": "quality"}, Refused, "not accept 'quality'"),
        (
            "google", 400, "INVALID_ARGUMENT", {"reason": "API_KEY_INVALID"},
            Refused, "refuses the key in JANUS4O_TEST_KEY",
        ),
        ("google", 403, "PERMISSION_DENIED", {}, Refused, "refuses the key in JANUS4O_TEST_KEY"),
        ("google", 403, "PERMISSION_DENIED", {"reason": "BILLING_DISABLED"}, BudgetStop, "empty"),
        ("google", 404, "NOT_FOUND", {}, Refused, "is not served"),
        ("google", 429, "RESOURCE_EXHAUSTED", PER_DAY, BudgetStop, "day's quota .* used up"),
        (
            "google", 400, "INVALID_ARGUMENT", failing("generation_config.image_config"),
            Refused, "does not accept 'generation_config",
        ),
    ],
    indirect=["api"],
)  # fmt: skip
@pytest.mark.parametrize("call", [writes, paints])
def test_what_cannot_be_mended_by_asking_again_stops(
    serve: Serve, ask: Ask, wire: ModuleType, api: str, call: Call, status: int, code: str,
    more: dict[str, Any], error: type[Exception], says: str,
) -> None:  # fmt: skip
    more = more if api == "openai" else {"details": (more,)}
    server = serve(faults=lambda asked: wire.Fault("status", status, code, **more))
    with pytest.raises(Unanswered) as caught:
        call(ask(server.url, api=api))
    assert type(caught.value.stop) is error
    with pytest.raises(error, match=says):
        raise caught.value.stop
    assert caught.value.usage.cost_usd == 0.0


@pytest.mark.parametrize(
    ("api", "call", "kind", "code", "category"),
    [
        ("openai", writes, "refusal", None, "refused"),
        ("openai", paints, "refusal", None, "moderation/fun"),
        ("openai", writes, "filter", None, "moderation"),
        ("openai", writes, "status", "content_policy_violation", "moderation"),
        (
            "openai", writes, "status", "context_length_exceeded",
            "bad_request/context_length_exceeded",
        ),
        ("google", writes, "refusal", None, "moderation/prohibited_content"),
        ("google", paints, "refusal", None, "moderation/prohibited_content"),
        ("google", writes, "filter", None, "moderation/safety"),
        ("google", paints, "filter", None, "moderation/image_prohibited_content"),
        ("google", writes, "no_image", None, "no_picture"),
        ("google", paints, "no_image", None, "no_picture"),
        ("google", paints, "words", None, "no_picture"),
    ],
    indirect=["api"],
)  # fmt: skip
def test_a_no_is_an_answer(
    serve: Serve, ask: Ask, wire: ModuleType, api: str, call: Call, kind: str, code: str,
    category: str,
) -> None:  # fmt: skip
    server = serve(faults=lambda asked: wire.Fault(kind, 400, code))
    reply = call(ask(server.url, api=api))
    assert isinstance(reply, Refusal)
    assert reply.category == category
    assert reply.usage.cost_usd == pytest.approx(server.billed_usd)


def test_pictures_keep_the_bytes_the_server_sent(serve: Serve, ask: Ask, api: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "JPEG")
    photograph = Picture(buffer.getvalue(), "image/jpeg")

    class Photographer:
        async def paint(self, request: PaintRequest) -> PaintReply:
            return PaintReply(photograph, "x")

    reply = paints(ask(serve(painter=Photographer()).url, api=api))
    assert isinstance(reply, PaintReply)
    assert reply.picture == photograph
