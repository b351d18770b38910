"""The page stands alone, believes nothing it is given, and says what is missing."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from janus4o.errors import DataError
from janus4o.images import open_image, save_png
from janus4o.report.drawn import read_drawn
from janus4o.report.failures import kind_of_failure, kinds_of_failure
from janus4o.report.page import build, duration, percent

VOID = {"meta", "img", "rect", "line", "polyline", "br", "link", "input", "image", "path"}


class Page(HTMLParser):
    """Text, attributes and nesting of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(html)
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += " " + data


def read(folder) -> Page:
    return Page(build(folder).read_text(encoding="utf-8"))


def test_nothing_is_fetched_from_anywhere(run_folder):
    html = build(run_folder).read_text(encoding="utf-8")
    page = Page(html)
    for tag, name, value in page.attributes:
        if name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            assert value.startswith(("data:image/", "#")), (tag, name, value[:80])
        assert not name.startswith("on"), (tag, name)
    assert not re.search(r"https?://|url\(|@import|<link|<iframe", html)
    assert len(html) < 4_000_000


def test_it_shows_what_there_is(run_folder):
    page = read(run_folder)
    for words in (
        "sketch-demo",
        "Two object",
        "Recolour",
        "Learning rate",
        "6 min 43 s",
        "JanusFor",
    ):
        assert words in page.text
    assert "world: learnable" in page.text
    summary = json.loads((run_folder / "scores" / "summary.json").read_text())
    for kind in ("t2i", "edit"):
        assert f"{percent(summary['tuned'][f'{kind}_mean'])} %" in page.text


def test_failures_stand_beside_successes(run_folder):
    items = [json.loads(s) for s in (run_folder / "scores/items.jsonl").read_text().splitlines()]
    tuned = [item for item in items if item["model"] == "tuned"]
    for item in tuned:  # with eight questions a task, six are first and at most two can hide
        item["passed"], item["reason"] = item["number"] < 6, "wrong colour"
    rest = [item for item in items if item["model"] != "tuned"]
    lines = [json.dumps(item) for item in rest + tuned]
    (run_folder / "scores/items.jsonl").write_text("\n".join(lines) + "\n")
    page = read(run_folder)
    assert page.text.count("Further failures (2 of 2)") == 11
    assert page.text.count("tuned: wrong colour") == 22


def test_what_users_wrote_is_text_not_markup(fake_run, tmp_path):
    nasty = '<script>alert(1)</script>"><img src=x onerror=alert(2)> {{ 7 * 7 }} </style>'
    folder = fake_run.make(tmp_path / "run", rows=4, per_task=2, prompt=nasty)
    (folder / "recipe.yaml").write_text(f"name: '{nasty}'\n")
    page = read(folder)
    assert nasty in page.text
    tags = [tag for tag, _, _ in page.attributes]
    assert "script" not in tags  # ours has no attribute
    assert build(folder).read_text("utf-8").count("<script") == 1
    assert not [value for _, name, value in page.attributes if name == "src" and value == "x"]


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("scores", "Nothing has been scored yet"),
        ("metrics.jsonl", "Nothing has been trained yet"),
        ("timings.json", "No times were recorded"),
        ("dataset", "There is no data set yet"),
        ("recipe.yaml", "holds no recipe.yaml"),
        ("sweeps", "No sweep yet"),
        ("blobs", "could not be used"),
    ],
)
def test_a_missing_piece_is_said(run_folder, gone, said):
    path = run_folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert said in read(run_folder).text


def test_only_our_script_may_run(run_folder):
    html = build(run_folder).read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        v for tag, name, v in Page(html).attributes if name == "content" and "'none'" in v
    )
    assert f"script-src 'sha256-{digest}'" in policy


def test_edits_have_a_slider_that_is_not_needed(run_folder):
    """Both pictures stand in the page as pictures; the slider is a range a keyboard reaches."""
    html = build(run_folder).read_text(encoding="utf-8")
    boxes = re.findall(r'<div class="compare">(.*?)</div>', html, flags=re.DOTALL)
    assert len(boxes) >= 5 * 4
    for box in boxes:
        assert box.count("<img") == 2
        assert re.search(r'<input type="range"[^>]* aria-label="before and after: [^"]+"', box)


def test_targets_stand_beside_what_came(run_folder):
    page = read(run_folder)
    assert "share the recipe asks for" in page.text
    goals = [v for _, name, v in page.attributes if name == "class" and v == "goal"]
    assert len(goals) >= 2  # one for each value of the law that is shown as bars
    assert "number of object categories" in " ".join(
        v for _, name, v in page.attributes if name == "aria-label"
    )
    assert [v for _, name, v in page.attributes if v.endswith(" aim")] == ["c1 aim"]
    (run_folder / "synthesis.json").unlink()
    assert "share the recipe asks for" not in read(run_folder).text


