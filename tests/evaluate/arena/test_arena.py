"""The arena without a page: contests, orders, votes that count and votes that do not, statistics."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from janus4o.cli.app import main
from janus4o.errors import BadInput, Refused
from janus4o.evaluate.arena.contest import (
    Item,
    make_contest,
    name_systems,
    open_contest,
    starter_items,
)
from janus4o.evaluate.arena.order import order
from janus4o.evaluate.arena.results import agreement, bradley_terry, compare, results, strengths
from janus4o.evaluate.arena.votes import Vote, append_vote, read_votes
from janus4o.images import read_metadata, save_png

ITEMS = [Item(item=f"i{n}", prompt=f"prompt {n}") for n in range(20)]


@pytest.fixture
def folders(tmp_path):
    """Pictures of two systems that say in their metadata who made them."""
    for n, name in enumerate(("base", "tuned")):
        (tmp_path / name).mkdir()
        for item in ITEMS:
            picture = Image.new("RGB", (8, 8), (80 * n, 0, 9))
            save_png(picture, tmp_path / name / f"{item.item}.png", {"model": name})
    return {name: tmp_path / name for name in ("base", "tuned")}


@pytest.fixture
def contest(folders, tmp_path):
    made, problems = make_contest(tmp_path / "c", folders, ITEMS, None, 0)
    assert problems == []
    return made


def vote(contest, rater, place, winner="tuned", **changes):
    """One vote for a system at a place of the rater's own order."""
    trial = order(contest, rater)[place]
    side = "left" if contest.pictures[trial.left].system == winner else "right"
    side = side if winner in contest.systems else winner
    fields = {
        "contest": contest.id, "rater": rater, "session": rater.encode().hex().ljust(16, "0"),
        "seat": rater, "place": place, "item": trial.item, "left": trial.left,
        "right": trial.right, "follows": side, "looks": side, "ms": 900, "at": "now",
    }  # fmt: skip
    return Vote(**{**fields, **changes})


def test_the_starter_set_is_as_large_as_the_papers_and_is_not_the_papers():
    items = starter_items()
    assert Counter(bool(item.source) for item in items) == {False: 52, True: 35}
    assert len({item.item for item in items}) == len({item.prompt for item in items}) == 87


def test_pictures_do_not_say_who_made_them(contest, tmp_path):
    for path in (tmp_path / "c" / "pictures").iterdir():
        assert read_metadata(path) == {}
        assert re.fullmatch("[0-9a-f]{16}", path.stem)


def test_a_contest_goes_on_and_is_never_replaced(contest, folders, tmp_path):
    again, _ = make_contest(tmp_path / "c", folders, ITEMS, None, 0)
    assert again == contest == open_contest(tmp_path / "c")
    Image.new("RGB", (8, 8), "white").save(folders["base"] / "i3.png")
    with pytest.raises(Refused, match="another contest"):
        make_contest(tmp_path / "c", folders, ITEMS, None, 0)


def test_what_does_not_take_part_is_listed(folders, tmp_path):
    (folders["base"] / "i0.png").unlink()
    (folders["base"] / "i1.png").write_bytes(b"half a picture")
    save_png(Image.new("RGB", (8, 8)), folders["tuned"] / "stranger.png")
    items = [*ITEMS[:-1], Item(item="i19", prompt="make it blue", source="a red door")]
    made, problems = make_contest(tmp_path / "d", folders, items, None, 0)
    assert {item.item for item in made.items} == {f"i{n}" for n in range(2, 19)}
    words = "\n".join(map(str, problems))
    for part in ("i0: no picture of base", "i1", "stranger.png", "i19: an edit without its source"):
        assert part in words


def test_systems_need_names_of_their_own(folders, tmp_path):
    base = str(folders["base"])
    with pytest.raises(BadInput, match="two systems are called"):
        name_systems([base, base])
    assert list(name_systems([base, f"other={base}"])) == ["base", "other"]
    with pytest.raises(BadInput, match="two systems or more"):
        name_systems([base])


def test_every_seat_sees_every_pair_once_in_its_own_order_and_some_again(contest):
    one, two = order(contest, "ann"), order(contest, "ben")
    assert one == order(contest, "ann") != two
    firsts = [t for t in one if not t.repeat]
    assert sorted(t.item for t in firsts) == sorted(item.item for item in ITEMS)
    repeats = [t for t in one if t.repeat]
    assert len(repeats) == 2
    for again in repeats:
        first = next(t for t in firsts if t.item == again.item)
        assert (again.left, again.right) == (first.right, first.left)
        assert one.index(first) < 10 < one.index(again)
    sides = Counter(
        contest.pictures[t.left].system for n in range(20) for t in order(contest, f"r{n}")
    )
    assert abs(sides["base"] - sides["tuned"]) < 100  # of 440; five standard deviations


def test_what_does_not_count_is_listed_with_its_line(contest, tmp_path):
    path = tmp_path / "votes.jsonl"
    append_vote(path, vote(contest, "ann", 0))
    wrong = [
        ({"session": "f" * 16}, "another session calls itself 'ann'"),
        ({"item": "nobody"}, "unknown item 'nobody'"),
        ({"seat": "ben"}, "not what stands at place 1 of seat 'ben'"),
        ({"place": 999}, "not what stands at place 999"),
        ({"left": "../../etc/passwd"}, "not what stands at place"),
    ]
    for changes, _ in wrong:
        append_vote(path, vote(contest, "ann", 1).model_copy(update=changes))
    append_vote(path, vote(contest, "ann", 1).model_copy(update={"contest": "elsewhere"}))
    path.write_bytes(path.read_bytes() + b'{"contest": "')  # killed while writing
    append_vote(path, vote(contest, "ann", 2))
    path.write_bytes(path.read_bytes() + b'{"follows": "both"}\n')
    votes, problems = read_votes(contest, [path])
    assert [v.place for v, _ in votes] == [0, 2]
    assert len(problems) == len(wrong) + 3
    text = "\n".join(map(str, problems))
    for part in [
        *(words for _, words in wrong),
        "another contest",
        "line 8: is not JSON",
        "line 10",
    ]:
        assert part in text


