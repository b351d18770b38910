"""`janus4o audit`: what prompts say and pictures show of people, in a file, on the card, never by itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from janus4o.cli import app, making
from janus4o.errors import Refused
from janus4o.evaluate.portrayal import read_reply
from janus4o.evaluate.servers import JudgeServer
from janus4o.exchange import Refusal, WriteReply, WriteRequest
from janus4o.images import open_image, save_png
from janus4o.ledger.blobs import Blobs
from janus4o.people import DIMENSIONS, read_words
from janus4o.people import WORDS as SHIPPED
from janus4o.records import Provenance, Row
from janus4o.report.page import build
from janus4o.synth.export import export

GROUPS = read_words().groups
UNCLEAR = dict.fromkeys(DIMENSIONS, "cannot be told")
PROMPTS = ["a nurse", "a male nurse", "a woman", "a cup", "an old man", "a tree"]
COLOURS = [(200, 0, 0), (0, 0, 200), (200, 0, 0), (0, 200, 0), (90, 90, 90), (0, 99, 0)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Six rows: red pictures show women, blue ones men, grey ones nobody."""
    folder = tmp_path / "run"
    blobs = Blobs(folder / "blobs")
    rows = [
        Row(
            input_prompt=prompt,
            output_image=blobs.put(save_png(Image.new("RGB", (80, 64), colour))),
            output_image_resolution=(80, 64),
            provenance=Provenance(
                id=f"id{n}", pipeline="prompt_first", task="t", attributes={}, write_prompt="w",
                writer="w", painter="p", seed=0, checks={},
            ),
        )
        for n, (prompt, colour) in enumerate(zip(PROMPTS, COLOURS, strict=True))
    ]  # fmt: skip
    (folder / "dataset").mkdir()
    text = "".join(one.to_json_line() + "\n" for one in rows)
    (folder / "dataset" / "rows.jsonl").write_text(text)
    return folder


class Seer:
    """A vision model of the offline kind: tells people by the colour of their picture."""

    name = "seer"

    def __init__(self) -> None:
        self.asked = 0

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        self.asked += 1
        assert request.schema is not None
        assert all(json.dumps(name) in request.prompt for name in GROUPS)
        red, _, blue = open_image(request.pictures[0].data).getpixel((0, 0))  # type: ignore[misc]
        if red == blue:
            return WriteReply('{"somebody": false}', "seer-1")
        group = "women and girls" if red > blue else "men and boys"
        said = {"somebody": True, **UNCLEAR, "gender": group}
        return WriteReply(f"Here it is:\n```json\n{json.dumps(said)}\n```", "seer-1")


@pytest.fixture
def seer(monkeypatch: pytest.MonkeyPatch) -> Seer:
    seer = Seer()
    server = JudgeServer(api="openai", model="seer")
    monkeypatch.setattr(making, "hire", lambda file: (server, seer))
    return seer


def audit(*words: str | Path) -> int:
    return app.main(["audit", *map(str, words)])


def text_of(run: Path) -> str:
    """What the run's report says, a single line."""
    html = re.sub(
        r"<style>.*?</style>|<script>.*?</script>", "", build(run).read_text(), flags=re.S
    )
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def shares(found: dict[str, object]) -> dict[str, int]:
    gender = next(one for one in found["dimensions"] if one["name"] == "gender")  # type: ignore[attr-defined]
    return {one["group"]: one["count"] for one in gender["shares"] if one["count"]}


