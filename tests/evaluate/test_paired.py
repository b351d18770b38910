"""Two systems on the same prompts: the test finds what is there and not what is not."""

import json
import random

import pytest

from janus4o.cli.app import main
from janus4o.errors import DataError
from janus4o.evaluate.paired import difference


def scores(values, group=lambda i: "x"):
    return {str(i): (group(i), value) for i, value in enumerate(values)}


def test_equal_systems_do_not_differ():
    values = [0.0, 0.25, 1.0, 0.5]
    found = difference(scores(values), scores(values))
    assert (found.interval.score, found.interval.low, found.interval.high) == (0, 0, 0)
    assert found.p_value == 1.0


def test_few_prompts_cannot_prove_much():
    found = difference(scores([1.0] * 4), scores([0.0] * 4))
    assert found.interval.score == 1.0
    assert found.p_value == pytest.approx(2 / 16, abs=0.02)  # all four the same way, or the other


def test_swapping_the_systems_swaps_the_sign():
    rng = random.Random(0)
    a, b = (scores([rng.random() for _ in range(50)]) for _ in range(2))
    there, back = difference(a, b), difference(b, a)
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert there.p_value == back.p_value


def test_groups_keep_their_weight():
    # Nine prompts of one tag gain nothing, one of another gains everything: half of the mean.
    tag = lambda i: "a" if i < 9 else "b"  # noqa: E731
    found = difference(scores([0.0] * 9 + [1.0], tag), scores([0.0] * 10, tag))
    assert found.interval.score == 0.5
    assert found.interval.low < 0.5 < found.interval.high


def test_chance_is_called_chance_as_often_as_it_says():
    rng = random.Random(5)
    below = covered = 0
    for round_ in range(200):
        a, b = (scores([float(rng.random() < 0.6) for _ in range(40)]) for _ in range(2))
        found = difference(a, b, seed=round_)
        below += found.p_value < 0.05
        covered += found.interval.low <= 0 <= found.interval.high
    assert below <= 20
    assert covered >= 180


def test_prompts_of_one_system_only_are_left_out():
    found = difference(scores([1.0, 0.0, 1.0]), scores([1.0, 1.0]))
    assert (found.prompts, found.only_here, found.only_there) == (2, 1, 0)
    with pytest.raises(DataError, match="in common"):
        difference(scores([1.0]), {"other": ("x", 1.0)})


def test_every_benchmark_compares(root, tmp_path, capsys):
    golden = root / "tests/golden/evaluation"
    results = (golden / "geneval_summary/results.jsonl").read_text()
    (tmp_path / "other.jsonl").write_text(results.replace('"correct": true', '"correct": false'))
    examples = root / "examples/evidence"
    csv = ["--questions", examples / "questions.csv"]
    commands = [
        (["geneval", "--results", golden / "geneval_summary/results.jsonl"], "other.jsonl"),
        (["geneval", "--detections", examples / "detections.jsonl"], None),
        (["dpg", "--mode", "fixed", *csv, "--answers", examples / "answers.json"], None),
        (["imgedit", "--replies", examples / "replies.jsonl"], None),
    ]
    for words, other in commands:
        there = tmp_path / other if other else words[-1]
        args = [str(word) for word in ["eval", *words, "--against", there]]
        assert main([*args, "--json"]) == 0
        against = json.loads(capsys.readouterr().out)["against"]
        if other:
            assert against["difference"] == pytest.approx(0.43763, abs=1e-5)
            assert against["p_value"] < 0.001
        else:
            assert (against["difference"], against["p_value"]) == (0, 1)
        assert main(args) == 0
        assert "against " in capsys.readouterr().err
