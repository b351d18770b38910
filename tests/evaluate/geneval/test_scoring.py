"""From files to score files: golden summaries and crops, and nothing that gets lost on the way."""

import hashlib
import json
from dataclasses import replace

import pytest
from PIL import Image

from janus4o.cli.app import main
from janus4o.errors import DataError
from janus4o.evaluate.comparable import OFFICIAL
from janus4o.evaluate.geneval.crops import crop, write_crops
from janus4o.evaluate.geneval.prompts import parse_metadata, prompt_set_hash
from janus4o.evaluate.geneval.scoring import judge_file, score_detections
from janus4o.evaluate.geneval.summary import official_text, read_results, summarise


@pytest.fixture
def golden(root):
    return root / "tests/golden/evaluation"


def test_the_official_summary_byte_for_byte(golden, capsysbinary):
    expected = (golden / "geneval_summary/expected.txt").read_bytes()
    results = str(golden / "geneval_summary/results.jsonl")
    assert main(["eval", "geneval", "--results", results]) == 0
    assert capsysbinary.readouterr().out == expected


def test_crops_byte_for_byte(golden, tmp_path):
    lines = [json.loads(x) for x in (golden / "geneval_crops.jsonl").read_text().splitlines()]
    made, problems = write_crops(golden / "geneval_crops.jsonl", tmp_path)
    assert not problems
    assert [one.id for one in made] == [line["id"] for line in lines]
    for line in lines:
        with Image.open(tmp_path / f"{line['id']}.png") as image:
            assert image.mode == line["expected"]["mode"]
            assert list(image.size) == line["expected"]["size"]
            assert hashlib.sha256(image.tobytes()).hexdigest() == line["expected"]["sha256"]


def test_a_crop_may_reach_beyond_the_picture():
    white = Image.new("RGB", (4, 4), "white")
    cut = crop(white, (-1.5, 2.5, 2.5, 5.5))  # −2, 2, 2, 6
    assert cut.size == (4, 4)
    assert [cut.getpixel((x, y)) for x, y in ((1, 0), (2, 0), (2, 2))] == [
        (0, 0, 0),
        (255, 255, 255),
        (0, 0, 0),
    ]


def test_crops_that_cannot_be_made_are_listed(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    Image.new("1", (5, 4)).save(tmp_path / "other_size.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    good = {"id": "good", "image": "a.png", "mask": None, "box": [0, 0, 2, 2]}
    lines = [
        good,
        {**good, "id": "empty", "box": [1, 1, 1, 3]},
        {**good, "id": "../out"},
        {**good, "id": "mask", "mask": "other_size.png"},
        {**good, "id": "broken", "image": "broken.png"},
        {**good, "id": "gone", "image": "gone.png"},
        {**good, "id": "colour", "options": {"bgcolor": "sunny"}},
        {**good, "id": "nan", "box": [0, 0, float("nan"), 2]},
        good,
    ]
    path = tmp_path / "crops.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made, problems = write_crops(path, tmp_path / "out")
    assert [one.id for one in made] == ["good"]
    assert len(problems) == 8
    assert not (tmp_path / "out.png").exists()


def test_verdicts_of_the_command_are_the_golden_ones(golden, tmp_path, capsys):
    source, out = golden / "geneval_cases.jsonl", tmp_path / "deep" / "verdicts.jsonl"
    official = tmp_path / "results.jsonl"
    args = ["--out", str(out), "--official", str(official), "--json"]
    assert main(["eval", "geneval", "--detections", str(source), *args]) == 0
    expected = {c["id"]: c["expected"] for c in map(json.loads, source.read_text().splitlines())}
    verdicts = [json.loads(line) for line in out.read_text().splitlines()]
    assert [v["id"] for v in verdicts] == list(expected)
    for verdict in verdicts:
        assert verdict.keys() == {"id", "correct", "reason", "details"}
        assert verdict["correct"] == expected[verdict["id"]]["correct"]
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "deep" / "verdicts.score.json").read_text())
    assert printed["n"] == len(expected)
    assert printed["evidence"][0]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert not printed["comparable"]
    # Our results file is one the official summary reads, and the numbers agree.
    results, problems = read_results(official)
    assert not problems
    overall = f"{printed['scores']['overall']['score']:.5f}"
    assert official_text(results).endswith(f"Overall score (avg. over tasks): {overall}\n")


LINE = {
    "id": "00000/0000",
    "metadata": {
        "tag": "colors",
        "include": [{"class": "dog", "count": 1, "color": "red"}],
        "prompt": "a red dog",
    },
    "detections": {"dog": [[0, 0, 50, 50, 0.9], [60, 60, 90, 90, 0.1]]},
    "colors": {"dog": ["red", None]},
    "detector": "tiny",
}


