"""`janus4o eval` with the real client: a loopback server is the judge, the VQA network, the painter."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from PIL import Image

from janus4o.cli.app import main
from janus4o.evaluate.dpg.tiles import make_grid
from janus4o.evaluate.geneval.prompts import read_folder
from janus4o.evaluate.imgedit.edits import SCORE_NAMES
from janus4o.exchange import Refusal, WriteReply, WriteRequest
from janus4o.images import open_image, read_metadata

Serve = Callable[..., Any]
PRICE = {"input": 2.0, "image_input": 4.0, "output": 10.0, "picture": {"any": 0.01}}
CSV = "item_id,proposition_id,dependency,tuple,question_natural_language\n" + "".join(
    f'{item},{n},0,"entity - whole (x)",Is {item} {n} red?\n' for item in "ab" for n in (1, 2)
)


class RedSeer:
    """Says yes where the first pixel is red; judges edits with fours."""

    name = "scribe-1"

    def __init__(self) -> None:
        self.reply: Callable[[WriteRequest], str] = self._look

    def _look(self, request: WriteRequest) -> str:
        if request.prompt.startswith("Judge"):
            kind = request.prompt.split()[1].rstrip(":")
            return "\n".join(f"{name}: 4" for name in SCORE_NAMES[kind])
        assert "Question: Is" in request.prompt
        red, _, _ = open_image(request.pictures[0].data).getpixel((0, 0))  # type: ignore[misc]
        return "Yes." if red > 128 else "no"

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        return WriteReply(self.reply(request), self.name)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("janus4o.ledger.calling.FIRST_PAUSE", 0.01)


@pytest.fixture
def dpg(tmp_path: Path, canary: str) -> Callable[..., list[str]]:
    """The command line that asks about two grids, eight pictures in all."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for item, colours in (("a", ["red"] * 4), ("b", ["red", "blue", "green", "red"])):
        make_grid([Image.new("RGB", (8, 8), c) for c in colours]).save(folder / f"{item}.png")
    (tmp_path / "q.csv").write_text(CSV)

    def command(url: str, **more: Any) -> list[str]:
        server = {"api": "openai", "model": "scribe-1", "base_url": url, "timeout": 5.0}
        server |= {"key": "JANUS4O_TEST_KEY", "price": PRICE, "max_output_tokens": 16, **more}
        (tmp_path / "judge.yaml").write_text(yaml.safe_dump(server))
        return [
            "eval", "dpg", "--questions", str(tmp_path / "q.csv"), "--images", str(folder),
            "--ask", str(tmp_path / "judge.yaml"), "--out", str(tmp_path / "out" / "answers.json"),
            "--mode", "fixed", "--json",
        ]  # fmt: skip

    return command


def test_answers_are_asked_for_once_and_scored(
    serve: Serve, dpg: Any, tmp_path: Path, capsys: Any
) -> None:
    server = serve(writer=RedSeer())
    assert main(dpg(server.url)) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["scores"]["overall"]["score"] == 75.0
    assert (score["n"], score["unscored"]) == (2, 0)
    assert score["networks"] == {"vqa": "scribe-1-2026-01-01"}
    assert "not comparable" in score["caveat"]
    assert score["about"]["asked"]["asked_for"] == "scribe-1"
    assert score["about"]["asked"]["cost_usd"] == pytest.approx(server.billed_usd, abs=1e-6)
    # Two questions about tiles that look alike are different questions: one picture, one answer each.
    asked = len(server.asked)
    assert main(dpg(server.url)) == 0
    assert len(server.asked) == asked, "a re-run asked again"
    assert json.loads(capsys.readouterr().out)["scores"] == score["scores"]
    out = tmp_path / "out"
    assert (out / "answers.score.json").is_file()
    before = (out / "answers.json").read_bytes()
    again = ["eval", "dpg", "--questions", str(tmp_path / "q.csv"), "--mode", "fixed", "--json"]
    assert main([*again, "--answers", str(out / "answers.json")]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] == {"vqa": "scribe-1-2026-01-01"}
    assert (out / "answers.json").read_bytes() == before
    assert len(server.asked) == asked, "scoring asked somebody"


