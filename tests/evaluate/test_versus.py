"""Systems against each other on a board, out of their evidence."""

import json

import pytest

from janus4o.cli.app import main
from janus4o.evaluate.board import read_entry
from janus4o.evaluate.versus import duels


@pytest.fixture
def scored(tmp_path, root):
    """Two systems' score files of each benchmark; the second loses something everywhere."""
    evidence = root / "examples" / "evidence"
    lines = [json.loads(line) for line in (evidence / "detections.jsonl").read_text().splitlines()]
    answers = json.loads((evidence / "answers.json").read_text())
    replies = [json.loads(line) for line in (evidence / "replies.jsonl").read_text().splitlines()]
    for line in lines[:2]:
        line["detections"] = {}
    for tiles in answers.values():
        for tile in tiles:
            tile.update(dict.fromkeys(tile, "no"))
    for line in replies:
        if isinstance(line["reply"], str):
            for better, worse in (
                (": 4\n", ": 2\n"),
                ("5/5", "3/5"),
                ("Fidelity: 3", "Fidelity: 1"),
            ):
                line["reply"] = line["reply"].replace(better, worse)
    place = tmp_path / "worse"
    place.mkdir()
    (place / "detections.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (place / "answers.json").write_text(json.dumps(answers))
    (place / "replies.jsonl").write_text("\n".join(map(json.dumps, replies)))
    for name, where in (("good", evidence), ("worse", place)):
        for words in (
            ["geneval", "--detections", where / "detections.jsonl"],
            ["dpg", "--questions", evidence / "questions.csv", "--answers", where / "answers.json", "--mode", "fixed"],
            ["imgedit", "--replies", where / "replies.jsonl"],
        ):  # fmt: skip
            out = ["--score", tmp_path / f"{name}.{words[0]}.json"]
            assert main(["eval", *map(str, [*words, *out])]) == 0
    return tmp_path, [evidence, place]


def entries(folder, benchmark, *names):
    return [read_entry(folder / f"{name}.{benchmark}.json", name) for name in names]


@pytest.mark.parametrize("benchmark", ["geneval", "dpg", "imgedit"])
def test_the_difference_is_that_of_the_scores(scored, benchmark):
    folder, evidence = scored
    for order in (("good", "worse"), ("worse", "good")):
        (duel,) = duels(entries(folder, benchmark, *order), evidence)
        assert (duel.system, duel.other) == ("good", "worse")
        good, worse = entries(folder, benchmark, "good", "worse")
        assert duel.difference.score == pytest.approx(
            good.value.score - worse.value.score, abs=0.011
        )
        assert duel.difference.low < duel.difference.score < duel.difference.high
        assert 0 < duel.p_value <= 1
        assert duel.missing == ""
    if benchmark != "dpg":
        assert set(duel.parts) == set(good.parts)


def test_only_what_was_scored_alike_is_compared(scored):
    folder, evidence = scored
    mixed = [*entries(folder, "geneval", "good"), *entries(folder, "imgedit", "worse")]
    assert duels(mixed, evidence) == []


def test_without_evidence_it_says_so(scored):
    folder, _ = scored
    (duel,) = duels(entries(folder, "geneval", "good", "worse"), [])
    assert duel.difference is None
    assert "not found" in duel.missing


def test_the_page_and_the_command_show_it(scored, tmp_path, capsys):
    folder, evidence = scored
    words = [f"{name}={folder / name}.geneval.json" for name in ("good", "worse")]
    for place in evidence:
        words += ["--evidence", str(place)]
    page = tmp_path / "board.html"
    assert main(["eval", "board", *words, "--out", str(page)]) == 0
    assert "good − worse" in capsys.readouterr().out
    html = page.read_text("utf-8")
    assert "good minus worse" in html
    assert "Overall" in html
    assert main(["eval", "board", *words, "--json"]) == 0
    (duel,) = json.loads(capsys.readouterr().out)["duels"]
    assert duel["difference"]["low"] < duel["difference"]["high"]
