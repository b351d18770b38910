"""Gemini's own API against the server on loopback: what is sent, and what becomes of the answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from janus4o.cli import app
from janus4o.cli.teachers import hire
from janus4o.errors import RecipeError, Refused
from janus4o.exchange import (
    PaintReply,
    PaintRequest,
    Refusal,
    WriteReply,
    WriteRequest,
)
from janus4o.images import open_image
from janus4o.recipe import Recipe, parse
from janus4o.rows import open_rows
from janus4o.synth.runner import run
from janus4o.synth.status import status

from .one_call import PROMPT, SQUARE, paint, say, scene

pytest.importorskip("google.genai", reason="needs the extra google")

Ask = Callable[..., Recipe]
Serve = Callable[..., Any]


@pytest.fixture
def gemini(ask: Ask) -> Callable[..., Recipe]:
    return lambda url, *counts, **more: ask(url, *counts, api="google", **more)


def test_a_writer_writes_sees_and_is_paid_for(
    serve: Serve, gemini: Ask, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "https://elsewhere.example")  # none of them may count
    server = serve()
    reply = say(gemini(server.url, writer={"effort": "low"}), WriteRequest(PROMPT, seed=5))
    assert isinstance(reply, WriteReply)
    assert "red circle" in reply.text
    assert reply.model == "scribe-1"
    assert reply.usage.cost_usd == pytest.approx(server.billed_usd)
    asked = server.asked[0]
    assert asked.path == "/v1beta/models/scribe-1:generateContent"
    assert asked.key == canary
    config = asked.fields["generationConfig"]
    assert config["seed"] == 5
    assert config["maxOutputTokens"] == 2000
    assert config["thinkingConfig"] == {"thinkingLevel": "LOW"}
    source = scene()
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    request = WriteRequest("Look.\nTask: attribute_manipulation", (source,), 3, schema)
    seen = say(gemini(server.url), request)
    assert isinstance(seen, WriteReply)
    assert "circle" in json.loads(seen.text)["text"]
    sent = server.asked[1].fields
    assert sent["generationConfig"]["responseJsonSchema"] == schema
    assert sent["generationConfig"]["responseMimeType"] == "application/json"
    coded = sent["contents"][0]["parts"][1]["inlineData"]
    assert coded["mimeType"] == "image/png"
    assert base64.b64decode(coded["data"].replace("-", "+").replace("_", "/")) == source.data
    assert seen.usage.input_tokens == len(request.prompt) + 100


def test_a_painter_paints_and_edits(serve: Serve, gemini: Ask, wire: ModuleType) -> None:
    server = serve()
    recipe = gemini(server.url)
    drawn = paint(recipe, SQUARE)
    assert isinstance(drawn, PaintReply)
    assert open_image(drawn.picture.data).size == (64, 64)
    assert drawn.model == "brush-1"
    config = server.asked[0].fields["generationConfig"]
    assert config["responseModalities"] == ["IMAGE"]
    assert config["imageConfig"] == {"aspectRatio": "1:1"}
    edited = paint(recipe, PaintRequest("make the circle blue", (drawn.picture,), (2752, 1536), 9))
    assert isinstance(edited, PaintReply)
    assert edited.picture.data != drawn.picture.data
    config = server.asked[1].fields["generationConfig"]
    assert config["imageConfig"] == {"aspectRatio": "16:9", "imageSize": "2K"}
    spent = (drawn.usage.cost_usd or 0) + (edited.usage.cost_usd or 0)
    assert spent == pytest.approx(server.billed_usd)
    server.faults = lambda asked: wire.Fault("thought")
    final = paint(recipe, SQUARE)
    assert isinstance(final, PaintReply), "what it painted while thinking is not the answer"
    masked = paint(recipe, PaintRequest("x", (drawn.picture,), None, 1, drawn.picture))
    assert isinstance(masked, Refusal), "a mask that would be left out must not be paid for"
    assert len(server.asked) == 3


def test_sizes_are_ratios_and_scales(gemini: Ask) -> None:
    from janus4o.teachers.google import shape_of

    assert shape_of((1024, 1024)) == ("1:1", "1K")
    assert shape_of((1344, 768)) == ("16:9", "1K")
    assert shape_of((1536, 1024)) == ("3:2", "2K")
    assert shape_of((4096, 4096)) == ("1:1", "4K")
    assert shape_of((1000, 300)) is None
    assert shape_of((8192, 8192)) is None
    recipe = gemini("http://127.0.0.1:9/v1").model_dump(mode="json")
    recipe["teachers"]["size"] = [1000, 300]
    with pytest.raises(RecipeError, match="does not paint 1000×300"):
        hire(parse(recipe))


def test_the_recipe_knows_what_gemini_has_not() -> None:
    server = {"api": "google", "model": "brush-1"}
    assert parse({"name": "x", "teachers": {"painter": server}}).teachers.painter.key == (  # type: ignore[union-attr]
        "GEMINI_API_KEY"
    )
    with pytest.raises(RecipeError, match="google takes no quality"):
        parse({"name": "x", "teachers": {"painter": {**server, "quality": "low"}}})


def test_a_data_set_from_gemini_over_http_with_faults_drift_and_no_key_anywhere(
    serve: Serve, gemini: Ask, wire: ModuleType, tmp_path: Path, canary: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    calm = serve()
    whole = gemini(calm.url, 6, 4)

    def go(recipe: Recipe, folder: Path) -> Any:
        staff = hire(recipe)
        return run(recipe, folder, staff.writer, staff.painter, inspector=staff.inspector)

    outcome = go(whole, tmp_path / "calm")
    assert outcome.tally.accepted == {"prompt_first": 6, "editing": 4}
    assert outcome.spend.cost_usd == pytest.approx(calm.billed_usd)
    assert {row.provenance.writer for row in open_rows(tmp_path / "calm")} == {"scribe-1"}  # type: ignore[union-attr]
    seen: dict[str, int] = {}

    def fault(asked: Any) -> Any:
        key = json.dumps(asked.fields, sort_keys=True)
        seen[key] = seen.get(key, 0) + 1
        kinds = ["status", "reset", "garbage", "none", "", ""]
        kind = kinds[asked.number % 6]
        if seen[key] > 2 or not kind:
            return None
        return wire.Fault(kind, 503, "UNAVAILABLE", message=f"failed for {asked.key}")

    rough = serve(faults=fault)
    outcome = go(gemini(rough.url, 6, 4), tmp_path / "rough")
    rows = [(tmp_path / name / "dataset" / "rows.jsonl").read_bytes() for name in ("calm", "rough")]
    assert rows[0] == rows[1]
    assert outcome.spend.errors > 5
    rough.faults = lambda asked: wire.Fault("drift")
    with pytest.raises(Refused, match=r"answers as 'other-9', not as '(scribe|brush)-1'"):
        go(gemini(rough.url, 9, 4), tmp_path / "rough")
    assert status(tmp_path / "rough").spend.errors > outcome.spend.errors
    rough.faults = lambda asked: wire.Fault(
        "status", 400, "INVALID_ARGUMENT", message=f"no such key {asked.key}",
        details=({"reason": "API_KEY_INVALID", "metadata": {"key": asked.key}},),
    )  # fmt: skip
    path = tmp_path / "gemini.yaml"
    data = gemini(rough.url, 9, 9).model_dump(mode="json")
    path.write_text(yaml.safe_dump({**data, "output": str(tmp_path / "rough")}))
    assert app.main(["synth", str(path)]) == Refused.exit_code
    said = capfd.readouterr()
    assert "[key]" in said.err
    assert canary not in said.out + said.err
    for found in tmp_path.rglob("*"):
        assert not found.is_file() or canary.encode() not in found.read_bytes(), found


def test_the_doctor_asks_gemini(
    serve: Serve, gemini: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ready:
        async def write(self, request: WriteRequest) -> WriteReply:
            return WriteReply("ready", "x")

    server = serve(writer=Ready())
    path = tmp_path / "gemini.yaml"
    path.write_text(yaml.safe_dump(gemini(server.url).model_dump(mode="json")))
    assert app.main(["doctor", "--live", "--recipe", str(path)]) == 0
    said = capsys.readouterr().out
    assert "answers as scribe-1, $0.000" in said
    assert "google-genai" in said
    assert len(server.asked) == 2
