"""The offline suite: known pictures through the benchmarks' own rules."""

import json
from collections import Counter

import numpy as np
import pytest

from janus4o.cli.app import main
from janus4o.evaluate.exam import TAGS
from janus4o.evaluate.suite import VOTED, write_suite
from janus4o.scored import HeldOut, Item, Kind, write_items
from janus4o.sketch import exam
from janus4o.sketch.edit import LEARNABLE_KINDS, apply
from janus4o.sketch.render import picture
from janus4o.sketch.scene import Colour, Scene, Shape, Slot
from janus4o.sketch.scene import Item as Thing
from janus4o.sketch.wanted import imagine

PER_TASK = 12
MADE = {"base": {"seed": 1}, "tuned": {"seed": 1}}


def fill(folder, draw, edit, per_task=PER_TASK):
    """A scores folder: base leaves everything as it is, tuned is what the two callables make."""
    asked = [q for tag in TAGS for q in exam.text_to_image(tag, per_task, 0, "test")]
    asked += [q for kind in LEARNABLE_KINDS for q in exam.editing(kind, per_task, 0, "test")]
    rng, items = np.random.default_rng(0), []
    for model in MADE:
        for one in asked:
            name = f"{one.task}-{one.number:04d}"
            source = None
            if one.wanted is not None:
                scene = draw(one.wanted, rng) if model == "tuned" else Scene(())
            else:
                scene = edit(one) if model == "tuned" else one.source
                source = f"pictures/source/{name}.png"
                save(folder / source, one.source, 128)
            save(folder / f"pictures/{model}/{name}.png", scene, 64)
            items.append(
                Item(
                    model, Kind.TEXT_TO_IMAGE if one.wanted else Kind.EDIT, one.task, one.number,
                    one.prompt, one.seed, HeldOut.BY_SCENE, True, "",
                    f"pictures/{model}/{name}.png", source,
                )
            )  # fmt: skip
    write_items(folder, items)
    return folder


