"""The voting page: its protocol over real HTTP, and the page itself in a real browser."""

import base64
import hashlib
import http.client
import json
import re
import shutil
import subprocess

import pytest
from PIL import Image

from janus4o.errors import Refused
from janus4o.evaluate.arena.contest import Item, make_contest
from janus4o.evaluate.arena.order import order
from janus4o.evaluate.arena.votes import read_votes
from janus4o.serve.arena.page import export, render
from janus4o.serve.arena.server import Booth, Server

from .conftest import serving

EVIL = "<img src=x onerror=\"document.title='run'\"></script><script>document.title='run'</script>"
SESSION, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def contest(tmp_path):
    items = [Item(item=f"i{n}", prompt=f"prompt {n} {EVIL}") for n in range(6)]
    items[5] = Item(item="i5", prompt="make it blue", source="a red door")
    for n, name in enumerate(("base", "tuned", "sources")):
        (tmp_path / name).mkdir()
        for item in items:
            Image.new("RGB", (8, 8), (90 * n, 0, 9)).save(tmp_path / name / f"{item.item}.png")
    systems = {name: tmp_path / name for name in ("base", "tuned")}
    return make_contest(tmp_path / "c", systems, items, tmp_path / "sources", 0)[0]


def served(contest, folder, page=None):
    booth = Booth(contest, folder)
    booth.page = page or booth.page
    return serving(Server(booth, "127.0.0.1", 0))


def ask(server, method, path, body=None, headers=None):
    """(status, body) of one request; the path goes out as it stands."""
    connection = http.client.HTTPConnection(*server.server_address, timeout=20)
    try:
        data = json.dumps(body) if isinstance(body, dict) else body
        kind = {"Content-Type": "application/json"} if data is not None else {}
        connection.request(method, path, data, {**kind, **(headers or {})})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def answer(place, rater="ann", session=SESSION, **changes):
    fields = {"rater": rater, "session": session, "place": place, "follows": "left"}
    return {**fields, "looks": "tie", "ms": 5, **changes}


def test_votes_are_kept_and_gone_on_with_after_a_kill(contest, tmp_path):
    start = {"rater": "ann", "session": SESSION}
    with served(contest, tmp_path / "c") as server:
        status, body = ask(server, "POST", "/start", start)
        found = json.loads(body)
        assert (status, found["done"], found["session"]) == (200, [], SESSION)
        assert found["order"] == [[t.item, t.left, t.right] for t in order(contest, "ann")]
        for place in (0, 1):
            assert ask(server, "POST", "/vote", answer(place)) == (200, b"{}")
    path = tmp_path / "c" / "votes.jsonl"
    path.write_bytes(path.read_bytes() + b'{"contest": "')
    with served(contest, tmp_path / "c") as server:
        assert [str(p) for p in server.booth.problems] == [
            "votes.jsonl line 3: is not JSON; half-written? (not scored)"
        ]
        assert json.loads(ask(server, "POST", "/start", start)[1])["done"] == [0, 1]
        assert ask(server, "POST", "/vote", answer(2))[0] == 200
    votes, problems = read_votes(contest, [path])
    assert [vote.place for vote, _ in votes] == [0, 1, 2]
    assert len(problems) == 1


def test_the_same_name_is_asked_about(contest, tmp_path):
    with served(contest, tmp_path / "c") as server:
        assert ask(server, "POST", "/vote", answer(0))[0] == 200
        other = {"rater": "ann", "session": OTHER}
        assert json.loads(ask(server, "POST", "/start", other)[1]) == {"taken": True}
        assert ask(server, "POST", "/vote", answer(1, session=OTHER))[0] == 409
        found = json.loads(ask(server, "POST", "/start", {**other, "same": True})[1])
        assert (found["session"], found["done"]) == (SESSION, [0])
        assert ask(server, "POST", "/vote", answer(0, "ben", OTHER))[0] == 200


def test_nothing_but_the_contest_is_given_out(contest, tmp_path):
    (tmp_path / "c" / "pictures" / "stray.png").write_bytes(b"not of the contest")
    token = next(iter(contest.pictures))
    with served(contest, tmp_path / "c") as server:
        assert ask(server, "GET", f"/pictures/{token}.png")[1].startswith(b"\x89PNG")
        for path in (
            "/pictures/../contest.json", "/pictures/..%2fcontest.json", "/contest.json",
            "/pictures/stray.png", "/pictures//etc/passwd", f"/pictures/{token}", "/../votes.jsonl",
            f"/pictures/{token}.png/../../contest.json", "//etc/passwd", "/pictures/%00.png",
        ):  # fmt: skip
            assert ask(server, "GET", path)[0] == 404, path
        assert ask(server, "GET", "/", headers={"Host": "evil.example"})[0] == 403
        assert ask(server, "GET", "/", headers={"Host": "localhost:1"})[0] == 200


