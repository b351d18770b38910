"""One call of the openai teachers against a server on loopback: what they send and who they ask."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import json
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from janus4o.errors import ImageError, RecipeError, Refused
from janus4o.exchange import (
    PaintReply,
    PaintRequest,
    Picture,
    Refusal,
    Unanswered,
    WriteReply,
    WriteRequest,
)
from janus4o.images import open_image, save_png
from janus4o.recipe import Recipe, parse
from janus4o.teachers import download
from janus4o.teachers.openai import OpenAIWriter
from janus4o.teachers.serving import retry_after, without_fence

from .one_call import PROMPT, SQUARE, paint, say, scene

Ask = Callable[..., Recipe]
Serve = Callable[..., Any]


def test_a_writer_writes_and_is_paid_for(
    serve: Serve, ask: Ask, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "https://elsewhere.example")  # none of them may count
    server = serve()
    reply = say(ask(server.url), WriteRequest(PROMPT, seed=5))
    assert isinstance(reply, WriteReply)
    assert "red circle" in reply.text
    assert reply.model == "scribe-1-2026-01-01"
    assert reply.usage.cost_usd == pytest.approx(server.billed_usd)
    assert reply.usage.input_tokens == len(PROMPT)
    asked = server.asked[0]
    assert asked.key == canary
    assert asked.fields["model"] == "scribe-1"
    assert asked.fields["seed"] == 5
    assert not {"openai-organization", "openai-project"} & asked.headers.keys()


def test_pictures_and_a_schema_are_sent_and_answered(serve: Serve, ask: Ask) -> None:
    server = serve()
    source = scene()
    schema = {
        "type": "object", "properties": {"prompt": {"type": "string"}},
        "required": ["prompt"], "additionalProperties": False,
    }  # fmt: skip
    request = WriteRequest("Look.\nTask: attribute_manipulation", (source,), 3, schema)
    reply = say(ask(server.url), request)
    assert isinstance(reply, WriteReply)
    assert "circle" in json.loads(reply.text)["prompt"]
    sent = server.asked[0].fields
    assert sent["response_format"]["json_schema"]["schema"] == schema
    url = sent["messages"][0]["content"][1]["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == source.data


def test_a_painter_paints_and_edits_with_several_sources_and_a_mask(serve: Serve, ask: Ask) -> None:
    server = serve()
    recipe = ask(server.url, painter={"quality": "low"})
    drawn = paint(recipe, SQUARE)
    assert isinstance(drawn, PaintReply)
    assert open_image(drawn.picture.data).size == (64, 64)
    assert drawn.model == "brush-1"
    assert drawn.usage.images == 1
    edited = paint(recipe, PaintRequest("make the circle blue", (drawn.picture,), (64, 64), 9))
    assert isinstance(edited, PaintReply)
    assert edited.picture.data != drawn.picture.data
    spent = (drawn.usage.cost_usd or 0) + (edited.usage.cost_usd or 0)
    assert spent == pytest.approx(server.billed_usd)
    assert server.asked[0].fields["quality"] == "low"
    mask = Picture(save_png(Image.new("RGBA", (64, 64), (0, 0, 0, 0))))
    two = PaintRequest("join them", (drawn.picture, edited.picture), (64, 64), 9, mask)
    refused = paint(recipe, two)  # the sketch painter edits one picture
    assert isinstance(refused, Refusal)
    sent = server.asked[2]
    assert sent.pictures == (drawn.picture.data, edited.picture.data)
    assert sent.fields["mask"] == mask.data
    assert refused.category == "moderation/unsuitable_source"


def test_openai_models_are_not_asked_what_they_refuse(serve: Serve, ask: Ask) -> None:
    server = serve()
    plain = ask(server.url, painter={"model": "gpt-image-2", "seed": False})
    assert isinstance(paint(plain, PaintRequest("a red circle", (), (64, 64))), PaintReply)
    assert server.asked[0].fields.keys() == {"model", "n", "prompt", "size"}
    with pytest.raises(Refused, match="no quality 'huge'"):
        paint(ask(server.url, painter={"model": "gpt-image-2", "quality": "huge"}), None)  # type: ignore[arg-type]


def test_retry_after_is_read_in_all_its_forms() -> None:
    assert retry_after("1500", "9") == 1.5
    assert retry_after(None, "2.5") == 2.5
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert 27 < (retry_after(None, date) or 0) <= 30
    past = email.utils.formatdate(time.time() - 30, usegmt=True)
    assert retry_after(None, past) == 0.0
    for nothing in (None, "", "soon", "-3", "inf", "nan"):
        assert retry_after(None, nothing) is None


def test_a_fence_around_json_is_taken_off(serve: Serve, ask: Ask, wire: ModuleType) -> None:
    assert without_fence('```json\n{"a": 1}\n```') == '{"a": 1}'
    assert without_fence(' {"a": "```"} ') == '{"a": "```"}'


# addresses


def test_addresses_are_refused_unless_allowed_and_never_private(
    serve: Serve, ask: Ask, wire: ModuleType
) -> None:
    server = serve(faults=lambda asked: wire.Fault("address"))
    with pytest.raises(Unanswered) as caught:
        paint(ask(server.url), SQUARE)
    assert "urls: true" in str(caught.value.stop)
    with pytest.raises(Unanswered, match="private address"):
        paint(ask(server.url, painter={"urls": True}), SQUARE)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.png", "ftp://example.com/a.png", "file:///etc/passwd",
        "data:image/png;base64,AAAA", "https://user:word@example.com/a.png", "https:///a.png",
        "https://127.0.0.1/a", "https://2130706433/a", "https://0x7f000001/a", "https://0177.0.0.1/a",
        "https://[::1]/a", "https://[::ffff:10.0.0.1]/a", "https://169.254.169.254/latest",
        "https://10.1.2.3/a", "https://100.64.0.1/a", "https://[fd00::1]/a", "https://0.0.0.0/a",
        "https://localhost/a", "https://[64:ff9b::a00:1]/a", "https://[2002:a00:1::]/a",
    ],
)  # fmt: skip
def test_private_addresses_are_never_asked(url: str) -> None:
    with pytest.raises(ImageError):
        asyncio.run(download.fetch(url, 1.0))


def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(self: object, host: str, port: int, **_: object) -> list[Any]:
        return [(2, 1, 6, "", (address, port)) for address in ("93.184.216.34", "192.168.0.1")]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", found)
    with pytest.raises(ImageError, match="private"):
        asyncio.run(download.fetch("https://pictures.example/a.png", 1.0))
    assert download.is_public("93.184.216.34")


# keys and recipes


def test_no_key_in_the_environment_is_said_before_anything_is_asked(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ask("http://127.0.0.1:9/v1")
    monkeypatch.delenv("JANUS4O_TEST_KEY")
    with pytest.raises(Refused, match="JANUS4O_TEST_KEY is not in the environment"):
        OpenAIWriter(recipe.teachers.writer)
    assert OpenAIWriter(recipe.teachers.writer, asking=False).name == "scribe-1"


@pytest.mark.parametrize(
    "key", ["sk-canary-5a1f0e77c2d94b3f", "AIzaSyA0123456789abcdefghijklmnopq"]
)
def test_a_key_in_a_recipe_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse({"name": "x", "teachers": {"writer": {"api": "openai", "model": "m", "key": key}}})
    assert key not in str(caught.value)
    assert "teachers.writer.key" in caught.value.message


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ({"api": "openai", "modle": "x"}, "did you mean 'model'"),
        ({"api": "openai"}, "teachers.painter.model is missing"),
        (
            {"api": "openai", "model": "m", "base_url": "https://a:b@host/v1"},
            "base_url = (not shown)",
        ),
        ({"api": "carrier pigeon", "model": "m"}, "teachers.painter.api"),
        ({"api": "openai", "model": "m", "price": {"input": -1}}, "teachers.painter.price.input"),
    ],
)
def test_a_wrong_server_is_refused_by_key(server: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse({"name": "x", "teachers": {"painter": server}})
    assert says in str(caught.value)


def test_where_and_how_fast_a_server_is_asked_changes_no_sample(ask: Ask) -> None:
    one = ask("http://127.0.0.1:9/v1").content()
    other = ask("https://elsewhere/v1", limits={"requests": 5}, writer={"timeout": 9.0}).content()
    assert one == other
    assert ask("http://127.0.0.1:9/v1", writer={"model": "b"}).content() != one


def test_a_server_that_echoes_the_key_does_not_get_it_into_the_data(
    serve: Serve, ask: Ask, wire: ModuleType, canary: str
) -> None:
    server = serve(faults=lambda asked: wire.Fault("echo_key"))
    reply = say(ask(server.url), WriteRequest(PROMPT))
    assert isinstance(reply, WriteReply)
    assert canary not in reply.text
    told = serve(
        faults=lambda asked: wire.Fault("status", 401, message=f"wrong key: {asked.key} sk-ab**xyz")
    )
    with pytest.raises(Unanswered) as caught:
        say(ask(told.url), WriteRequest(PROMPT))
    assert canary not in str(caught.value.stop)
    assert "sk-ab" not in str(caught.value)


def test_names_of_one_model_are_told_from_those_of_another(ask: Ask) -> None:
    def writer(model: str, served: str | None = None) -> OpenAIWriter:
        recipe = ask("http://127.0.0.1:9/v1", writer={"model": model, "served": served})
        return OpenAIWriter(recipe.teachers.writer)

    assert writer("gpt-5.6-luna").serves("gpt-5.6-luna")
    assert writer("gpt-5.6-luna").serves("gpt-5.6-luna-2026-02-16")
    assert writer("gemini-3.8-flash").serves("models/gemini-3.8-flash")
    assert writer("openai/gpt-5.6-luna").serves("gpt-5.6-luna")
    assert not writer("gemini-2.5-pro").serves("gemini-3.8-flash")
    assert not writer("gpt-5.6").serves("gpt-5.6-luna")
    assert writer("mine", "vicuna").serves("vicuna")
    assert not writer("mine", "vicuna").serves("mine")