def write(path, *lines):
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


def test_what_cannot_be_scored_is_listed_and_not_counted(tmp_path):
    path = write(
        tmp_path / "d.jsonl",
        LINE,
        {**LINE, "id": "no colour", "colors": {}},
        {**LINE, "id": "asked too little", "colors": {"dog": [None, "red"]}},
        {**LINE, "id": "no boxes", "detections": None},
        {**LINE, "id": "four numbers", "detections": {"dog": [[0, 0, 1, 1]]}},
        {**LINE, "id": "nan", "detections": {"dog": [[0, 0, 1, float("nan"), 1]]}},
        {**LINE, "id": "no tag", "metadata": {"include": [], "prompt": "p"}},
        LINE,
        json.dumps(LINE)[:70],
    )
    scored, problems = judge_file(path)
    assert [one.evidence.id for one in scored] == ["00000/0000"]
    assert len(problems) == 8
    assert all(problem.unscored for problem in problems)
    score = score_detections(path, scored, problems).to_json()
    assert (score["n"], score["unscored"]) == (1, 8)
    assert score["scores"]["overall"]["score"] == 1.0
    assert score["networks"] == {"detector": "tiny", "classifier": ""}


def test_prompts_without_a_picture_are_listed(tmp_path):
    path = write(tmp_path / "d.jsonl", LINE)
    other = {**LINE["metadata"], "prompt": "another"}
    prompts = write(tmp_path / "prompts.jsonl", other)
    score = score_detections(path, *judge_file(path), prompts_file=prompts).to_json()
    assert [(p["what"], p["unscored"]) for p in score["problems"]] == [
        ("no picture of this prompt was scored", True),
        ("is not in prompts.jsonl, counted all the same", False),
    ]


def test_only_official_networks_options_and_prompts_are_comparable(tmp_path, monkeypatch):
    names = {"detector": "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco"}
    names["classifier"] = "open_clip ViT-L-14 openai"
    path = write(tmp_path / "d.jsonl", {**LINE, **names})
    official = OFFICIAL["GenEval"]
    assert "other prompts" in score_detections(path, *judge_file(path)).caveat
    own = prompt_set_hash([parse_metadata(LINE["metadata"])])
    monkeypatch.setitem(OFFICIAL, "GenEval", replace(official, hash=own))
    assert "1 of the 553 official prompts" in score_detections(path, *judge_file(path)).caveat
    monkeypatch.setitem(OFFICIAL, "GenEval", replace(official, hash=own, prompts=(1, 1)))
    assert score_detections(path, *judge_file(path)).comparable
    for change in ({"detector": "other"}, {"options": {"threshold": 0.2}}):
        path = write(tmp_path / "d.jsonl", {**LINE, **names, **change})
        score = score_detections(path, *judge_file(path))
        assert not score.comparable
        assert "until calibrated" in score.caveat
        assert score.scores["tags"]["colors"]["comparable"] is False


def test_a_half_written_results_file_says_so(golden, tmp_path, capsys):
    lines = (golden / "geneval_summary/results.jsonl").read_text().splitlines()[:20]
    path = write(tmp_path / "r.jsonl", *lines[:10], '{"tag": 1}', lines[3], lines[11][:50])
    assert main(["eval", "geneval", "--results", str(path)]) == 0
    captured = capsys.readouterr()
    assert "Total images: 11\n" in captured.out
    assert "line 11" in captured.err
    assert "counted again" in captured.err
    assert "line 13 is not JSON" in captured.err.replace(":", "")


def test_correct_may_be_a_number_of_one_bit(tmp_path):
    line = {"tag": "colors", "metadata": "m", "correct": 1}
    lines = [line, {**line, "correct": 0}, {**line, "correct": 2}, {**line, "correct": [1]}]
    results, problems = read_results(write(tmp_path / "r.jsonl", *lines))
    assert [one.correct for one in results] == [True, False]
    assert len(problems) == 2


def test_nothing_to_score_is_an_error(tmp_path, capsys):
    for text in ("", "{", "[]\n"):
        path = write(tmp_path / "r.jsonl", text)
        assert main(["eval", "geneval", "--results", str(path)]) == 3
        assert main(["eval", "geneval", "--detections", str(path)]) == 3
    assert main(["eval", "geneval", "--detections", str(tmp_path / "gone")]) == 3
    assert main(["eval", "geneval"]) == 2
    with pytest.raises(DataError):
        summarise([])