def test_only_what_failed_is_asked_again(
    serve: Serve, dpg: Any, wire: ModuleType, capsys: Any
) -> None:
    broken = True

    def faults(asked: Any) -> Any:
        prompt = str(asked.fields["messages"][0]["content"])
        return wire.Fault("garbage") if broken and "Is b 2" in prompt else None

    server = serve(writer=RedSeer(), faults=faults)
    assert main(dpg(server.url)) == 0
    captured = capsys.readouterr()
    score = json.loads(captured.out)
    assert (score["n"], score["scores"]["overall"]["score"]) == (1, 100.0)
    assert score["unscored"] == 1
    assert "b.png tile 1 question 2: no answer" in captured.err
    broken, asked = False, len(server.asked)
    assert main(dpg(server.url)) == 0
    prompts = [str(one.fields["messages"][0]["content"]) for one in server.asked[asked:]]
    assert prompts
    assert all("Is b 2" in prompt for prompt in prompts)
    assert json.loads(capsys.readouterr().out)["scores"]["overall"]["score"] == 75.0


@pytest.mark.parametrize("fault", ["reset", "truncate", "html", "none", "two", "filter"])
def test_no_fault_of_a_server_is_a_score(
    serve: Serve, dpg: Any, wire: ModuleType, fault: str, capsys: Any
) -> None:
    def faults(asked: Any) -> Any:
        return wire.Fault(fault) if "Is b" in str(asked.fields["messages"]) else None

    assert main(dpg(serve(writer=RedSeer(), faults=faults).url)) == 0
    score = json.loads(capsys.readouterr().out)
    assert (score["n"], score["unscored"]) == (1, 1)
    assert score["scores"]["overall"]["score"] == 100.0


def test_money_is_a_hard_limit(serve: Serve, dpg: Any, capsys: Any) -> None:
    calm = serve(writer=RedSeer())
    assert main(dpg(calm.url)) == 0
    capsys.readouterr()
    server = serve(writer=RedSeer())
    ledger = ["--ledger", "other"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(dpg("x")[5]).parent)
        half = calm.billed_usd / 2 + 0.005
        for _ in range(2):
            assert main(dpg(server.url, budget_usd=half) + ledger) == 5
            assert "over the budget" in capsys.readouterr().err
            assert 0 < server.billed_usd <= half
        assert main(dpg(server.url, budget_usd=1.0) + ledger) == 0
    assert server.billed_usd == pytest.approx(calm.billed_usd)


def test_an_unknown_price_under_a_budget_is_refused_before_a_call(
    serve: Serve, dpg: Any, capsys: Any
) -> None:
    server = serve(writer=RedSeer())
    assert main(dpg(server.url, budget_usd=1.0, price=None)) == 4
    assert "price" in capsys.readouterr().err
    assert server.asked == []


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        ({"kind": "status", "status": 401}, 4, "refuses the key"),
        ({"kind": "status", "status": 404, "code": "model_not_found"}, 4, "not served"),
        ({"kind": "status", "status": 429, "code": "insufficient_quota"}, 5, "empty"),
        ({"kind": "drift"}, 4, "answers as 'other-9'"),
    ],
)
def test_what_cannot_succeed_ends_the_run(
    serve: Serve, dpg: Any, wire: ModuleType, fault: Any, code: int, said: str, capsys: Any,
    canary: str,
) -> None:  # fmt: skip
    calls = 0

    def faults(asked: Any) -> Any:
        nonlocal calls
        calls += 1
        return wire.Fault(**fault) if calls > 4 else None

    server = serve(writer=RedSeer(), faults=faults)
    assert main(dpg(server.url, concurrency=2)) == code
    error = capsys.readouterr().err
    assert said in error
    assert canary not in error
    assert len(server.asked) <= 6
    server.faults = lambda asked: None
    assert main(dpg(server.url)) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["overall"]["score"] == 75.0