def test_what_came_to_nothing_and_what_it_cost_is_said(run_folder):
    text = read(run_folder).text
    assert "rejected: held out" in text
    assert "refused: moderation" in text
    assert "$1.25" in text
    assert "7 answers of unknown price" in text


def test_samples_and_sweeps_are_shown_with_their_verdicts(run_folder):
    text = read(run_folder).text
    assert "Samples of step 1,500" in text
    assert "two sampled circles" in text
    assert "1 objects instead of 2" in text
    for label in ("s = 0", "s = 5", "s2 = 0.5"):
        assert label in text


def test_a_damaged_sample_is_left_out(run_folder):
    samples = run_folder / "samples"
    assert [one.task for one in read_drawn(samples)[1]] == ["counting", "add"]
    (samples / "1500" / "counting.png").write_bytes(b"no picture")
    assert [one.task for one in read_drawn(samples)[1]] == ["add"]
    assert "Samples of step 1,500" in read(run_folder).text


def test_a_sample_cannot_name_a_picture_of_another_folder(run_folder, tmp_path):
    outside = tmp_path / "outside.png"
    shutil.copy(run_folder / "samples" / "1500" / "counting.png", outside)
    facts = {"task": "add", "prompt": "p", "guidance": "1", "semantic_weight": "1"}
    image = open_image(outside)
    save_png(
        image, run_folder / "samples/1500/x.png", facts | {"source": f"../../../{outside.name}"}
    )
    _, drawn = read_drawn(run_folder / "samples")
    assert [one.source for one in drawn if one.prompt == "p"] == [None]


def test_the_loop_says_what_is_still_to_come(run_folder):
    assert read(run_folder).text.count("not yet") == 0
    for gone in ("scores", "metrics.jsonl", "codes"):
        path = run_folder / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = read(run_folder)
    assert page.text.count("not yet") >= 8  # encode, train, draw, judge; wide and narrow
    links = {value for tag, name, value in page.attributes if name == "href"}
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert {link[1:] for link in links if link.startswith("#")} <= ids


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("no red star at the top", "no … at the …"),
        ("the objects are white cross, black house", "the objects are …"),
        ("3 objects instead of 4", "… objects instead of …"),
        ("the picture is blurred", "the picture is blurred"),
    ],
)
def test_failures_of_one_kind_are_counted_together(reason, kind):
    assert kind_of_failure(reason) == kind


def test_rare_kinds_of_failure_are_summed_up():
    reasons = ["a"] * 5 + ["b"] * 4 + ["c"] * 3 + ["d", "e", ""]
    assert kinds_of_failure(reasons) == (("a", 5), ("b", 4), ("c", 3), ("other reasons", 3))


def test_deleted_score_pictures_are_said(run_folder):
    shutil.rmtree(run_folder / "scores" / "pictures")
    assert "no picture" in read(run_folder).text


def test_an_item_cannot_name_a_file_outside_the_run(run_folder):
    secret = run_folder.parent / "secret.png"
    picture = next((run_folder / "scores" / "pictures" / "tuned").iterdir())
    shutil.copy(picture, secret)
    items = run_folder / "scores" / "items.jsonl"
    items.write_text(items.read_text().replace("pictures/tuned/", "../../secret.png/../"))
    build(run_folder)
    items.write_text(re.sub(r'"pictures/tuned/[^"]*"', '"../../secret.png"', items.read_text()))
    assert "no picture" in read(run_folder).text


def test_the_same_files_give_the_same_bytes(run_folder):
    assert build(run_folder).read_bytes() == build(run_folder).read_bytes()


def test_a_line_cut_off_by_a_kill_does_not_matter(run_folder):
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1501, "lo')
    assert "1,500 steps" in read(run_folder).text


@pytest.mark.parametrize("name", ["no/such/run", "."])
def test_a_folder_without_a_run_is_named(tmp_path, name):
    with pytest.raises(DataError, match="run"):
        build(tmp_path / name)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("scores/summary.json", "{"),
        ("scores/summary.json", '{"tuned": {}}'),
        ("scores/items.jsonl", "{}\n"),
        ("metrics.jsonl", "oops\n{}\n"),
    ],
)
def test_a_damaged_file_is_named(run_folder, file, content):
    (run_folder / file).write_text(content)
    with pytest.raises(DataError, match=file.rpartition("/")[2].replace(".", r"\.")):
        build(run_folder)


def test_numbers_never_round_to_certainty():
    assert [percent(v) for v in (0, 0.001, 0.5, 0.996, 1, None)] == [
        "0", "0.1", "50", "99.6", "100", "–",
    ]  # fmt: skip


def test_durations_have_two_units():
    assert [duration(s) for s in (1.04, 59.6, 402.7, 7500)] == [
        "1.0 s", "1 min 00 s", "6 min 43 s", "2 h 05 min",
    ]  # fmt: skip
