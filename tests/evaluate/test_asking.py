"""Vision models as VQA and judge: what they say is kept, read with care, and never asked twice."""

import asyncio
import json
from dataclasses import replace

import pytest
from PIL import Image

from janus4o.cli.app import main
from janus4o.errors import DataError, Refused
from janus4o.evaluate.asking import Question, as_picture, ask
from janus4o.evaluate.dpg.mode import Mode
from janus4o.evaluate.dpg.questions import read_questions
from janus4o.evaluate.dpg.scoring import score_run
from janus4o.evaluate.dpg.tiles import find_pictures, make_grid
from janus4o.evaluate.dpg.vqa import collect_answers, read_answer
from janus4o.evaluate.imgedit.edits import SCORE_NAMES, read_edits
from janus4o.evaluate.imgedit.edits import find_pictures as find_edits
from janus4o.evaluate.imgedit.judging import collect_replies, read_judge_prompts
from janus4o.exchange import (
    PaintReply,
    PaintRequest,
    Refusal,
    Unanswered,
    WriteReply,
    WriteRequest,
)
from janus4o.images import open_image
from janus4o.ledger.jobs import Job, Manner, call_all


class Scripted:
    """A writer that says what `say` says, and remembers what it was asked."""

    name = "scripted"

    def __init__(self, say):
        self.say = say
        self.requests = []
        self.running = self.most = 0

    async def write(self, request):
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        said = self.say(request)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, Refusal):
            return said
        return WriteReply(said, "scripted-2026-01-01")


class Easel:
    """A painter that paints white, or fails, and remembers what it was asked."""

    name = "easel"
    max_categories = 4

    def __init__(self, failure=None):
        self.failure = failure
        self.requests = []
        self.running = self.most = 0

    async def paint(self, request):
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        if self.failure is not None:
            raise self.failure
        return PaintReply(as_picture(Image.new("RGB", request.size, "white")), "easel-1")


def questions(*texts):
    picture = as_picture(Image.new("RGB", (4, 4), "red"))
    return [Question(text, WriteRequest(text, (picture,))) for text in texts]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("janus4o.ledger.calling.FIRST_PAUSE", 0.001)


def test_only_what_has_no_answer_is_asked_again(tmp_path):
    ledger = tmp_path / "deep" / "asked"
    fails = {"b"}
    writer = Scripted(lambda r: TimeoutError("slow") if r.prompt in fails else f"said {r.prompt}")
    asked = ask(writer, questions("a", "b", "c"), ledger)
    assert {key: one.text for key, one in asked.answers.items()} == {"a": "said a", "c": "said c"}
    assert asked.answers["a"].model == "scripted-2026-01-01"
    assert [(p.where, p.what) for p in asked.problems] == [("b", "no answer: TimeoutError: slow")]
    assert asked.spend.errors == 3  # of unknown price: each may have been billed
    fails.clear()
    writer.requests.clear()
    asked = ask(writer, questions("a", "b", "c"), ledger)
    assert [request.prompt for request in writer.requests] == ["b"]
    assert len(asked.answers) == 3
    assert not asked.problems


def test_a_refusal_is_an_answer(tmp_path):
    writer = Scripted(lambda r: Refusal("moderation", "not this one", "m"))
    for _ in range(2):
        asked = ask(writer, questions("a"), tmp_path / "asked")
        assert asked.answers == {}
        assert "moderation: not this one" in asked.problems[0].what
    assert len(writer.requests) == 1


def test_another_picture_model_or_text_is_another_question(tmp_path):
    ledger, writer = tmp_path / "asked", Scripted(lambda r: "x")
    ask(writer, questions("a"), ledger)
    other = as_picture(Image.new("RGB", (4, 4), "blue"))
    ask(writer, [Question("a", WriteRequest("a", (other,)))], ledger)
    writer.name = "another"
    ask(writer, questions("a"), ledger)
    assert len(writer.requests) == 3


