"""The leaderboard's filters in a real browser."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import pytest

from janus4o.boards import Exhibit, Showing, Standing, Table, Value
from janus4o.report.board import write_board

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = """
const shown = () => [...document.querySelectorAll(".exhibit:not([hidden]) code")].map(c => c.textContent);
const form = document.querySelector(".filters"), said = { first: shown() };
const set = (name, value) => {
  form.elements[name].value = value;
  form.dispatchEvent(new Event("input"));
  return shown();
};
said.all = set("state", "");
said.unscored = set("state", "unscored");
set("state", "");
said.second = set("system", "1");
said.tag = set("tag", "colors");
set("system", ""); set("tag", "");
said.words = set("words", "RED  found");
said.none = set("words", "purple");
said.output = form.querySelector("output").textContent;
const out = document.createElement("pre");
out.id = "driven";
out.textContent = JSON.stringify(said);
document.body.append(out);
"""


def exhibit(name, tag, share, reason=""):
    return Exhibit(name, tag, f"a {tag} prompt", share, "verdict", reason)


@pytest.mark.slow
def test_filters_show_what_they_say(tmp_path):
    if BROWSER is None:
        pytest.skip("no Chromium here: the page is not tried in a browser")
    row = Standing("one", Value(0.5, 0.2, 0.8, 4), {}, True, "one.json")
    table = Table("GenEval", "t", "n", (0, 1), (), (row,))
    one = (
        exhibit("a", "counting", None, "not readable"),
        exhibit("b", "colors", 0.0, "expected red dog, found none"),
        exhibit("c", "counting", 1.0),
    )
    two = (exhibit("d", "colors", 0.5, "found a red cat"), exhibit("e", "position", 0.2))
    showings = [Showing(name, "GenEval", {}, (), some) for name, some in (("one", one), ("two", two))]  # fmt: skip
    path = tmp_path / "board.html"
    write_board(path, [table], showings)
    mark = base64.b64encode(hashlib.sha256(DRIVER.encode()).digest()).decode()
    page = path.read_text().replace("script-src ", f"script-src 'sha256-{mark}' ", 1)
    path.write_text(page.replace("</body>", f"<script>{DRIVER}</script></body>"))
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'<pre id="driven">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stdout[-800:] + done.stderr[-800:]
    assert json.loads(found[1]) == {
        "first": ["b", "d", "e"],  # what lost points, to begin with
        "all": ["a", "b", "c", "d", "e"],
        "unscored": ["a"],
        "second": ["d", "e"],
        "tag": ["d"],
        "words": ["b", "d"],
        "none": [],
        "output": "0 of 5 items",
    }