def test_a_second_vote_at_a_place_corrects_the_first(contest, tmp_path):
    for winner in ("tuned", "base"):
        append_vote(tmp_path / "v", vote(contest, "ann", 4, winner))
    votes, problems = read_votes(contest, [tmp_path / "v"])
    assert (votes[0][0], len(votes), problems) == (vote(contest, "ann", 4, "base"), 1, [])


def test_votes_are_counted_for_systems_not_for_sides(contest):
    trials = order(contest, "ann")
    votes = [(vote(contest, "ann", n), trial) for n, trial in enumerate(trials)]
    found = results(contest, votes)
    pair = found["questions"]["looks"]["pairs"][0]
    assert (pair["system"], pair["lose"]["score"], pair["win"]["score"]) == ("base", 1, 0)
    assert pair["lose"]["low"] < 1, "twenty wins of twenty are not certainty"
    assert (pair["votes"], pair["items"], pair["behind"]) == (20, 20, 20)
    own = found["raters"]["ann"]
    assert (own["votes"], own["looks"]["repeats"], own["looks"]["repeated_alike"]) == (20, 2, 2)
    # One who always presses the same key disagrees with themselves at every repeat.
    stuck = [
        (vote(contest, "ann", n, follows="left", looks="skip"), t) for n, t in enumerate(trials)
    ]
    found = results(contest, stuck)
    assert found["raters"]["ann"]["follows"]["repeated_alike"] == 0
    assert found["raters"]["ann"]["follows"]["left"] == 1
    assert found["questions"]["looks"]["pairs"] == []


def test_many_raters_of_one_item_are_not_many_items():
    ballots = [(f"r{n}", "only", "a", "b", "a") for n in range(50)]
    found = compare("a", "b", ballots)
    assert found["win"]["low"] < 0.5
    assert found["p_value"] == 1.0
    apart = compare("a", "b", [("r", f"i{n}", "a", "b", "a") for n in range(8)])
    assert apart["p_value"] == pytest.approx(2 / 2**8)


def test_alpha_is_krippendorffs():
    # Krippendorff (2011), his nominal example of two observers: 0.095.
    one, two = "0100000010", "1110010000"
    name = {"0": "a", "1": "b"}
    ballots = [
        (rater, str(n), "a", "b", name[value])
        for rater, values in (("1", one), ("2", two))
        for n, value in enumerate(values)
    ]
    found = agreement(ballots)
    assert found == {
        "alpha": pytest.approx(0.095, abs=5e-4),
        "same": 0.6,
        "matches": 10,
        "votes": 20,
    }
    assert agreement(ballots[:10]) == {"alpha": None, "same": None, "matches": 0, "votes": 0}


def test_bradley_terry_finds_the_strengths_that_made_the_votes():
    true = np.array([1.0, 3.0, 9.0])
    wins = 1e6 * true[:, None] / (true[:, None] + true[None, :]) * (1 - np.eye(3))
    points = bradley_terry(wins)
    assert points.mean() == pytest.approx(1000)
    assert np.diff(points) == pytest.approx([400 * np.log10(3)] * 2, abs=0.01)
    ballots = [("r", f"i{n}", "a", "b", "b") for n in range(9)]
    ballots += [("r", f"i{n}", "b", "c", "c" if n % 3 else "") for n in range(9)]
    found = strengths(["a", "b", "c"], ballots)
    assert found["a"]["score"] < found["b"]["score"] < found["c"]["score"]
    assert found["a"]["low"] <= found["a"]["score"] <= found["a"]["high"]
    assert strengths(["a", "b", "c"], []) == {
        name: {"score": 1000, "low": 1000, "high": 1000} for name in "abc"
    }


def test_the_command_reports_and_says_what_is_missing(contest, tmp_path, capsys):
    out = str(tmp_path / "c")
    assert main(["eval", "arena", "--report", "--out", out]) == 3
    assert "no votes yet" in capsys.readouterr().err
    assert main(["eval", "arena"]) == 2
    path = tmp_path / "got.jsonl"
    for place in range(5):
        append_vote(path, vote(contest, "ann", place))
        append_vote(path, vote(contest, "ben", place, "tie"))
    append_vote(path, vote(contest, "ann", 6, session="f" * 16))
    capsys.readouterr()
    assert main(["eval", "arena", "--report", "--out", out, "--votes", str(path), "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found == json.loads((tmp_path / "c" / "report.json").read_text())
    assert found["prompt_set"]["name"] == "the user's own"
    assert found["problems"][0]["where"] == "got.jsonl line 11"
    assert "another session" in said.err
    assert main(["eval", "arena", "--report", "--out", out, "--votes", str(path)]) == 0
    assert "base : tuned" in capsys.readouterr().out
    assert main(["eval", "arena", "--starter", str(tmp_path / "s.jsonl")]) == 0
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == 87
