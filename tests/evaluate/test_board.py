"""Published rows, and score files beside them: scales never mix."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from janus4o.cli.app import main
from janus4o.errors import DataError
from janus4o.evaluate.board import Entry, read_entry, tables
from janus4o.evaluate.comparable import OFFICIAL
from janus4o.evaluate.exhibits import show
from janus4o.evaluate.references import REFERENCES, read_references

EVIDENCE = Path(__file__).parents[2] / "examples" / "evidence"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a score file of each benchmark."""
    folder = tmp_path_factory.mktemp("scored")
    for name, words in {
        "geneval": ["--detections", str(EVIDENCE / "detections.jsonl")],
        "dpg": [
            "--questions", str(EVIDENCE / "questions.csv"),
            "--answers", str(EVIDENCE / "answers.json"), "--mode", "fixed",
        ],
        "imgedit": ["--replies", str(EVIDENCE / "replies.jsonl")],
    }.items():  # fmt: skip
        assert main(["eval", name, *words, "--score", str(folder / f"{name}.json")]) == 0
    return folder


def entry(scored: Path, name: str) -> Entry:
    return read_entry(scored / f"{name}.json", "mine")


def test_references_hold_what_the_issue_compares_with() -> None:
    found = {(row.scale, row.system, row.source): row for row in read_references().rows}
    paper = "arXiv 2506.18095"
    assert found["geneval", "Janus-4o-7B", paper].score == 0.80
    assert found["dpg", "Janus-4o-7B", paper].score == 85.71
    assert found["imgedit-paper", "Janus-4o-7B", paper].score == 3.26
    assert found["imgedit-leaderboard", "Janus-4o-7B", "showlab/DIM README"].score == 3.19


def test_whole_rows_are_the_mean_of_their_columns() -> None:
    # A slip in copying a column would show here; rows that print another mean say so.
    references = read_references()
    checked = 0
    for row in references.rows:
        scale = references.scales[row.scale]
        if scale.benchmark != "DPG-Bench" and set(row.parts) == set(scale.parts):
            mean = sum(row.parts.values()) / len(row.parts)
            near = 0.011 if scale.range == (1, 5) else 0.006
            assert abs(mean - row.score) <= near or row.caveat, (row.system, mean)
            checked += 1
    assert checked >= 13


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": 3.2}, "not on 0–1"),
        ({"scale": "elo"}, "no scale 'elo'"),
        ({"parts": {"beauty": 0.5}}, "no column beauty"),
        ({"date": "June 2025"}, "pattern"),
        ({"source": ""}, "at least 1"),
        ({"rank": 1}, "Extra"),
    ],
)
def test_a_wrong_row_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    data = yaml.safe_load(REFERENCES.read_text("utf-8"))
    data["rows"][0].update(change)
    path = tmp_path / "references.yaml"
    path.write_text(yaml.safe_dump(data), "utf-8")
    with pytest.raises(DataError, match=said):
        read_references(path)


def test_a_row_stands_once(tmp_path: Path) -> None:
    data = yaml.safe_load(REFERENCES.read_text("utf-8"))
    data["rows"].append(data["rows"][0])
    path = tmp_path / "references.yaml"
    path.write_text(yaml.safe_dump(data), "utf-8")
    with pytest.raises(DataError, match="stands twice"):
        read_references(path)


@pytest.mark.parametrize("name", ["geneval", "dpg", "imgedit"])
def test_ours_stand_apart_until_comparable(scored: Path, name: str) -> None:
    found = tables([entry(scored, name)], read_references())
    *published, apart = found
    assert published
    assert all(not row.ours for table in published for row in table.rows)
    assert [row.system for row in apart.rows] == ["mine"]
    assert "not comparable" in apart.title + apart.note
    assert {table.benchmark for table in found} == {apart.benchmark}


def test_only_a_whole_official_score_joins_published_rows(scored: Path) -> None:
    one, official = entry(scored, "geneval"), OFFICIAL["GenEval"]
    prompts = {"n": 553, "sha256": official.hash}
    for networks, mode, prompt_set, joins in (
        (official.networks, "", prompts, True),
        ({**official.networks, "detector": "mine"}, "", prompts, False),
        ({**official.networks, "detector": ""}, "", prompts, False),
        (official.networks, "changed options", prompts, False),
        (official.networks, "", {**prompts, "n": 552}, False),
        (official.networks, "", {**prompts, "sha256": "x"}, False),
        (official.networks, "", {"n": 553}, False),
    ):
        # What the file itself says of being comparable is not asked.
        changed = {"networks": networks, "mode": mode, "prompt_set": prompt_set, "comparable": True}
        first, *_ = tables([replace(one, data={**one.data, **changed})], read_references())
        assert ("mine" in [row.system for row in first.rows]) is joins
    first, *_ = tables(
        [replace(one, data={**one.data, "networks": official.networks, "prompt_set": prompts})],
        read_references(),
    )
    scores = [row.value.score for row in first.rows]
    assert scores == sorted(scores, reverse=True)