def test_the_servers_limits_are_kept(serve: Serve, dpg: Any, wire: ModuleType, capsys: Any) -> None:
    said = iter(["1", "1"])

    def faults(asked: Any) -> Any:
        wait = next(said, None)
        return wire.Fault("status", 429, "rate_limit_exceeded", retry_after=wait) if wait else None

    server = serve(writer=RedSeer(), faults=faults)
    assert main(dpg(server.url, concurrency=1)) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["overall"]["score"] == 75.0
    assert server.early == 0


def test_a_kill_loses_no_answer_and_lists_what_it_may_have_cost(
    serve: Serve, dpg: Any, wire: ModuleType, capsys: Any
) -> None:
    server = serve(writer=RedSeer(), faults=lambda asked: wire.Fault(delay=0.1))
    command = dpg(server.url, concurrency=2)
    pid = os.fork()
    if pid == 0:
        try:
            main(command)
        finally:
            os._exit(0)
    deadline = time.monotonic() + 30
    while len(server.asked) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    before = len(server.asked)
    assert main(command) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["scores"]["overall"]["score"] == 75.0
    distinct = 2 + 2 * 3  # of item a all tiles look alike; of item b two do
    assert distinct <= len(server.asked) <= distinct + 2
    assert before < distinct
    assert score["about"]["asked"]["maybe_billed"] >= len(server.asked) - distinct


def test_the_judge_of_edits_is_asked(
    serve: Serve, canary: str, tmp_path: Path, capsys: Any
) -> None:
    edits = {
        "1": {"id": "animal/1.jpg", "prompt": "add a hat", "edit_type": "add"},
        "2": {"id": "animal/1.jpg", "prompt": "paint it", "edit_type": "style"},
        "3": {"id": "animal/1.jpg", "prompt": "no picture", "edit_type": "style"},
    }
    (tmp_path / "edits.json").write_text(json.dumps(edits))
    prompts = {kind: f"Judge {kind}: <edit_prompt>" for kind in SCORE_NAMES}
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    (tmp_path / "sources" / "animal").mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "sources" / "animal" / "1.jpg")
    (tmp_path / "made").mkdir()
    for key in "12":
        Image.new("RGB", (8, 8), "blue").save(tmp_path / "made" / f"{key}.png")
    server = serve(writer=RedSeer())
    judge = {"api": "openai", "model": "scribe-1", "base_url": server.url}
    (tmp_path / "judge.yaml").write_text(yaml.safe_dump({**judge, "key": "JANUS4O_TEST_KEY"}))
    command = [
        "eval", "imgedit", "--types", str(tmp_path / "edits.json"),
        "--images", str(tmp_path / "made"), "--sources", str(tmp_path / "sources"),
        "--prompts", str(tmp_path / "prompts.json"), "--ask", str(tmp_path / "judge.yaml"),
        "--out", str(tmp_path / "replies.jsonl"), "--json",
    ]  # fmt: skip
    for _ in range(2):
        assert main(command) == 0
        score = json.loads(capsys.readouterr().out)
        assert score["scores"]["macro"]["score"] == 4.0
        assert (score["n"], score["unscored"], score["prompt_set"]["n"]) == (2, 1, 3)
        assert score["networks"] == {"judge": "scribe-1-2026-01-01"}
        assert any(p["where"] == "3" for p in score["problems"])
    assert len(server.asked) == 2
    assert main([*command[:-1], "--sources", str(tmp_path / "nowhere")]) == 3


PROMPTS = [
    {"tag": "colors", "include": [{"class": "dog", "count": 1}], "prompt": "a red circle"},
    {"tag": "colors", "include": [{"class": "cat", "count": 1}], "prompt": "a blue star"},
    {"tag": "colors", "include": [{"class": "cat", "count": 1}], "prompt": "nothing it can paint"},
]


