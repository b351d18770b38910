"""The open world: anything the vocabulary names, asked of teachers behind an API."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from janus4o.cli import app
from janus4o.cli.teachers import hire
from janus4o.errors import RecipeError
from janus4o.exchange import PaintReply, PaintRequest, Picture, WriteReply, WriteRequest
from janus4o.images import save_png
from janus4o.recipe import Recipe, load
from janus4o.rows import open_rows
from janus4o.synth import forms, vocabulary
from janus4o.synth.plan import plan
from janus4o.synth.prompts import TASK_MEANINGS
from janus4o.synth.runner import run
from janus4o.synth.sample import name_samples
from janus4o.synth.taxonomy import values

Ask = Callable[..., Recipe]
Serve = Callable[..., Any]
TASKS = {task: 1.0 for task in TASK_MEANINGS if task != "from_condition_map"}


def open_synthesis(**more: Any) -> dict[str, Any]:
    return {
        "world": "open",
        "text_to_image": {"count": 5},
        "editing": {"count": 5, "tasks": TASKS},
        **more,
    }


class Storyteller:
    """Writes what it was given, as a language model would."""

    async def write(self, request: WriteRequest) -> WriteReply:
        lines = dict(line.partition(": ")[::2] for line in request.prompt.splitlines())
        if "Attributes" in lines:
            things = json.loads(lines["Attributes"])["objects"]
            return WriteReply(" and ".join(thing["category"] for thing in things), "x")
        number = zlib.crc32(request.pictures[0].data) % 997
        return WriteReply(f"edit {number}: {lines['Meaning']}", "x")


class Dauber:
    """Paints noise, in a size of its own choice."""

    async def paint(self, request: PaintRequest) -> PaintReply:
        seed = [request.seed, zlib.crc32(request.prompt.encode()), len(request.sources)]
        pixels = np.random.default_rng(seed).integers(0, 256, (80, 96, 3), np.uint8)
        return PaintReply(Picture(save_png(Image.fromarray(pixels))), "x")


def test_the_vocabulary_is_as_large_as_it_should_be() -> None:
    data = yaml.safe_load(vocabulary.VOCABULARY.read_text(encoding="utf-8"))
    objects = [name.casefold() for leaves in data["objects"].values() for name in leaves]
    assert len(objects) == len(set(objects)) >= 1000
    assert all(len(leaves) >= 8 for leaves in data["people"].values())
    assert not set(objects) & {name for leaves in data["people"].values() for name in leaves}
    for dimension in ("background", "style", "lighting", "camera", "composition"):
        assert len(data[dimension]) == 3, "Table 4 of the paper has three"
        for kind, leaves in data[dimension].items():
            assert len(set(leaves)) >= 10, kind


def test_a_data_set_of_the_open_world_over_http(serve: Serve, ask: Ask, tmp_path: Path) -> None:
    server = serve(writer=Storyteller(), painter=Dauber())
    recipe = ask(server.url, **open_synthesis())
    staff = hire(recipe)
    run(recipe, tmp_path, staff.writer, staff.painter, inspector=staff.inspector)
    rows = open_rows(tmp_path)
    assert len(rows) == 10
    known = set(values(vocabulary.read(None).objects))
    for row in rows:
        assert row.output_image_resolution == (96, 80)
        if not row.is_edit:
            assert set(row.input_prompt.split(" and ")) & known
        elif row.provenance is not None:
            assert row.provenance.task in TASKS


def test_descriptive_instructions_are_the_papers_and_say_so(
    serve: Serve, ask: Ask, tmp_path: Path
) -> None:
    class Describer(Storyteller):
        async def write(self, request: WriteRequest) -> WriteReply:
            if "Base task: " in request.prompt:
                assert "optional" in request.prompt
                return WriteReply(f"Mist over {zlib.crc32(request.pictures[0].data)}.", "x")
            return await super().write(request)

    server = serve(writer=Describer(), painter=Dauber())
    tasks = {task: share for task, share in TASKS.items() if task != "from_line_art"}
    editing = {"count": 4, "tasks": tasks, "instruction": "descriptive"}
    recipe = ask(server.url, **open_synthesis(editing=editing))
    staff = hire(recipe)
    run(recipe, tmp_path, staff.writer, staff.painter)
    edits = [row for row in open_rows(tmp_path) if row.is_edit]
    assert len(edits) == 4
    for row in edits:
        assert row.input_prompt.startswith("Mist over")
        assert row.provenance is not None
        assert row.provenance.attributes["tied_to_task"] == "loosely"
    plain = ask(server.url, **open_synthesis())
    assert name_samples(plain).content != name_samples(recipe).content
    sketched = ask(server.url, editing={"count": 1, "instruction": "descriptive"})
    staff = hire(sketched)
    with pytest.raises(RecipeError, match="imperative instructions only"):
        plan(sketched, staff.writer, staff.painter)


def test_a_malformed_answer_is_shown_to_its_writer_once(
    serve: Serve, ask: Ask, tmp_path: Path, wire: Any
) -> None:
    def once(asked: Any) -> Any:
        spoilt = "cannot be used" not in str(asked.fields.get("messages"))
        return wire.Fault("chatter") if spoilt and asked.number % 2 == 0 else None

    server = serve(writer=Storyteller(), painter=Dauber(), faults=once)
    recipe = ask(server.url, **open_synthesis())
    staff = hire(recipe)
    outcome = run(recipe, tmp_path / "a", staff.writer, staff.painter)
    assert outcome.tally.ends.keys() <= {"rejected: duplicate"}
    mended = [asked for asked in server.asked if "Certainly!" in str(asked.fields.get("messages"))]
    assert mended
    assert "it is not JSON" in str(mended[0].fields["messages"])
    for row in open_rows(tmp_path / "a"):
        assert "Certainly" not in row.input_prompt

    def half(asked: Any) -> Any:
        return wire.Fault("chatter") if int(asked.fields.get("seed") or 0) % 2 else None

    server = serve(writer=Storyteller(), painter=Dauber(), faults=half)
    recipe = ask(server.url, **open_synthesis())
    staff = hire(recipe)
    outcome = run(recipe, tmp_path / "b", staff.writer, staff.painter)
    assert outcome.tally.ends["refused: malformed"] > 0
    assert len(open_rows(tmp_path / "b")) == 10


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ('{"text": " a  red\\n circle "}', ""),
        ("certainly!", "not JSON"),
        ('{"text": "a"} and more', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["a"]', "the one key"),
        ('{"text": "a", "mood": "b"}', "the one key"),
        ('{"prompt": "a"}', "the one key"),
        ('{"text": 5}', "not a string"),
        ('{"text": " "}', "empty"),
        (json.dumps({"text": "a" * 4001}), "longer"),
    ],
)
def test_answers_are_checked(answer: str, fault: str) -> None:
    if not fault:
        assert forms.read(answer, forms.TEXT) == "a red circle"
        return
    with pytest.raises(forms.Malformed, match=fault):
        forms.read(answer, forms.TEXT)


def test_all_dimensions_are_asked_for_and_people_have_no_colour(ask: Ask) -> None:
    recipe = ask(
        "http://127.0.0.1:9/v1",
        world="open", text_to_image={"count": 1, "background": 0.5, "colour": 1.0, "repeated": 1.0},
    )  # fmt: skip
    from janus4o.synth import attributes
    from janus4o.synth.sample import Pipeline

    taxonomy, names = vocabulary.read(None), name_samples(recipe)
    asked: Counter[str] = Counter()
    people = 0
    for index in range(1500):
        rng = names.sample(Pipeline.PROMPT_FIRST, index).rng("attributes")
        drawn = attributes.draw(rng, taxonomy, recipe.synthesis.text_to_image, 5)
        data = drawn.to_json()
        asked.update(key for key, value in data.items() if value)
        for thing in drawn.objects:
            if thing.category in taxonomy.people:
                people += 1
                assert thing.colour is None
                assert thing.count == 1
            else:
                assert thing.colour in taxonomy.colours
    assert people > 20
    for key in ("background", "style", "lighting", "camera", "layout"):
        assert 0.45 < asked[key] / 1500 < 0.55, key
    assert asked["composition"] == 0


def test_the_offline_teacher_says_that_it_cannot(ask: Ask) -> None:
    with pytest.raises(RecipeError, match="does not know"):
        hire(
            ask("http://x/v1", world="open").model_copy(
                update={"teachers": Recipe(name="x").teachers}
            )
        )


@pytest.mark.parametrize(
    ("task", "conditions", "says"),
    [
        ("from_condition_map", {}, "no kind of conditioning picture"),
        ("from_condition_map", {"depth": 1.0}, "no tool yet that estimates depth"),
        ("from_line_art", {"pose": 1.0}, "pose: there is no tool yet"),
        ("from_line_art", {"edge": 1.0}, "unknown kind 'edge'"),
        ("from_line_art", {"edges": 0.0}, "no kind of conditioning picture"),
    ],
)
def test_what_has_no_tool_is_refused_by_name(
    ask: Ask, task: str, conditions: dict[str, float], says: str
) -> None:
    editing = {"count": 1, "tasks": {task: 1.0}, "conditions": conditions}
    recipe = ask("http://x/v1", world="open", editing=editing)
    staff = hire(recipe)
    with pytest.raises(RecipeError, match=says):
        plan(recipe, staff.writer, staff.painter)


def test_another_vocabulary_makes_other_samples_and_another_place_does_not(
    ask: Ask, tmp_path: Path
) -> None:
    same = tmp_path / "same.yaml"
    same.write_bytes(vocabulary.VOCABULARY.read_bytes())
    other = tmp_path / "other.yaml"
    data = yaml.safe_load(same.read_text(encoding="utf-8"))
    data["colours"] = ["mauve"]
    other.write_text(yaml.safe_dump(data))

    def name(path: Path | None) -> str:
        given = {"vocabulary": str(path)} if path else {}
        return name_samples(ask("http://x/v1", world="open", **given)).content

    assert name(None) == name(same)
    assert name(None) != name(other)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("objects: [", "cannot be read"),
        ("objects: {}", "keys wanted"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_vocabulary_is_refused(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "words.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecipeError, match=says):
        vocabulary.read(str(path))


# plan and doctor


def command(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = app.main(words)
    out = capsys.readouterr()
    return code, " ".join((out.out + out.err).split())


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "paper",
            {"prompt_first": 20717, "image_first": 15000, "document": 10000, "editing": 46539},
        ),
        ("image_first", {"prompt_first": 0, "image_first": 20, "editing": 0}),
    ],
)
def test_recipes_are_plans_without_keys_or_pictures(
    name: str,
    rows: dict[str, int],
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    code, said = command("plan", str(root / "recipes" / f"{name}.yaml"), "--json", capsys=capsys)
    assert code == 0
    planned = json.loads(said)
    assert planned["rows"] == rows
    assert planned["pictures_wanted"] == ["synthesis.image_first.pictures"]
    assert planned["cost_usd"] > 0
    if name == "paper":
        assert set(planned["tasks"]) == set(TASK_MEANINGS)
        assert all(abs(share - 1 / 14) < 0.001 for share in planned["tasks"].values())
    assert list(tmp_path.iterdir()) == []


def test_the_first_dollar_is_a_plan_without_a_key(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    recipe = root / "recipes" / "first_dollar.yaml"
    read = load(recipe)
    rows = read.synthesis.text_to_image.count + read.synthesis.editing.count
    assert rows == 20
    assert read.synthesis.budget_usd == 2.0
    code, said = command("plan", str(recipe), "--json", capsys=capsys)
    assert code == 0
    planned = json.loads(said)
    assert 0 < planned["likely_usd"] < planned["cost_usd"] < 2.0
    assert planned["write_calls"] == planned["paint_calls"] == 30
    assert planned["seconds"] >= 60 * 30 / 5, "five pictures a minute"
    code, said = command("doctor", "--recipe", str(recipe), capsys=capsys)
    assert code == 4
    assert "OPENAI_API_KEY is not in the environment" in said


def test_a_model_without_a_price_is_told_the_line_to_fill_in(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(root / "recipes" / "first_dollar.yaml")
    changed = ["teachers.painter.model=gpt-image-2.6-flare", "teachers.painter.quality=null"]
    code, said = command("plan", recipe, *changed, capsys=capsys)
    assert code == 0
    line = "teachers.painter.price: {input: ?, image_input: ?, output: ?, picture: {any: ?}}"
    assert line in said
    filled = line.replace("?", "1.5").replace("price: ", "price=", 1)
    code, said = command("plan", recipe, *changed, filled, capsys=capsys)
    assert "unknown" not in said
    assert "?" not in said


def test_the_likely_price_is_what_it_cost_and_the_most_is_never_exceeded(
    serve: Serve, ask: Ask, tmp_path: Path
) -> None:
    server = serve()
    recipe = ask(server.url, 10, 10)
    staff = hire(recipe)
    planned = plan(recipe, staff.writer, staff.painter, staff.inspector)
    outcome = run(recipe, tmp_path, staff.writer, staff.painter, inspector=staff.inspector)
    calls = planned.write_calls + planned.paint_calls
    assert planned.cost_usd is not None
    assert outcome.spend.cost_usd / outcome.spend.calls <= planned.cost_usd / calls
    assert outcome.spend.cost_usd == pytest.approx(server.billed_usd)


def test_the_doctor_asks_each_teacher_once_and_hears_of_ends(
    serve: Serve, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str], wire: Any
) -> None:
    server = serve(shutdown={"brush-1": "2027-03-04"})
    path = tmp_path / "served.yaml"
    path.write_text(yaml.safe_dump(ask(server.url).model_dump(mode="json")))

    class Ready:
        async def write(self, request: WriteRequest) -> WriteReply:
            return WriteReply("ready", "x")

    server.writer = Ready()
    code, said = command("doctor", "--live", "--recipe", str(path), capsys=capsys)
    assert code == 0, said
    assert [asked.path for asked in server.asked] == [
        "/v1/chat/completions",
        "/v1/images/generations",
    ]
    assert "answers as scribe-1-2026-01-01, $0.000" in said
    assert "brush-1 is switched off on 2027-03-04, its server says" in said
    server.faults = lambda asked: wire.Fault("status", 401)
    code, said = command("doctor", "--live", "--recipe", str(path), capsys=capsys)
    assert code == 4
    assert "refuses the key in JANUS4O_TEST_KEY" in said
    code, said = command("doctor", "--live", capsys=capsys)
    assert code == 2


def test_the_doctor_and_the_plan_warn_of_ends(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"model": "gpt-image-1", "price": None, "seed": False}
    recipe = ask("http://127.0.0.1:9/v1", painter=gone).model_dump(mode="json")
    path = tmp_path / "gone.yaml"
    path.write_text(yaml.safe_dump(recipe))
    words = "gpt-image-1 was switched off on 2026-10-23; named instead: gpt-image-2.6-sunburst"
    for verb in (["doctor", "--recipe", str(path)], ["plan", str(path)]):
        code, said = command(*verb, capsys=capsys)
        assert code == 0, said
        assert words in said


def test_the_live_line_shows_spend_projection_and_refusals(
    serve: Serve, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, wire: Any,
) -> None:  # fmt: skip
    monkeypatch.setattr("janus4o.cli.console.PLAIN_FIRST", 0.0)
    monkeypatch.setattr("janus4o.cli.console.PLAIN_EVERY", 0.0)
    monkeypatch.setattr("janus4o.synth.runner.REPORT_SECONDS", 0.0)

    def fault(asked: Any) -> Any:
        return wire.Fault("refusal") if int(asked.fields.get("seed") or 0) % 4 == 0 else None

    server = serve(faults=fault)
    path = tmp_path / "served.yaml"
    data = {**ask(server.url, 12, 0).model_dump(mode="json"), "output": str(tmp_path / "run")}
    path.write_text(yaml.safe_dump(data))
    assert app.main(["synth", str(path)]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("synth: ")]
    shown = [re.search(r"(\d+)/12 rows .*spent \$([\d.]+) of about \$([\d.]+)", at) for at in lines]
    found = [(int(at[1]), float(at[2]), float(at[3])) for at in shown if at]
    assert found
    for done, spent, projected in found:
        assert projected == pytest.approx(spent / done * 12, abs=0.13)
    assert found[-1][1] == pytest.approx(server.billed_usd, abs=0.005)
    assert any("refused" in line for line in lines)


def test_what_may_be_billed_twice_is_said_and_listed(
    serve: Serve, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str], wire: Any
) -> None:
    lost: list[Any] = []

    def fault(asked: Any) -> Any:
        if asked.number in (3, 6):  # it was carried out, and half of the answer came
            lost.append(asked)
            return wire.Fault("truncate")
        return None

    server = serve(faults=fault)
    path = tmp_path / "served.yaml"
    recipe = ask(server.url, 4, 0, budget_usd=1.0).model_dump(mode="json")
    path.write_text(yaml.safe_dump({**recipe, "output": str(tmp_path / "run")}))
    assert app.main(["synth", str(path)]) == 0
    code, said = command("status", str(tmp_path / "run"), capsys=capsys)
    assert code == 0
    assert "2 calls were sent, brought no answer and may have been billed: at most $0." in said
    code, said = command("status", str(tmp_path / "run"), "--json", capsys=capsys)
    listed = json.loads(said)["maybe_billed"]
    assert len(listed) == len(lost) == 2
    assert {call["teacher"] for call in listed} <= {"scribe-1", "brush-1"}
    spend = json.loads(said)["spend"]
    most = spend["cost_usd"] + spend["uncertain_usd"]
    assert spend["cost_usd"] < server.billed_usd <= most
