"""The viewer: what it finds, how it pages, what it gives out, and hostile text in a real browser."""

import html
import http.client
import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from janus4o.cli import app
from janus4o.errors import BadInput, DataError, Refused, UsageError
from janus4o.exchange import Usage
from janus4o.images import save_png
from janus4o.ledger.journal import Attempt
from janus4o.records import Provenance, Row
from janus4o.rows import open_rows
from janus4o.serve.viewer.album import open_album
from janus4o.serve.viewer.index import PAGE, Index, Query, parse
from janus4o.serve.viewer.server import Server
from janus4o.synth.checking.run import check_rows
from janus4o.synth.sample import Pipeline, Sample, Standing, State
from janus4o.synth.store import Store

from .conftest import serving

EVIL = "<img src=x onerror=\"document.title='run'\"></script><script>document.title='run'</script>"
SVG = (
    f"<svg xmlns='http://www.w3.org/2000/svg' onload=\"document.title='run'\">{EVIL}</svg>".encode()
)
T2I, EDITS = 60, 50


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)


def row(number: int, prompt: str, output: str, *sources: str) -> Row:
    return Row(
        input_prompt=prompt, output_image=output, output_image_resolution=(32, 32), input_image=sources,
        provenance=Provenance(
            id=f"{number:032x}", pipeline="editing" if sources else "prompt_first",
            task=("add", "remove")[number % 2] if sources else "counting", attributes={"n": EVIL},
            write_prompt=f"write {EVIL}", writer="w", painter="p", seed=0, checks={"decodes": True},
        ),
    )  # fmt: skip