def test_equal_questions_are_asked_once(tmp_path):
    writer = Scripted(lambda r: "x")
    twice = questions("a", "a", "b", "a")
    asked = ask(writer, [replace(q, id=str(n)) for n, q in enumerate(twice)], tmp_path / "asked")
    assert sorted(asked.answers) == ["0", "1", "2", "3"]
    assert len(writer.requests) == 2


@pytest.mark.parametrize("n", [3, 5])
def test_equal_pictures_are_painted_one_after_the_other(n, tmp_path):
    """A benchmark may have a prompt more than once: each has a picture of its own."""
    painter, kept, ends = Easel(), [], []

    def keep(reply):
        kept.append(reply.model)
        return str(len(kept))

    jobs = [Job(str(i), PaintRequest("a", (), (8, 8), 7), keep) for i in range(n)]
    spend = call_all(painter, iter(jobs), tmp_path, Manner(), lambda job, end: ends.append(end))
    assert [end.status for end in ends] == ["ok"] * n
    assert sorted(end.blob for end in ends) == [str(i + 1) for i in range(n)]
    assert painter.most == 1
    assert spend.calls == n


@pytest.mark.parametrize("paints", [False, True])
def test_who_waits_for_its_like_when_the_run_is_stopped_is_not_asked_and_not_listed(
    paints, tmp_path
):
    stop = Unanswered("401", stop=Refused("wrong key", "set it"))
    teacher, ends = (Easel(stop) if paints else Scripted(lambda r: stop)), []
    asked = PaintRequest("a", (), (8, 8), 7) if paints else WriteRequest("a")
    jobs = [Job(str(i), asked, (lambda reply: "") if paints else None) for i in range(3)]
    with pytest.raises(Refused, match="wrong key"):
        call_all(teacher, iter(jobs), tmp_path, Manner(), lambda job, end: ends.append(end))
    assert ends == []
    assert len(teacher.requests) == 1


def test_a_wrong_key_ends_the_run_and_keeps_what_was_said(tmp_path):
    stop = Refused("wrong key", "set it")
    writer = Scripted(lambda r: "x" if r.prompt == "a" else Unanswered("401", stop=stop))
    for _ in range(2):
        with pytest.raises(Refused, match="wrong key"):
            ask(writer, questions("a", "b"), tmp_path / "asked", Manner(concurrency=1))
    assert [request.prompt for request in writer.requests] == ["a", "b", "b"]


def test_no_more_than_allowed_are_under_way(tmp_path):
    writer = Scripted(lambda r: "x")
    ask(writer, questions(*"abcdefghij"), tmp_path / "asked", Manner(concurrency=3))
    assert writer.most == 3


def test_pictures_are_made_when_their_turn_comes(tmp_path):
    """A benchmark's pictures do not fit into memory: no more are open than calls in flight."""
    writer, opened, most = Scripted(lambda r: "x"), 0, 0

    def lazily():
        nonlocal opened, most
        for question in questions(*map(str, range(50))):
            opened += 1
            most = max(most, opened - len(writer.requests))
            yield question

    ask(writer, lazily(), tmp_path / "asked", Manner(concurrency=4))
    assert opened == 50
    assert most <= 5


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("yes", "yes"),
        ("Yes.", "yes"),
        ("**No**", "no"),
        (" no, there is a cat", "no"),
        ("Answer: yes", "yes"),
        ("The answer is no.", "no"),
        ("YES\nbecause", "yes"),
        ("", None),
        ("Nothing", None),
        ("yesterday", None),
        ("There is no dog, so yes", None),
        ("是", None),
        ("I cannot see the picture", None),
    ],
)
def test_an_answer_is_yes_or_no_or_nothing(text, read):
    assert read_answer(text) == read


def rows():
    common = {"dependency": "0", "tuple": "entity - whole (x)"}
    return [
        {**common, "item_id": i, "proposition_id": str(n), "question_natural_language": f"{i}{n}?"}
        for i in ("a", "b")
        for n in (1, 2)
    ]


