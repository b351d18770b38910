"""The voting page as one string, and as a folder that needs no server."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from janus4o.errors import Refused
from janus4o.evaluate.arena.contest import PICTURES_FOLDER, Contest
from janus4o.evaluate.arena.order import Trial, order
from janus4o.evaluate.evidence import write_new

SEATS = 24
"""Orders an export carries; each rater's browser takes one at random."""


def trials_to_json(trials: list[Trial]) -> list[list[str]]:
    """What the page may know: not which trial is a repeat."""
    return [[trial.item, trial.left, trial.right] for trial in trials]


def render(contest: Contest, seats: int = 0) -> str:
    """The page; with `seats` it holds that many orders and keeps the votes itself.

    Its policy lets nothing run but its own script, told by hash.
    """
    sources = contest.sources()
    data: dict[str, Any] = {
        "contest": contest.id,
        "items": [
            {"item": item.item, "prompt": item.prompt, "picture": sources.get(item.item)}
            for item in contest.items
        ],
    }
    if seats:
        names = [f"seat {number}" for number in range(1, seats + 1)]
        data["orders"] = {name: trials_to_json(order(contest, name)) for name in names}
    script, style = _part("page.js"), _part("page.css")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src 'self' file:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    page = _part("page.html").replace("__POLICY__", policy)
    page = page.replace("__STYLE__", style).replace("__SCRIPT__", script)
    # Last, so that nothing in a prompt is taken for a place to fill; "<" cannot end the element.
    return page.replace("__DATA__", json.dumps(data).replace("<", "\\u003c"))


def export(contest: Contest, folder: Path, out: Path) -> Path:
    """Writes the page and its pictures into a new or empty folder; returns the page.

    Raises:
        Refused: the folder holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{str(out)!r} is not an empty folder", "name another --export")
    (out / PICTURES_FOLDER).mkdir(parents=True, exist_ok=True)
    for token in contest.pictures:
        name = f"{token}.png"
        shutil.copyfile(folder / PICTURES_FOLDER / name, out / PICTURES_FOLDER / name)
    write_new(out / "index.html", render(contest, SEATS).encode())
    return out / "index.html"


def _part(name: str) -> str:
    return resources.files("janus4o.serve.arena").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
