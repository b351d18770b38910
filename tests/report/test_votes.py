"""The suite's table and the arena's votes, on the run's page and on the board."""

import json

import pytest

from janus4o.cli.app import main
from janus4o.errors import DataError
from janus4o.report.board import write_board
from janus4o.report.page import build
from janus4o.report.suite import suite_rows
from janus4o.report.votes import read_arena

EVIL = "<script>alert(1)</script>"


def part(score):
    return {"score": score, "low": score - 0.1, "high": score + 0.1}


def votes(scripted="", problems=()):
    rater = {"votes": 9, "scripted": scripted, "follows": {"repeats": 2, "repeated_alike": 1}}
    pair = {"system": EVIL, "against": "tuned", "votes": 9, "items": 7, "p_value": 0.0123}
    pair |= {"win": part(0.2), "tie": part(0.3), "lose": part(0.5)}
    question = {"question": "follows the instruction", "pairs": [pair], "strengths": None}
    question["agreement"] = {"alpha": 0.4, "same": 0.75, "matches": 3, "votes": 9}
    return {
        "systems": [EVIL, "tuned"], "prompt_set": {"name": "the user's own", "n": 7}, "n": 18,
        "questions": {"follows": question}, "raters": {EVIL: rater, "ann": {**rater, "scripted": ""}},
        "problems": [{"where": "votes.jsonl line 3", "what": EVIL} for _ in problems],
    }  # fmt: skip


def suite():
    against = {"difference": 0.5, "low": 0.4, "high": 0.6, "p_value": 0.001}
    model = {**part(0.25), "n": 24, "unscored": 0, "against": None}
    rows = [
        {"name": name, "benchmark": benchmark, "scale": scale, "unit": unit,
         "models": {"base": model, "tuned": {**model, "score": 0.75, "unscored": 3, "against": against}}}
        for name, benchmark, scale, unit in (
            ("geneval", "GenEval", [0, 1], "pictures"), ("dpg", "DPG-Bench", [0, 100], "pictures"),
            ("imgedit", "ImgEdit-Bench Basic", [1, 5], "edits"),
        )
    ]  # fmt: skip
    return {"rows": rows}


@pytest.fixture
def finished(run_folder):
    (run_folder / "scores/suite").mkdir()
    (run_folder / "scores/suite/suite.json").write_text(json.dumps(suite()))
    (run_folder / "arena").mkdir()
    (run_folder / "arena/report.json").write_text(json.dumps(votes("a rule", [1])))
    return run_folder


def test_one_table_holds_all_three_benchmarks(finished):
    html = build(finished).read_text("utf-8")
    table = html[html.index('id="suite"') : html.index('id="votes"')]
    for said in ("GenEval-style", "DPG-style", "ImgEdit-style", "0.750", "+0.500", "3 not scored"):
        assert said in table
    assert table.count("<table>") == 1
    assert "no published row" in table


def test_votes_are_on_the_page_and_scripted_raters_are_named(finished):
    html = build(finished).read_text("utf-8")
    part = html[html.index('<section id="votes"') : html.index('<section id="answers"')]
    for said in ("Not all raters are people", "win 20 %", "0.012", "α 0.40", "75 %", "1 lines do not count"):  # fmt: skip
        assert said in part
    assert EVIL not in html


def test_a_run_without_them_has_no_empty_sections(run_folder):
    html = build(run_folder).read_text("utf-8")
    assert 'id="suite"' not in html
    assert 'id="votes"' not in html


def test_the_board_shows_votes_too(finished, tmp_path, capsys):
    found = read_arena(finished / "arena")
    assert found is not None
    write_board(tmp_path / "b.html", [], [], votes=[found])
    assert "Not all raters are people" in (tmp_path / "b.html").read_text("utf-8")
    assert read_arena(tmp_path) is None
    assert main(["eval", "board", "x.json", "--arena", str(tmp_path)]) == 3


@pytest.mark.parametrize("text", ["{", "[]", '{"raters": {}}'])
def test_what_is_no_report_is_refused(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(DataError, match="--report"):
        read_arena(tmp_path)


def test_what_is_no_suite_is_refused():
    with pytest.raises(DataError, match="eval sketch"):
        suite_rows({"rows": [{"benchmark": "GenEval"}]})
