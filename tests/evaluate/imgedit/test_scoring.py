"""ImgEdit-Bench from files to score files: nothing vanishes on the way."""

import json

import pytest

from janus4o.cli.app import main
from janus4o.evaluate.imgedit.edits import SCORE_NAMES, read_edits


def reply(kind, *scores):
    named = zip(SCORE_NAMES[kind], scores, strict=True)
    return "\n".join(f"{name}: {score}" for name, score in named)


EDITS = {
    "1": {"id": "animal/1.jpg", "prompt": "add a hat", "edit_type": "add"},
    "2": {"id": "animal/1.jpg", "prompt": "add a bird", "edit_type": "add"},
    "3": {"id": "human/2.jpg", "prompt": "as a sketch", "edit_type": "style"},
    "4": {"id": "human/3.jpg", "prompt": "as a print", "edit_type": "style"},
}
REPLIES = {
    "1": reply("add", 4, 4, 1),
    "2": reply("add", 2, 5, 5),
    "3": reply("style", 5, 5, 5),
    "4": {"error": "refused"},
    "99": reply("add", 1, 1, 1),
}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "basic_edit.json").write_text(json.dumps(EDITS))
    (tmp_path / "result.json").write_text(json.dumps(REPLIES))
    return tmp_path


def scored(capsys, *args):
    assert main(["eval", "imgedit", *map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_results_against_the_suite(files, capsys):
    args = ["--results", files / "result.json", "--types", files / "basic_edit.json"]
    strict = scored(capsys, *args, "--judge", "gpt-4o-2024-08-06")
    assert strict["scores"]["types"]["add"]["score"] == 2.5  # (3 + 2) / 2: the cap took 4 from one
    assert strict["scores"]["macro"]["score"] == 3.75
    assert strict["scores"]["micro"]["score"] == 3.33
    assert strict["scores"]["capped"] == 1
    assert (strict["n"], strict["unscored"], strict["prompt_set"]["n"]) == (3, 1, 4)
    assert strict["networks"] == {"judge": "gpt-4o-2024-08-06"}
    assert [(p["where"], p["unscored"]) for p in strict["problems"]] == [
        ("result.json '99'", False),
        ("4", True),
    ]
    official = scored(capsys, *args, "--mode", "official")
    assert official["scores"]["types"]["add"]["score"] == 3.5
    for score in (strict, official):
        for entry in (score["scores"]["macro"], *score["scores"]["types"].values()):
            assert entry["low"] <= entry["score"] <= entry["high"]


def test_edits_of_one_picture_count_as_one_witness(files, capsys):
    both = {key: reply("add", 4, 4, 4) for key in ("1", "2")}
    (files / "result.json").write_text(json.dumps(both))
    low = {}
    for name, types in (("sources", EDITS), ("keys", {"1": "add", "2": "add"})):
        (files / "types.json").write_text(json.dumps(types))
        args = ["--results", files / "result.json", "--types", files / "types.json"]
        low[name] = scored(capsys, *args)["scores"]["types"]["add"]["low"]
    assert low["sources"] < low["keys"]


def test_lines_give_a_line_each(root, tmp_path, capsys):
    golden = root / "tests/golden/evaluation/imgedit_replies.jsonl"
    out = tmp_path / "out.jsonl"
    score = scored(capsys, "--replies", golden, "--mode", "official", "--out", out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    expected = [json.loads(line) for line in golden.read_text().splitlines()]
    assert [line["id"] for line in lines] == [case["id"] for case in expected]
    assert all(line.keys() == {"id", "scores", "average"} for line in lines)
    assert [line["average"] for line in lines] == [case["expected_average"] for case in expected]
    unread = sum(case["expected_average"] is None for case in expected)
    assert score["unscored"] == unread
    assert score["n"] + unread == len(lines)
    # 15 of 5 was accepted by the published parser, so its scale has no end.
    assert score["scores"]["scale"] == [0, 15.0]
    assert json.loads((tmp_path / "out.score.json").read_text()) == score


def test_bad_lines_are_listed(tmp_path, capsys):
    good = {"id": "1", "edit_type": "add", "reply": reply("add", 3, 3, 3)}
    bad = [{"id": "2"}, {**good, "id": "3", "edit_type": 5}, good, {**good, "reply": None, "id": 4}]
    text = "\n".join(json.dumps(line) for line in [good, *bad])
    (tmp_path / "r.jsonl").write_text(text + '\n{"id": "5", "edit')
    score = scored(capsys, "--replies", tmp_path / "r.jsonl")
    assert (score["n"], score["unscored"]) == (1, 5)
    assert score["scores"]["macro"]["score"] == 3.0


def test_wrong_use_and_nothing_readable(files, capsys):
    assert main(["eval", "imgedit"]) == 2
    assert main(["eval", "imgedit", "--results", str(files / "result.json")]) == 2
    (files / "r.jsonl").write_text(json.dumps({"id": 1, "edit_type": "add", "reply": "Good."}))
    assert main(["eval", "imgedit", "--replies", str(files / "r.jsonl")]) == 3
    assert "no score for 'Prompt Compliance'" in capsys.readouterr().err


def test_a_folder_of_pictures_is_compared_with_the_suite(files, capsys):
    pictures = files / "pictures"
    pictures.mkdir()
    for name in ("1.png", "3.png", "5.png", "2.jpg"):
        (pictures / name).write_bytes(b"x")
    args = ["--images", str(pictures), "--types", str(files / "basic_edit.json")]
    assert main(["eval", "imgedit", *args]) == 0
    captured = capsys.readouterr()
    assert "2 of 4 edited pictures" in captured.out
    for name in ("2.jpg", "5.png", "2.png", "4.png"):
        assert f"{name}: is " in captured.err


def test_an_unknown_type_in_the_suite_is_listed(files):
    (files / "t.json").write_text(json.dumps({"1": "add", "2": "sing", "3": {"id": "x"}}))
    edits, problems = read_edits(files / "t.json")
    assert list(edits) == ["1", "2"]
    assert [p.unscored for p in problems] == [False, True]