def attempt(sample: str, stage: str, status: str, text: str | None, blob: str | None) -> Attempt:
    return Attempt(sample, stage, "r", status, "m", text, blob, Usage(1, 1, 0, 0.0), 1.0, 0.5)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed. 110 rows, the last edit doing nothing; a rejected edit, a refused and a duplicate prompt."""
    folder = tmp_path_factory.mktemp("made") / "run"
    store = Store(folder)
    names = [store.blobs.put(save_png(picture(n)), durable=False) for n in range(T2I + EDITS)]
    rows = [row(n, f"prompt {n} of things", names[n]) for n in range(T2I)]
    for n in range(T2I, T2I + EDITS):
        rows.append(row(n, f"make it {n}", names[n], names[n - T2I]))
    rows[-1] = row(T2I + EDITS - 1, "do nothing", names[3], names[3])
    for n, one in enumerate(rows):
        pipeline = Pipeline.EDITING if one.is_edit else Pipeline.PROMPT_FIRST
        store.update(Standing(Sample(pipeline, n, f"{n:032x}"), State.ACCEPTED, "", one))
    lost = (
        (Pipeline.EDITING, State.REJECTED, f"changed: nothing {EVIL}", None),
        (Pipeline.PROMPT_FIRST, State.REFUSED, "moderation: not that", None),
        (Pipeline.PROMPT_FIRST, State.REJECTED, "duplicate: as before", rows[0]),
        (Pipeline.PROMPT_FIRST, State.FAILED, "timeout: no answer", None),
    )
    for n, (pipeline, state, reason, made) in enumerate(lost, T2I + EDITS):
        store.update(Standing(Sample(pipeline, n, f"{n:032x}"), state, reason, made))
        if n == T2I + EDITS:
            store.record(attempt(f"{n:032x}", "source.paint", "ok", None, names[1]))
            store.record(attempt(f"{n:032x}", "write", "ok", f"asked for {EVIL}", None))
            store.record(attempt(f"{n:032x}", "paint", "ok", None, names[2]))
    store.flush()
    store.close()
    (folder / "dataset").mkdir()
    text = "".join(f"{one.to_json_line()}\n" for one in rows)
    (folder / "dataset" / "rows.jsonl").write_text(text)
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


def served(folder: Path, checks: Path | None = None):
    album = open_album(folder, checks)
    server = Server("127.0.0.1", 0)
    server.show(album, folder)
    return serving(server)


def ask(server, path, headers=None):
    """(status, headers, body) of one request; the path goes out as it stands."""
    connection = http.client.HTTPConnection(*server.server_address, timeout=20)
    try:
        connection.request("GET", path, headers=headers or {})
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def walk(server, query: str, link: str):
    """Keys of all pages from an address on, page by page, going where its links lead."""
    pages, address = [], f"/?{query}"
    while address:
        status, _, body = ask(server, address)
        assert status == 200, body
        text = body.decode()
        pages.append(
            [int(key) for key in re.findall(r'class="more[^"]*" href="/entries/(\d+)', text)]
        )
        found = re.search(rf'rel="{link}" href="([^"]+)"', text)
        address = html.unescape(found[1]) if found else None
    return pages


def test_pages_show_every_entry_once_in_both_directions(made):
    with served(made) as server:
        forth, back = walk(server, "", "next"), walk(server, "before=-1", "prev")
        assert [key for page in forth for key in page] == list(range(T2I + EDITS + 4))
        assert [len(page) for page in forth] == [PAGE] * 4 + [18]
        assert [key for page in reversed(back) for key in page] == list(range(T2I + EDITS + 4))
        edits = walk(server, "kind=edit&state=accepted", "next")
        assert [key for page in edits for key in page] == list(range(T2I, T2I + EDITS))


def test_filters_find_what_they_say(run):
    check_rows(open_rows(run), run)
    album = open_album(run)
    lost = {album[k].reason.partition(":")[0]: k for k in range(T2I + EDITS, len(album))}
    index = Index(album)
    for query, keys in (
        (Query(task="remove"), list(range(T2I + 1, T2I + EDITS, 2))),
        (Query(pipeline="prompt_first", words="PROMPT 7 of"), [7]),
        (Query(state="refused"), [lost["moderation"]]),
        (Query(reason="rejected: duplicate"), [lost["duplicate"]]),
        (Query(words="moderation"), [lost["moderation"]]),
        (Query(words=f"{5:032x}"), [5]),
        (Query(words="prompt"), [*range(T2I), lost["duplicate"]]),
        (Query(words="do nothing", kind="edit"), [109]),
        (Query(kind="edit", check="changed"), [109]),
        (Query(check="failed", kind="edit"), [109]),
        (Query(words="no such thing"), []),
        (Query(words="\0"), []),
    ):
        found = index.page(query)
        assert (found.keys, found.total) == (keys[:PAGE], len(keys)), query
    assert {**index.choices["check"]}["changed"] == 1


def test_a_sample_that_came_to_nothing_shows_what_was_asked_and_painted(made):
    with served(made) as server:
        key = next(k for k in range(110, 114) if server.album[k].reason.startswith("changed"))
        entry = server.album[key]
        assert (entry.kind, entry.prompt, len(entry.sources)) == ("edit", f"asked for {EVIL}", 1)
        for n in range(2):
            status, headers, body = ask(server, f"/small/{key}/{n}")
            assert (status, headers["Content-Type"]) == (200, "image/png")
            assert Image.open(io.BytesIO(body)).size == (32, 32)
        text = ask(server, f"/entries/{key}")[2].decode()
        assert html.escape(EVIL, quote=False).replace('"', "&#34;").replace("'", "&#39;") in text
        assert "source.paint" in text


def test_checks_of_another_state_are_not_shown(run):
    check_rows(open_rows(run), run)
    rows = run / "dataset" / "rows.jsonl"
    rows.write_text("\n".join(rows.read_text().splitlines()[:-1]) + "\n")
    with served(run) as server:
        text = ask(server, "/")[2].decode()
        assert "of another state of this data set" in text
        assert 'name="check"' not in text


def test_a_change_of_the_data_set_is_said(run):
    with served(run) as server:
        assert "has changed since" not in ask(server, "/")[2].decode()
        check_rows(open_rows(run), run)
        assert "has changed since" in ask(server, "/")[2].decode()
        assert "has changed since" in ask(server, "/entries/3")[2].decode()


def test_a_run_that_is_not_finished_shows_what_it_has(run):
    (run / "dataset" / "rows.jsonl").unlink()
    with served(run) as server:
        text = ask(server, "/")[2].decode()
        assert "not finished" in text
        assert f"of {T2I + EDITS + 4}" in text
        assert ask(server, "/small/3/0")[0] == 200


def test_pictures_that_are_gone_or_damaged_are_marked(run):
    album = open_album(run)
    gone, cut = (run / "blobs" / name[:2] / name for name in (album[4].output, album[5].output))
    with served(run) as server:
        gone.unlink()
        cut.write_bytes(cut.read_bytes()[:300])
        for key in (4, 5):
            for size in ("small", "pictures"):
                status, headers, body = ask(server, f"/{size}/{key}/0")
                assert (status, headers["Content-Type"]) == (404, "image/png")
                Image.open(io.BytesIO(body)).load()
        assert "cannot be read" in ask(server, "/entries/4")[2].decode()
        assert "is damaged" in ask(server, "/entries/5")[2].decode()
        assert ask(server, "/?after=3")[0] == 200


ADDRESSES = {
    404: (
        "/entries/114", "/entries/-1", "/entries/x", "/entries/1e3", "/entries/%D9%A3", "/entries/3/4",
        "/small/3/1", "/small/3", "/pictures/3/0/../../x", "/pictures/../store.sqlite",
        "/store.sqlite", "//etc/passwd", "/%00",
    ),
    400: (
        "/?after=x", "/?after=--3", "/?after=%D9%A3", "/?task=" + "a" * 9000, "/?words=" + "a" * 201,
        "/?check=no", "/?kind=<script>", "/?" + "&".join("a=1" for _ in range(30)),
    ),
    200: ("/?after=99999999999999999999", "/?words=%ff%00", "/?utm=1", "/?after=-1"),
}  # fmt: skip


def test_other_addresses_are_one_line(made):
    with served(made) as server:
        for status, paths in ADDRESSES.items():
            for path in paths:
                found, headers, body = ask(server, path)
                assert found == status, path
                assert headers["Content-Security-Policy"].startswith("default-src 'none'")
                assert b"<script>" not in body
                assert b"Traceback" not in body


def test_every_answer_says_what_it_is_and_only_to_its_own_address(made):
    with served(made) as server:
        for path in ("/", "/entries/3", "/nothing", "/small/3/0", "/pictures/3/0", "/page.css"):
            _, headers, _ = ask(server, path)
            assert headers["X-Content-Type-Options"] == "nosniff"
        policy = ask(server, "/")[1]["Content-Security-Policy"]
        assert "script" not in policy
        assert "unsafe" not in policy
        assert ask(server, "/", {"Host": "evil.example"})[0] == 403
        assert ask(server, "/small/3/0", {"Host": "evil.example:80"})[0] == 403


def hostile(folder: Path) -> Path:
    """A published data set whose every text is a script, and whose pictures hold or are some."""
    folder.mkdir()
    buffers = []
    exif = Image.Exif()
    exif[0x010E] = EVIL
    info = PngInfo()
    info.add_text("Comment", EVIL)
    for kind, more in (("JPEG", {"exif": exif}), ("PNG", {"pnginfo": info})):
        buffer = io.BytesIO()
        picture(len(buffers)).save(buffer, kind, **more)
        buffers.append(buffer.getvalue())
    buffers += [SVG, b"GIF89a" + SVG, b"\xff\xd8\xff" + SVG, EVIL.encode()]
    rows = []
    with tarfile.open(folder / "text_to_image_part_0.tar", "w") as tar:
        for n, data in enumerate(buffers):
            name = f"image/{n}{EVIL.replace('/', '_')}.svg"
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            rows.append(row(n, f"prompt {n} {EVIL}", name).to_json())
        rows.append(row(99, EVIL, f"gone {EVIL}").to_json())
    (folder / "text_to_image.json").write_text(json.dumps(rows))
    return folder


def test_hostile_pictures_are_never_sent_as_anything_but_pictures(tmp_path):
    with served(hostile(tmp_path / "evil")) as server:
        for key in range(6):
            for size in ("small", "pictures"):
                status, headers, body = ask(server, f"/{size}/{key}/0")
                assert status == (200 if key < 2 else 404)
                assert headers["Content-Type"] in ("image/png", "image/jpeg")
                assert Image.open(io.BytesIO(body)).format in ("PNG", "JPEG")
                assert "sandbox" in headers["Content-Security-Policy"]
                assert b"script" not in body or (size == "pictures" and key < 2)
        for path in ("/", *(f"/entries/{key}" for key in range(6))):
            text = ask(server, path)[2].decode()
            assert "<script" not in text
            assert "<img src=x" not in text
        assert "ImageDescription" in ask(server, "/entries/0")[2].decode()
        assert "begins with" in ask(server, "/entries/2")[2].decode()


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/entries/0", "/entries/2"])
def test_nothing_stored_runs_in_a_browser(tmp_path, path):
    if BROWSER is None:
        pytest.skip("no Chromium here: the pages are not tried in a browser")
    with served(hostile(tmp_path / "evil")) as server:
        done = subprocess.run(
            [
                BROWSER, "--headless", "--no-sandbox", "--disable-gpu",
                f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
                server.address.rstrip("/") + path,
            ],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    shown = done.stdout
    assert "<title>run</title>" not in shown
    assert "<script" not in shown
    assert 'src="x"' not in shown
    if path == "/":
        assert shown.count("&lt;script&gt;") >= 6
        assert shown.count("<article") == 6
        assert "1 thing was wrong" in shown
    elif path.startswith("/entries"):
        where = shown[shown.index("<h2>Files</h2>") :].partition("How it came to be")[0]
        assert where.count("&lt;script&gt;") >= 2  # in the file's name, and in the file


def test_bad_input_is_one_line(tmp_path, run, capsys):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "absent"):
        assert app.main(["view", str(folder), "--port", "0"]) == DataError.exit_code
        assert "holds no data set" in capsys.readouterr().err
    code = app.main(["view", str(run), "--port", "0", "--checks", str(tmp_path / "empty")])
    assert code == UsageError.exit_code
    assert "has no checks.jsonl" in capsys.readouterr().err
    with Server("127.0.0.1", 0) as server:
        port = str(server.server_address[1])
        assert app.main(["view", str(run), "--port", port]) == Refused.exit_code
        assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
    with pytest.raises(Refused, match="no such port"):
        Server("127.0.0.1", 70_000)


def test_an_address_survives_its_way_through_a_link():
    query = Query(task="a&b=c", words="ü <'\">", check="passed")
    said = dict(pair.split("=") for pair in query.link(after=3).split("&"))
    assert query.link(after=3) == urlencode(
        {"task": "a&b=c", "check": "passed", "words": "ü <'\">", "after": 3}
    )
    assert said["after"] == "3"
    with pytest.raises(BadInput):
        parse({"after": "٣"})