def test_a_query_string_changes_nothing(contest, tmp_path):
    token = next(iter(contest.pictures))
    with served(contest, tmp_path / "c") as server:
        assert ask(server, "GET", "/?utm_source=mail") == ask(server, "GET", "/")
        assert ask(server, "GET", f"/pictures/{token}.png?1")[1].startswith(b"\x89PNG")
        assert ask(server, "POST", "/vote?x", answer(0)) == (200, b"{}")
        assert ask(server, "GET", "/contest.json?/pictures/")[0] == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (answer(99), 400),
        (answer(-1), 400),
        (answer(True, rater=3), 400),
        (answer(0, looks="best"), 400),
        (answer(0, session="short"), 400),
        (answer(0, rater=""), 400),
        (answer(0, extra=1), 400),
        ("[1]", 400),
        ("{", 400),
        ("[" * 9_000, 400),
        (" " * 10_001, 413),
    ],
)
def test_what_is_no_vote_is_refused_and_not_kept(contest, tmp_path, body, status):
    with served(contest, tmp_path / "c") as server:
        assert ask(server, "POST", "/vote", body)[0] == status
        plain = {"Content-Type": "text/plain"}  # what a page of another site could send
        assert ask(server, "POST", "/vote", json.dumps(answer(0)), plain)[0] == 403
        assert ask(server, "POST", "/else", answer(0))[0] == 404
    assert not (tmp_path / "c" / "votes.jsonl").exists()


def test_prompts_stay_text_and_repeats_and_systems_stay_hidden(contest, tmp_path):
    page = export(contest, tmp_path / "c", tmp_path / "ex").read_text()
    assert "<img src=x" not in page
    assert page.count("</script>") == 2
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))
    assert data["items"][0]["prompt"].endswith(EVIL)
    assert "base" not in json.dumps(data)
    assert "tuned" not in json.dumps(data)
    assert "repeat" not in json.dumps(data)
    with pytest.raises(Refused, match="not an empty folder"):
        export(contest, tmp_path / "c", tmp_path / "ex")


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = """
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const pause = () => new Promise(go => setTimeout(go, 60));
(async () => {
  const said = { title: document.title, prompts: [], naturals: [] };
  try {
    document.getElementById("name").value = "ann";
    document.querySelector("#start button").click();
    for (let i = 0; i < 40 && document.getElementById("trial").hidden; i++) await pause();
    const keys = [["ArrowLeft", "ArrowDown"], ["ArrowRight", "s"]];
    for (let n = 0; !document.getElementById("trial").hidden && n < 20; n++) {
      await pause();
      said.prompts.push(document.getElementById("prompt").textContent);
      said.naturals.push(document.getElementById("left").naturalWidth);
      for (const key of keys[n % 2]) press(key);
      const before = document.getElementById("count").textContent;
      if (n === 2) { await pause(); press("Backspace"); }
      for (let i = 0; i < 20; i++) await pause();
    }
    said.ended = !document.getElementById("end").hidden;
    said.injected = document.querySelectorAll("#prompt *").length;
    said.after = document.title;
    const link = document.getElementById("download");
    said.file = link.href ? exported.kept.votes.map(v => JSON.stringify(v)).join("\\n") : "";
  } catch (error) { said.error = String(error); }
  const out = document.createElement("pre");
  out.id = "driven";
  out.textContent = JSON.stringify(said);
  document.body.append(out);
})();
"""


def driven(page):
    """The page with a script added that uses it, let in by its hash."""
    mark = base64.b64encode(hashlib.sha256(DRIVER.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src 'sha256-{mark}' ", 1)
    return page.replace("</body>", f"<script>{DRIVER}</script></body>")


def browse(url, profile):
    if BROWSER is None:
        pytest.skip("no Chromium here: the page is not tried in a browser")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
            "--virtual-time-budget=60000", "--timeout=90000", "--dump-dom", url,
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'<pre id="driven">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stdout[-800:] + done.stderr[-800:]
    text = found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return json.loads(text)


def check(said, contest, votes):
    """Seven trials, the third answered again after Backspace."""
    assert "error" not in said
    assert said["ended"]
    assert (said["title"], said["after"], said["injected"]) == ("Which picture?",) * 2 + (0,)
    assert any(EVIL in prompt for prompt in said["prompts"])
    assert set(said["naturals"]) == {8}, "a picture did not load"
    assert len(votes) == len(order(contest, "ann")) == 7
    assert len(said["prompts"]) == 8
    choices = {(vote.follows, vote.looks) for vote, _ in votes}
    assert choices == {("left", "tie"), ("right", "skip")}


@pytest.mark.slow
def test_a_person_votes_in_a_browser(contest, tmp_path):
    page = driven(render(contest)).encode()
    with served(contest, tmp_path / "c", page) as server:
        said = browse(server.address, tmp_path / "profile")
    votes, problems = read_votes(contest, [tmp_path / "c" / "votes.jsonl"])
    assert problems == []
    check(said, contest, votes)


@pytest.mark.slow
def test_the_export_works_without_a_server(contest, tmp_path):
    page = export(contest, tmp_path / "c", tmp_path / "ex")
    page.write_text(driven(page.read_text()))
    said = browse(page.as_uri(), tmp_path / "profile")
    path = tmp_path / "got.jsonl"
    path.write_text(said["file"])
    votes, problems = read_votes(contest, [path])
    assert problems == []
    assert {vote.seat.split()[0] for vote, _ in votes} == {"seat"}
    check(said, contest, votes)
