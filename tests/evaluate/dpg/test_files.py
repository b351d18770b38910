"""DPG-Bench's files: the csv, stored answers, grids and folders, through the command."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from janus4o.cli.app import main
from janus4o.errors import DataError
from janus4o.evaluate.comparable import OFFICIAL
from janus4o.evaluate.dpg.questions import read_rows
from janus4o.evaluate.dpg.tiles import cut_grid, find_pictures, make_grid, open_tiles
from janus4o.evaluate.evidence import hash_set

HEADER = "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
HEADER += "question_natural_language\n"
CSV = HEADER + (
    'a,"one, ""two""",,1,0,entity,whole,entity - whole (dog),Is there a dog?\n'
    'a,"one, ""two""",,2,"1, 1",attribute,color,"attribute - color (dog, red)",Is it red?\n'
    "b,x,,1,0,global,,global - (sketch),Is it a sketch?\n"
)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "q.csv").write_text(CSV, encoding="utf-8-sig")
    yes = {"Is there a dog?": "yes", "Is it red?": "yes"}
    answers = {"a.png": [yes, {**yes, "Is there a dog?": "no"}], "b.png": [{}, {}]}
    (tmp_path / "a.json").write_text(json.dumps(answers))
    return tmp_path


def test_the_csv_keeps_its_commas_and_quotes(files):
    rows = read_rows(files / "q.csv")
    assert rows[0]["text"] == 'one, "two"'
    assert rows[1]["dependency"] == "1, 1"
    assert len(rows) == 3


def test_quotes_are_read_as_leniently_as_pandas_does(tmp_path):
    odd = HEADER + 'a,"one" two,,1,0,e,w,t,Is there a "dog"?\r\n\r\nb,x,,1,0,e,w,t,q'
    (tmp_path / "q.csv").write_bytes(odd.encode())
    rows = read_rows(tmp_path / "q.csv")
    assert [row["text"] for row in rows] == ["one two", "x"]
    assert rows[0]["question_natural_language"] == 'Is there a "dog"?'


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", HEADER + 'a,"never closed', CSV + "b,x,,2,0,e,w,t,q,one more\n"]
)
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "q.csv").write_text(text)
    with pytest.raises(DataError):
        read_rows(tmp_path / "q.csv")