def test_a_server_fills_the_official_folder(
    serve: Serve, canary: str, wire: ModuleType, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(p) + "\n" for p in PROMPTS))
    broken = True

    def faults(asked: Any) -> Any:
        return wire.Fault("garbage") if broken and "star" in asked.fields["prompt"] else None

    server = serve(faults=faults)
    painter = {"api": "openai", "model": "brush-1", "base_url": server.url, "seed": True}
    painter |= {"key": "JANUS4O_TEST_KEY", "size": [64, 64], "price": PRICE, "budget_usd": 5.0}
    (tmp_path / "painter.yaml").write_text(yaml.safe_dump(painter))
    folder = tmp_path / "made"
    command = ["eval", "geneval", "--make", str(folder), "--server", str(tmp_path / "painter.yaml")]
    command += ["--prompts", str(tmp_path / "prompts.jsonl"), "-n", "2", "--seed", "7"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "2 of 6 pictures" in captured.out
    assert "00001/0000: no answer" in captured.err
    assert "00002/0000: refused" in captured.err
    broken, asked = False, len(server.asked)
    assert main(command) == 0
    assert "4 of 6 pictures" in capsys.readouterr().out
    assert {one.fields["prompt"] for one in server.asked[asked:]} == {"a blue star"}
    samples, problems = read_folder(folder)
    assert [sample.id for sample in samples] == [
        "00000/0000",
        "00000/0001",
        "00001/0000",
        "00001/0001",
    ]
    assert [problem.where for problem in problems] == ["00002"]
    facts = read_metadata(samples[1].path)
    assert (facts["prompt"], facts["seed"], facts["model"]) == ("a red circle", "8", "brush-1")
    made = json.loads((tmp_path / "made.made.json").read_text())
    assert (made["model"], made["size"], made["seed"]) == ("brush-1", [64, 64], 7)
    # Pictures of another seed would be another experiment.
    assert main([*command[:-1], "8"]) == 3
    assert "another seed" in capsys.readouterr().err


def test_our_own_model_fills_the_official_folders(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("torch")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(p) + "\n" for p in PROMPTS[:2]))
    command = ["eval", "geneval", "--make", str(tmp_path / "g"), "--model", "sketch-base"]
    command += ["--prompts", str(tmp_path / "prompts.jsonl"), "-n", "1", "--guidance", "2"]
    assert main(command) == 0
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "g").rglob("*.png")}
    assert len(made) == 2
    next(iter(made)).unlink()
    assert main(command) == 0
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "g").rglob("*.png")}
    assert sum(after[path] == stamp for path, stamp in made.items()) == 1

    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "whoops1.txt").write_text("a red\ncircle\n")
    dpg = ["eval", "dpg", "--make", str(tmp_path / "d"), "--prompts", str(tmp_path / "texts")]
    assert main([*dpg, "--model", "sketch-base", "--grids", str(tmp_path / "grids")]) == 0
    sizes = open_image(tmp_path / "d" / "whoops1" / "3.png").size
    assert open_image(tmp_path / "grids" / "whoops1.png").size == (2 * sizes[0], 2 * sizes[1])

    source = next(iter(after))
    edits = {"1": {"id": source.name, "prompt": "make it blue", "edit_type": "adjust"}}
    (tmp_path / "edits.json").write_text(json.dumps(edits))
    edit = ["eval", "imgedit", "--make", str(tmp_path / "e"), "--model", "sketch-base"]
    edit += ["--types", str(tmp_path / "edits.json"), "--sources", str(source.parent)]
    assert main(edit) == 0
    assert read_metadata(tmp_path / "e" / "1.png")["prompt"] == "make it blue"
    about = json.loads((tmp_path / "e.made.json").read_text())
    assert about["model"] == "sketch-base"
    assert "semantic_weight" in about
    assert main([*edit, "--server", "x.yaml"]) == 2