def test_edits_never_join_and_the_two_scales_stay_two(scored: Path) -> None:
    one = entry(scored, "imgedit")
    found = tables([replace(one, data={**one.data, "comparable": True})], read_references())
    assert [any(row.ours for row in table.rows) for table in found] == [False, False, True]
    paper, leaderboard = ({row.system: row.value.score for row in t.rows} for t in found[:2])
    assert (paper["Janus-4o-7B"], leaderboard["Janus-4o-7B"]) == (3.26, 3.19)


def test_scores_made_in_two_ways_do_not_share_a_table(scored: Path) -> None:
    one = entry(scored, "dpg")
    other = replace(one, system="other", key=(*one.key[:2], "official", *one.key[3:]))
    same = replace(one, system="same")
    apart = [t for t in tables([one, other, same], read_references()) if "here" in t.title]
    assert [sorted(row.system for row in t.rows) for t in apart] == [["mine", "same"], ["other"]]


def test_items_say_why_they_lost(scored: Path) -> None:
    shown = {
        name: show(entry(scored, name), [EVIDENCE], [], [])
        for name in ("geneval", "dpg", "imgedit")
    }
    brown = next(one for one in shown["geneval"].exhibits if one.id == "00000/0001")
    assert brown.state == "lost"
    assert "expected red dog" in brown.reason
    assert "brown dog 0.93" in [box.label for box in brown.boxes]
    cups = next(one for one in shown["geneval"].exhibits if one.tag == "counting")
    assert [box.kept for box in cups.boxes] == [True, True, False]
    dog = next(one for one in shown["dpg"].exhibits if one.id == "partiprompts0.png")
    red = next(one for one in dog.answers if one.question == "Is the dog red?")
    assert red.tiles == (("yes", 1.0), ("yes", 0.0))  # there is no dog on the second tile
    first = shown["imgedit"].exhibits[0]
    assert (first.id, first.state) == ("4", "unscored")
    assert first.reason
    assert "cannot judge" in first.reply


def test_the_points_shown_are_the_points_scored(scored: Path) -> None:
    for one in show(entry(scored, "dpg"), [EVIDENCE], [], []).exhibits:
        points = [p for answer in one.answers for _, p in answer.tiles]
        assert one.share == pytest.approx(sum(points) / len(points))


def test_changed_evidence_is_not_shown(scored: Path, tmp_path: Path) -> None:
    text = (EVIDENCE / "detections.jsonl").read_text("utf-8")
    (tmp_path / "detections.jsonl").write_text(text.replace("0.93", "0.13"), "utf-8")
    showing = show(entry(scored, "geneval"), [tmp_path], [], [])
    assert showing.exhibits == ()
    assert "changed" in showing.missing
    assert "not found" in show(entry(scored, "geneval"), [], [], []).missing


def test_no_picture_outside_of_its_folder(scored: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    line = json.loads((EVIDENCE / "detections.jsonl").read_text("utf-8").split("\n")[0])
    (tmp_path / "d.jsonl").write_text(json.dumps({**line, "id": "../secret"}), "utf-8")
    score = tmp_path / "s.json"
    words = ["--detections", str(tmp_path / "d.jsonl"), "--score", str(score)]
    assert main(["eval", "geneval", *words]) == 0
    (tmp_path / "in").mkdir()
    (one,) = show(read_entry(score), [], [tmp_path / "in"], []).exhibits
    assert one.pictures == ()


@pytest.mark.parametrize("text", ["{}", "[", '{"format": 1, "benchmark": "GenEval"}'])
def test_what_is_no_score_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError):
        read_entry(path)
    assert main(["eval", "board", str(path)]) == 3


def test_two_systems_need_two_names(scored: Path, tmp_path: Path) -> None:
    path = str(scored / "geneval.json")
    assert main(["eval", "board", f"a={path}", f"a={path}"]) == 2
    assert main(["eval", "board", f"a={path}", f"b={path}"]) == 0
    out = ["--out", str(tmp_path / "page.html")]
    words = ["--pictures", str(tmp_path)]
    assert main(["eval", "board", f"a={path}", f"b={path}", *out, *words]) == 2