def save(path, scene, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(scene, size).save(path)


def right(one):
    return apply(one.operation, one.source)


@pytest.fixture(scope="module")
def perfect(tmp_path_factory):
    folder = fill(tmp_path_factory.mktemp("scores"), imagine, right)
    return folder, write_suite(folder, MADE)


def score(folder, model, name):
    return json.loads((folder / "suite" / model / f"{name}.score.json").read_text())


def test_perfect_and_untouched_pictures_get_the_ends_of_the_scales(perfect):
    folder, found = perfect
    scores = {row["benchmark"]: row["models"] for row in found["rows"]}
    assert {name: of["tuned"]["score"] for name, of in scores.items()} == {
        "GenEval": 1.0, "DPG-Bench": 100.0, "ImgEdit-Bench Basic": 5.0,
    }  # fmt: skip
    # An untouched source keeps everything, but preservation is no more worth than the edit.
    assert scores["ImgEdit-Bench Basic"]["base"]["score"] == 1.0
    assert scores["GenEval"]["base"]["score"] == 0.0
    assert 0 < scores["DPG-Bench"]["base"]["score"] < 20  # an empty gray picture has a background
    assert score(folder, "base", "imgedit")["scores"]["capped"] == 5 * PER_TASK
    assert score(folder, "tuned", "imgedit")["scores"]["capped"] == 0


def test_scores_say_what_they_are_of(perfect):
    folder, _ = perfect
    for name in ("geneval", "dpg", "imgedit"):
        data = score(folder, "tuned", name)
        assert "sketch world prompts" in data["caveat"]
        assert not data["comparable"]
        assert data["prompt_set"]["name"] == "sketch world"
        assert data["about"]["made"] == {"model": "tuned", "seed": 1}
        assert all(data["networks"].values())
        assert data["unscored"] == 0
        against = data["against"]
        assert against["low"] > 0
        assert against["p_value"] < 0.01
        assert score(folder, "base", name)["against"] is None


def test_differences_are_those_of_the_scores(perfect):
    _, found = perfect
    for row in found["rows"]:
        base, tuned = row["models"]["base"], row["models"]["tuned"]
        difference = tuned["against"]["difference"]
        assert difference == pytest.approx(tuned["score"] - base["score"], abs=0.006)


def test_the_commands_score_the_evidence_alike(perfect, capsys):
    folder, _ = perfect
    place = folder / "suite"
    for words in (
        ["geneval", "--detections", place / "tuned/detections.jsonl", "--prompts", place / "prompts.jsonl"],
        ["dpg", "--questions", place / "questions.csv", "--answers", place / "base/answers.json", "--mode", "fixed"],
        ["imgedit", "--replies", place / "base/replies.jsonl", "--types", place / "edits.json"],
    ):  # fmt: skip
        assert main(["eval", *map(str, words), "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        model = "tuned" if words[0] == "geneval" else "base"
        assert printed["scores"] == score(folder, model, words[0])["scores"]


def test_it_is_done_once_and_again_when_answers_change(perfect):
    folder, found = perfect
    path = folder / "suite/suite.json"
    before = path.stat().st_mtime_ns
    assert write_suite(folder, MADE) == found
    assert path.stat().st_mtime_ns == before


def test_it_is_done_again_when_settings_change_or_a_score_is_gone(tmp_path):
    folder = fill(tmp_path, imagine, right, 1)
    first = write_suite(folder, MADE)
    (folder / "suite/tuned/dpg.score.json").unlink()
    assert write_suite(folder, MADE) == first
    assert score(folder, "tuned", "dpg")["about"]["made"]["seed"] == 1
    write_suite(folder, MADE | {"tuned": {"seed": 2}})
    assert score(folder, "tuned", "dpg")["about"]["made"]["seed"] == 2
    assert score(folder, "base", "dpg")["about"]["made"]["seed"] == 1


def test_rules_differ_where_the_benchmarks_do(tmp_path):
    star = Thing(Shape.DROP, Colour.CYAN, Slot.BOTTOM_RIGHT)

    def one_too_many(wanted, rng):
        scene = imagine(wanted, rng)
        taken = {item.slot for item in scene.items}
        if taken <= {Slot.TOP_LEFT, Slot.TOP_RIGHT, Slot.BOTTOM_LEFT, Slot.TOP}:
            return Scene((*scene.items, star), scene.background)
        return scene

    def no_background(one):
        done = right(one)
        return Scene(done.items, one.source.background)

    folder = fill(tmp_path, one_too_many, no_background, 6)
    write_suite(folder, MADE)
    # GenEval and DPG-Bench do not mind an object that nobody asked for ...
    assert score(folder, "tuned", "geneval")["scores"]["overall"]["score"] == 1.0
    types = score(folder, "tuned", "imgedit")["scores"]["types"]
    # ... and an edit of the background alone misses it.
    assert types.pop("background")["score"] == 1.0
    assert {of["score"] for of in types.values()} == {5.0}


def test_damaged_and_missing_pictures_are_listed_not_counted(tmp_path):
    folder = fill(tmp_path, imagine, right, 4)
    (folder / "pictures/tuned/counting-0000.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "pictures/tuned/add-0001.png").unlink()
    (folder / "pictures/source/remove-0002.png").write_bytes(b"")
    write_suite(folder, MADE)
    for name, n, lost, where in (
        ("geneval", 23, 1, "counting-0000"),
        ("dpg", 23, 1, "counting-0000.png"),
        ("imgedit", 18, 2, "add-0001"),
    ):
        data = score(folder, "tuned", name)
        assert (data["n"], data["unscored"] >= lost) == (n, True)
        assert where in [problem["where"] for problem in data["problems"]]
    assert score(folder, "tuned", "geneval")["scores"]["overall"]["score"] == 1.0


def test_the_arena_set_is_a_contest_of_base_and_tuned(perfect, tmp_path, capsys):
    folder, _ = perfect
    lines = (folder / "suite/arena.jsonl").read_text().splitlines()
    asked = [json.loads(line) for line in lines]
    assert len(asked) == sum(VOTED.values())
    tasks = Counter(one["item"].partition("-")[0] for one in asked)
    assert set(tasks) == {*TAGS, *LEARNABLE_KINDS}
    assert all(bool(one["source"]) == (one["item"].partition("-")[0] in LEARNABLE_KINDS) for one in asked)  # fmt: skip
    words = [f"{m}={folder / 'pictures' / m}" for m in MADE]
    words += ["--items", str(folder / "suite/arena.jsonl")]
    words += ["--sources", str(folder / "pictures/source"), "--out", str(tmp_path / "arena")]
    assert main(["eval", "arena", *words, "--scripted", "2", "--report", "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    (pair,) = report["questions"]["follows"]["pairs"]
    assert (pair["items"], pair["lose"]["score"]) == (87, 1.0)  # base : tuned
    assert report["questions"]["follows"]["agreement"]["same"] == 1.0
    assert {of["scripted"] for of in report["raters"].values()} == {"sketch judge 1"}
    assert "none of them a person's" in captured.err
    assert "pictures have no item's name" in captured.err
    # Nobody votes twice.
    assert main(["eval", "arena", "--out", str(tmp_path / "arena"), "--scripted", "2"]) == 0
    assert "0 votes by rule" in capsys.readouterr().err
    assert main(["eval", "arena", "--out", str(tmp_path / "arena"), "--report"]) == 0
    assert "2 of 2 raters are scripted" in capsys.readouterr().out
