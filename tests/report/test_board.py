"""The leaderboard's page: what is stored is shown, never run; pictures come when they are looked at."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from janus4o.boards import Answered, Box, Exhibit, Showing, Standing, Table, Value
from janus4o.images import open_image
from janus4o.report.board import SIDE, write_board

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def page(tmp_path: Path, *pictures: Path) -> str:
    row = Standing(EVIL, Value(0.5, 0.25, 0.75, 4), {EVIL: Value(0.5, 0.25, 0.75)}, True, EVIL)
    table = Table("GenEval", EVIL, EVIL, (0, 1), (EVIL,), (row,))
    item = Exhibit(
        id=EVIL,
        tag=EVIL,
        prompt=EVIL,
        share=0.0,
        verdict="wrong",
        reason=f"reason {EVIL}",
        pictures=pictures,
        boxes=(Box("dog 0.93", 10, 20, 110, 220, True), Box(EVIL, 0, 0, 9, 9, False)),
        answers=(Answered(EVIL, (("yes", 0.0),)),),
        reply=f'reply {EVIL} {{{{ 7 * 7 }}}} " onload="alert(3)',
    )
    showing = Showing("mine", "GenEval", {"judge": EVIL}, ((EVIL, EVIL, True),), (item,))
    path = tmp_path / "page.html"
    write_board(path, [table], [showing], None)
    return path.read_text("utf-8")


def test_nothing_stored_is_executed(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert html.count("<script>") == 1
    assert "<img src=x" not in html
    assert '" onload=' not in html
    assert "{{ 7 * 7 }}" in html
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy
    assert "default-src 'none'" in policy[1]
    assert "script-src 'sha256-" in policy[1]
    assert "http" not in policy[1]


def test_an_item_shows_why_it_lost(tmp_path: Path) -> None:
    html = page(tmp_path)
    for said in ("reason &lt;script", "dog 0.93", "yes, counts no", "reply &lt;script"):
        assert said in html


def test_thumbnails_lie_beside_the_page_and_are_lazy(tmp_path: Path) -> None:
    Image.new("RGB", (1000, 500), "red").save(tmp_path / "big.png")
    html = page(tmp_path, tmp_path / "big.png")
    (thumbnail,) = (tmp_path / "page_pictures").iterdir()
    assert open_image(thumbnail).size == (SIDE, SIDE // 2)
    assert f'src="page_pictures/{thumbnail.name}"' in html
    assert 'loading="lazy"' in html
    # Boxes are in pixels of the original.
    assert 'viewBox="0 0 1000 500"' in html
    assert 'd="M10.0 20.0H110.0V220.0H10.0z"' in html
    before = thumbnail.stat().st_mtime_ns
    assert page(tmp_path, tmp_path / "big.png") == html
    assert thumbnail.stat().st_mtime_ns == before


def test_a_damaged_picture_is_said_and_the_rest_is_there(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    html = page(tmp_path, tmp_path / "bad.png", tmp_path / "gone.png")
    assert html.count("damaged picture") == 2
    assert "reason" in html