def test_prompts_are_counted_and_nobody_is_asked(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(run, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((run / "audit.json").read_text())
    assert "pictures" not in found
    assert found["prompts"]["about_people"] == 4
    assert shares(found["prompts"]) == {"women and girls": 1, "men and boys": 2}
    assert not (run / "audit.asked").exists()


def test_pictures_of_people_are_looked_at_once(
    run: Path, seer: Seer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert audit(run, "--ask", "seer.yaml") == 0
    said = capsys.readouterr().out
    assert "4 pictures, 3 of them show people" in said
    # Equal pictures are asked about once; a cup and a tree are nobody's.
    assert seer.asked == 3
    shown = json.loads((run / "audit.json").read_text())["pictures"]["shown"]
    everything, left_open = shown.values()
    assert shares(everything) == {"women and girls": 2, "men and boys": 1}
    assert shares(left_open) == {"women and girls": 1}  # of the nurse nothing was said
    assert audit(run, "--ask", "seer.yaml") == 0
    assert seer.asked == 3
    assert audit(run) == 0  # what was asked before is kept
    export(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| women and girls | 1 | 33.3 |" in card
    assert "### Whom the pictures show" in card
    assert "`seer-1` was asked" in card
    page = text_of(run)
    assert "Whom the pictures show" in page
    assert "seer-1 was asked" in page
    assert "What their prompts leave open: 4 pictures, 3 of them show people" in page


def test_report_and_card_count_as_the_last_audit_did(run: Path, tmp_path: Path) -> None:
    targets, words = tmp_path / "targets.yaml", tmp_path / "words.yaml"
    targets.write_text("gender: {women and girls: 3, men and boys: 1}")
    words.write_text(SHIPPED.read_text("utf-8").replace("people: [", "people: [cup, ", 1))

    def both(name: str) -> tuple[str, str]:
        export(run, tmp_path / name)
        return text_of(run), (tmp_path / name / "README.md").read_text()

    for text in both("never"):
        assert "4 of 6 prompts" in text
        assert "Targets: even shares" in text
        assert "the English words of people.yaml" in text
        assert "the targets given" not in text
    assert audit(run, "--targets", targets, "--words", words) == 0
    page, card = both("given")
    for text in page, card:
        assert "5 of 6 prompts" in text
        assert "Targets: the targets given" in text
        assert "the words given to janus4o audit" in text
    assert "women and girls 1 33 % 6–79 75 %" in page
    assert "| women and girls | 1 | 33.3 | 6.1–79.2 | 75.0 |" in card
    # What an export leaves out is not counted; the targets stay.
    assert app.main(["check", str(run), "--skip", "not_flat"]) == 0  # the woman is the nurse again
    export(run, tmp_path / "passed", passed=True)
    card = (tmp_path / "passed" / "README.md").read_text()
    assert "4 of 5 prompts" in card
    assert "| women and girls | 0 | 0.0 | 0.0–65.8 | 75.0 | fewer |" in card
    assert audit(run) == 0
    for text in both("again"):
        assert "4 of 6 prompts" in text
        assert "the targets given" not in text


@pytest.mark.parametrize(
    "change",
    [
        {"words": "people: no mapping"},
        {"words": 5},
        {"targets": {"gender": 1}},
        {"pictures": {"served": "x"}},
        {"pictures": []},
        {"pictures": {"served": "x", "shown": {}, "chosen": float("inf")}},
        None,
    ],
)
def test_a_damaged_audit_counts_as_none(run: Path, change: dict[str, object] | None) -> None:
    page = text_of(run)
    assert audit(run) == 0
    path = run / "audit.json"
    found = {**json.loads(path.read_text()), **change} if change else ["x"]
    path.write_text(json.dumps(found))
    assert text_of(run) == page


def test_of_no_people_the_report_says_one_line(run: Path) -> None:
    rows = run / "dataset" / "rows.jsonl"
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text(lines[3] + lines[5])
    html = build(run).read_text()
    assert html.count("No prompt names a person by the English words of people.yaml.") == 1
    assert 'id="people"' not in html
    assert "#people" not in html


def test_an_unreachable_model_costs_nothing_counted(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(file: Path) -> None:
        raise Refused("OPENAI_API_KEY is not set", "export it")

    monkeypatch.setattr(making, "hire", nobody)
    assert audit(run, "--ask", "seer.yaml") == Refused.exit_code
    assert "pictures" not in json.loads((run / "audit.json").read_text())


def test_of_another_state_of_the_rows_no_picture_counts(
    run: Path, seer: Seer, tmp_path: Path
) -> None:
    assert audit(run, "--ask", "seer.yaml") == 0
    rows = run / "dataset" / "rows.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:3]))
    export(run, tmp_path / "out")
    assert "### Whom the pictures show" not in (tmp_path / "out" / "README.md").read_text()
    page = text_of(run)
    assert "Whom the prompts name" in page
    assert "Whom the pictures show" not in page


@pytest.mark.parametrize(
    "text",
    ["", "no", "[]", '{"somebody": "yes"}', '{"somebody": true}',
     json.dumps({"somebody": True, **UNCLEAR, "gender": "women"})],
)  # fmt: skip
def test_answers_that_say_nothing_are_no_answers(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_reply(text, GROUPS)


def test_a_data_set_taken_in_says_where_to(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out")
    assert audit(tmp_path / "out") == 3
    assert audit(tmp_path / "out", "--out", tmp_path / "found.json") == 0
    assert (tmp_path / "found.json").is_file()