def test_every_question_is_asked_about_every_tile(tmp_path):
    colours = ("red", "green", "blue", "white")
    folder = tmp_path / "pictures"
    folder.mkdir()
    tiles = [Image.new("RGB", (8, 8), colour) for colour in colours]
    make_grid(tiles).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"broken")
    asked = read_questions(rows(), Mode.FIXED)
    sources, _ = find_pictures(folder, asked.items)

    def say(request):
        is_red = open_image(request.pictures[0].data).getpixel((0, 0)) == (255, 0, 0)
        if "a2?" in request.prompt and not is_red:
            return "Difficult to say."
        return "Yes." if is_red else "No."

    writer = Scripted(say)
    found = collect_answers(sources, asked, 4, writer, tmp_path / "asked")
    stored, problems = found.answers, found.problems
    assert found.models == "scripted-2026-01-01"
    assert len(writer.requests) == 8
    assert stored == {"a.png": [{"a1?": "yes", "a2?": "yes"}, *[{"a1?": "no"}] * 3], "b.png": []}
    assert problems[0].where == "b.png"
    assert len(problems) == 4
    assert "neither yes nor no: 'Difficult to say.'" in problems[1].what
    # Two tiles would do; the second one lacks an answer, so the picture is listed, not scored low.
    run = score_run(rows(), list(stored), stored, 1, Mode.FIXED)
    assert run.score == 100.0
    run = score_run(rows(), list(stored), stored, 2, Mode.FIXED)
    assert run.score is None
    assert "a.png" in run.failed


@pytest.fixture
def suite(tmp_path):
    """Two edits of one source, their pictures, and prompts of our own."""
    edits = {
        "1": {"id": "animal/1.jpg", "prompt": "add a hat", "edit_type": "add"},
        "2": {"id": "animal/1.jpg", "prompt": "paint it", "edit_type": "style"},
        "3": {"id": "../../secret.jpg", "prompt": "add", "edit_type": "add"},
        "4": {"id": "animal/none.jpg", "prompt": "add", "edit_type": "add"},
    }
    (tmp_path / "edits.json").write_text(json.dumps(edits))
    prompts = {kind: f"Judge {kind}: <edit_prompt>" for kind in SCORE_NAMES}
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    (tmp_path / "sources" / "animal").mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(tmp_path / "sources" / "animal" / "1.jpg")
    (tmp_path / "made").mkdir()
    for key in edits:
        Image.new("RGB", (4, 4), "blue").save(tmp_path / "made" / f"{key}.png")
    return tmp_path


def test_the_judge_sees_both_pictures_and_its_replies_are_scored(suite, capsys):
    edits, _ = read_edits(suite / "edits.json")
    pictures, _ = find_edits(suite / "made", edits)
    prompts = read_judge_prompts(suite / "prompts.json")

    def say(request):
        kind = request.prompt.split()[1].rstrip(":")
        return "\n".join(f"{name}: 4" for name in SCORE_NAMES[kind])

    judge = Scripted(say)
    found = collect_replies(edits, pictures, suite / "sources", prompts, judge, suite / "asked")
    lines, problems = found.lines, found.problems
    assert sorted(request.prompt for request in judge.requests) == [
        "Judge add: add a hat",
        "Judge style: paint it",
    ]
    for request in judge.requests:
        assert [one.media_type for one in request.pictures] == ["image/jpeg", "image/png"]
    assert {p.where for p in problems} == {"3", "4"}
    assert any("outside" in p.what for p in problems)
    (suite / "replies.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["eval", "imgedit", "--replies", str(suite / "replies.jsonl"), "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert (score["n"], score["unscored"]) == (2, 2)
    assert score["networks"] == {"judge": "scripted-2026-01-01"}
    assert score["scores"]["macro"]["score"] == 4.0


def test_prompts_of_another_suite_are_refused(suite):
    path = suite / "prompts.json"
    prompts = json.loads(path.read_text())
    path.write_text(json.dumps({**prompts, "add": "no place"}))
    with pytest.raises(DataError, match="<edit_prompt>"):
        read_judge_prompts(path)
    del prompts["style"]
    path.write_text(json.dumps(prompts))
    with pytest.raises(DataError, match="style"):
        read_judge_prompts(path)
