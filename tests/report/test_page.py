"""The page stands alone, believes nothing it is given, and says what is missing."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from janus4o.errors import DataError
from janus4o.report.page import build, duration, percent

VOID = {"meta", "img", "rect", "line", "polyline", "br", "link"}


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
        if not self.open or self.open[-1] != "style":
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
    assert not re.search(r"https?://|url\(|@import|<script|<link|<iframe", html)
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
    tags = {tag for tag, _, _ in page.attributes}
    assert "script" not in tags
    assert not [value for _, name, value in page.attributes if name == "src" and value == "x"]


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("scores", "Nothing has been scored yet"),
        ("metrics.jsonl", "Nothing has been trained yet"),
        ("timings.json", "No times were recorded"),
        ("dataset", "There is no data set yet"),
        ("recipe.yaml", "holds no recipe.yaml"),
        ("blobs", "could not be used"),
    ],
)
def test_a_missing_piece_is_said(run_folder, gone, said):
    path = run_folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert said in read(run_folder).text


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
