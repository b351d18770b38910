"""What an export says about its own files: `croissant.json`, which comes after all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from janus4o.errors import DataError
from janus4o.files import LOCK_NAME
from janus4o.rows.places import is_file, is_inside

CROISSANT_FILE = "croissant.json"
_SIZE = re.compile(r"(\d{1,18}) B")


def check_finished(folder: Path) -> None:
    """Raises DataError for an export of ours that was not written to its end."""
    if (folder / LOCK_NAME).is_file() and not (folder / CROISSANT_FILE).is_file():
        raise DataError(
            f"{str(folder)!r} is an export that was not finished", "run `janus4o export` again"
        )


def faults(folder: Path) -> list[str]:
    """Files listed that are not there, or not of the size they had; a line each."""
    try:
        found = json.loads((folder / CROISSANT_FILE).read_bytes())
        entries = found["distribution"]
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return []  # nothing is listed, or by somebody who lists otherwise
    return [fault for entry in entries for fault in _fault(folder, entry)]


def _fault(folder: Path, entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return []
    name, size = entry.get("contentUrl"), _SIZE.fullmatch(str(entry.get("contentSize")))
    if not isinstance(name, str) or not is_inside(name) or ":" in name or size is None:
        return []
    path = folder / name
    if not is_file(path):
        return [f"{name} is listed in {CROISSANT_FILE} and missing"]
    there = path.stat().st_size
    if there != int(size[1]):
        return [f"{name} has {there:,} bytes instead of {int(size[1]):,}"]
    return []