def test_a_row_that_is_cut_off_takes_its_item_only(files, capsys):
    (files / "q.csv").write_text(CSV + "b,x,,2")
    args = ["--questions", str(files / "q.csv"), "--answers", str(files / "a.json"), "--json"]
    assert main(["eval", "dpg", *args]) == 3
    assert "the original stops" in capsys.readouterr().err
    assert main(["eval", "dpg", *args, "--mode", "fixed"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["scores"]["overall"]["score"] == 50.0
    assert [p["where"] for p in score["problems"] if p["unscored"]] == ["b.png"]


def test_a_score_file_says_over_what_it_is(files, capsys):
    out = files / "out" / "run.json"
    args = ["--questions", str(files / "q.csv"), "--answers", str(files / "a.json")]
    args += ["--mode", "fixed", "--vqa", "tiny"]
    assert main(["eval", "dpg", *args, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "no answer to 'Is it a sketch?'" in captured.err
    assert "not comparable" in captured.out
    run = json.loads(out.read_text())
    assert run["per_image"] == {"a.png": {"scores": [1.0, 0.0], "average": 0.5}}
    assert run["failed"] == ["b.png"]
    score = json.loads((out.parent / "run.score.json").read_text())
    assert (score["n"], score["unscored"], score["mode"]) == (1, 1, "fixed")
    assert score["networks"] == {"vqa": "tiny"}
    assert len(score["evidence"]) == 2
    overall = score["scores"]["overall"]
    assert overall["low"] < overall["score"] == run["dpg_score"] < overall["high"]
    assert score["scores"]["l2"]["entity - whole"]["n"] == 2


def test_golden_cases_through_the_command(root, tmp_path):
    golden, out = root / "tests/golden/evaluation/dpg_cases.jsonl", tmp_path / "out.jsonl"
    args = ["eval", "dpg", "--cases", str(golden), "--mode", "official", "--out", str(out)]
    assert main(args) == 0
    expected = [json.loads(line) for line in golden.read_text().splitlines()]
    for line, case in zip(out.read_text().splitlines(), expected, strict=True):
        scored = json.loads(line)
        keys = {"id", "dpg_score", "per_image", "l1", "l2", "failed"}
        assert scored.keys() == keys
        assert scored["dpg_score"] == case["expected_official"]["dpg_score"]


def test_only_the_official_run_stands_beside_published_rows(files, capsys, monkeypatch):
    args = ["eval", "dpg", "--questions", str(files / "q.csv"), "--answers", str(files / "a.json")]
    vqa = ["--vqa", "damo/mplug_visual-question-answering_coco_large_en", "--json"]
    (files / "q.csv").write_text(HEADER + "z,x,,1,0,e,w,t,q\n" + CSV.partition("\n")[2])
    (files / "a.json").write_text(
        json.dumps({"a.png": [{"Is there a dog?": "yes", "Is it red?": "no"}] * 4})
    )

    def caveat(*words):
        assert main([*args, *vqa, *words]) == 0
        score = json.loads(capsys.readouterr().out)
        assert score["comparable"] is (not score["caveat"])
        return score["caveat"].partition(": ")[2]

    official = OFFICIAL["DPG-Bench"]
    assert caveat("--mode", "official") == "other prompts than the official ones"
    own = replace(official, hash=hash_set(["a", "b"]))
    monkeypatch.setitem(OFFICIAL, "DPG-Bench", own)
    assert caveat("--mode", "official") == "1 of the 1,065 official prompts were scored"
    monkeypatch.setitem(OFFICIAL, "DPG-Bench", replace(own, prompts=(1, 1)))
    assert caveat("--mode", "official") == ""
    assert caveat("--mode", "official", "--pic-num", "3") == "3 tiles a picture, not 4"
    assert caveat("--mode", "fixed") == "other networks or options than the official ones"


def test_wrong_use_says_what_is_missing(files, capsys):
    assert main(["eval", "dpg"]) == 2
    assert main(["eval", "dpg", "--answers", str(files / "a.json")]) == 2
    (files / "a.json").write_text('{"a.png": [')
    args = ["--questions", str(files / "q.csv"), "--answers", str(files / "a.json")]
    assert main(["eval", "dpg", *args]) == 3
    assert "half-written" in capsys.readouterr().err


def squares():
    return [Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue", "white")]


def test_a_grid_comes_apart_as_it_was_put_together():
    cut = cut_grid(make_grid(squares()), 4, 4)
    assert [tile.tobytes() for tile in cut] == [one.tobytes() for one in squares()]
    with pytest.raises(DataError):
        make_grid([Image.new("RGB", (4, 3))])
    with pytest.raises(DataError, match="no tile"):
        cut_grid(make_grid(squares()), 5, 4)


def test_pictures_are_found_in_both_layouts(tmp_path, capsys):
    make_grid(squares()).save(tmp_path / "a.png")
    (tmp_path / "b").mkdir()
    for index, one in enumerate(squares()):
        one.save(tmp_path / "b" / f"{index}.png")
    (tmp_path / "b" / "notes.txt").write_text("x")
    make_grid(squares()).save(tmp_path / "other.png")
    found, problems = find_pictures(tmp_path, ["a", "b", "c"])
    assert [source.name for source in found] == ["a.png", "b"]
    assert {p.where: p.unscored for p in problems} == {
        "b/notes.txt": False,
        "other.png": False,
        "c": True,
    }
    for source in found:
        tiles = open_tiles(source, 4)
        assert [tile.tobytes() for tile in tiles] == [one.tobytes() for one in squares()]
    assert open_tiles(found[0], 1)[0].size == (8, 8)
    assert open_tiles(found[0], 1, side=4)[0].size == (4, 4)
    (tmp_path / "q.csv").write_text(CSV)
    args = ["--questions", str(tmp_path / "q.csv"), "--images", str(tmp_path), "--mode", "fixed"]
    assert main(["eval", "dpg", *args]) == 0
    assert "pictures of 2 of 2 prompts" in capsys.readouterr().out
