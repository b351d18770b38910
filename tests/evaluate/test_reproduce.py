"""The plan that scores the released model: what it would do, and what counts as reproduced."""

import json

import pytest

from janus4o.cli.app import main
from janus4o.errors import DataError, RecipeError
from janus4o.evaluate.references import read_references
from janus4o.evaluate.reproduce import outcome, read_plan

SUITE = {"GenEval": "geneval", "DPG-Bench": "dpg", "ImgEdit-Bench Basic": "imgedit-paper"}


@pytest.fixture
def plan(root, tmp_path):
    """The shipped plan with its folder elsewhere, and a writer of GenEval score files."""
    found = read_plan(root / "recipes" / "reproduce.yaml", [f"output={tmp_path}"])

    def score(value, **changes):
        evidence = root / "examples/evidence/detections.jsonl"
        path = tmp_path / "geneval.score.json"
        words = ["--detections", str(evidence), "--score", str(path)]
        assert main(["eval", "geneval", *words]) == 0
        data = json.loads(path.read_text())
        data["scores"]["overall"] |= {"score": value}
        data |= {"about": {"made": {"model": found.model}}, "unscored": 0, **changes}
        path.write_text(json.dumps(data))
        return outcome(found, "GenEval")

    return found, score


def test_the_figures_are_the_papers(root):
    plan = read_plan(root / "recipes" / "reproduce.yaml")
    rows = {
        (row.scale, row.system): row.score
        for row in read_references().rows
        if row.source == "arXiv 2506.18095"
    }
    for benchmark, scale in SUITE.items():
        assert plan.benchmarks[benchmark].published == rows[scale, "Janus-4o-7B"]
    assert plan.model == "FreedomIntelligence/Janus-4o-7B"


def test_every_command_is_one_of_ours(root, monkeypatch, capsys):
    """Each is read to its end and stops at the first file that is not there: none is a usage error."""
    plan = read_plan(root / "recipes" / "reproduce.yaml")
    monkeypatch.chdir("/")
    for benchmark in plan.benchmarks:
        for words in plan.commands(benchmark):
            assert not any("{" in word for word in words)
            assert main(["eval", *words]) == 3, words
            assert "Usage" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.80, "within"), (0.77, "within"), (0.83, "within"), (0.7699, "outside"), (0.831, "outside")],
)
def test_the_tolerance_decides(plan, value, verdict):
    assert plan[1](value).verdict == f"{verdict} of tolerance".replace("within of", "within")


def test_what_makes_a_figure_worth_little_is_said(plan):
    _, score = plan
    said = score(0.8, about={"made": {"model": "mine"}}, unscored=3).doubts
    assert any("other networks" in doubt for doubt in said)
    assert any("of mine, not of FreedomIntelligence" in doubt for doubt in said)
    assert any("3 items are not scored" in doubt for doubt in said)
    assert any("unknown model" in doubt for doubt in score(0.8, about={}).doubts)


def test_nothing_scored_is_nothing_reproduced(plan, root, tmp_path, capsys):
    found, _ = plan
    assert outcome(found, "GenEval").verdict == "not scored yet"
    words = ["eval", "reproduce", str(root / "recipes/reproduce.yaml"), f"output={tmp_path}"]
    assert main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    assert {one["verdict"] for one in json.loads(captured.out).values()} == {"not scored yet"}
    assert captured.err.count("janus4o eval ") == 7
    assert list(tmp_path.iterdir()) == []
    # With --run it does the first thing and stops where that stops.
    assert main([*words, "--run"]) == 3
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["benchmarks.GenEval.tolerance=0"], "greater than 0"),
        (["files.ask=null"], "files.ask"),
        (["tolerances=1"], "tolerances"),
        (
            ["benchmarks.GenEval.commands=['geneval --model {nobody}']"],
            "nothing is called 'nobody'",
        ),
    ],
)
def test_a_wrong_plan_says_what_is_wrong(root, changes, said):
    with pytest.raises(RecipeError, match=said):
        read_plan(root / "recipes" / "reproduce.yaml", changes)


def test_a_score_of_another_benchmark_is_refused(plan):
    found, score = plan
    with pytest.raises((RecipeError, DataError), match=r"score of GenEval|no whole score file"):
        score(0.8, benchmark="DPG-Bench")
    score(0.8)
    other = found.model_copy(update={"benchmarks": {"DPG-Bench": found.benchmarks["GenEval"]}})
    with pytest.raises(RecipeError, match="score of GenEval"):
        outcome(other, "DPG-Bench")
