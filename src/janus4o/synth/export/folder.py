"""The folder an export is written to: what of it may be replaced, and in which order."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from janus4o import files
from janus4o.errors import DataError
from janus4o.rows import CROISSANT_FILE, FAMILIES
from janus4o.synth.export.figures import NAMES

CARD_FILE = "README.md"
FIGURES_FOLDER = "figures"
_MARK = re.compile(rb"\n<!-- written by janus4o export ([0-9a-f]{64}) -->\n\Z")
_family = "|".join(FAMILIES)
_DATA = re.compile(rf"({_family})(\.json|_part_\d+\.tar|-\d{{5}}\.(parquet|tar))")


def check(out: Path) -> None:
    """Raises DataError where the folder holds anything that an export would destroy."""
    if not out.is_dir() or not any(out.iterdir()):
        return
    for path in out.iterdir():
        if not _is_ours(path):
            raise DataError(
                f"{str(out)!r} holds {path.name!r}, which is no part of an export",
                "give an empty folder",
            )
    if not (out / files.LOCK_NAME).is_file():
        raise DataError(
            f"{str(out)!r} holds a data set that was not exported here", "give an empty folder"
        )
    card = out / CARD_FILE
    if card.is_file() and not is_unchanged(card.read_bytes()):
        raise DataError(
            f"the card {str(card)!r} was changed by hand and would be lost",
            "move it away, or give another folder",
        )


def clear(out: Path) -> None:
    """Takes away an earlier export; first what makes it one, so that nobody takes half of it."""
    (out / CROISSANT_FILE).unlink(missing_ok=True)
    for family in FAMILIES:
        (out / f"{family}.json").unlink(missing_ok=True)
    for path in sorted(out.iterdir()):
        if _DATA.fullmatch(path.name) or path.name == CARD_FILE:
            path.unlink()
    for name in NAMES:
        (out / FIGURES_FOLDER / name).unlink(missing_ok=True)


def marked(card: str) -> bytes:
    """A card with the line by which one changed by hand is told."""
    text = card.encode()
    mark = hashlib.sha256(text).hexdigest()
    return text + f"\n<!-- written by janus4o export {mark} -->\n".encode()


def is_unchanged(card: bytes) -> bool:
    """Whether a card is still what `marked` made."""
    found = _MARK.search(card)
    if found is None:
        return False
    return hashlib.sha256(card[: found.start()]).hexdigest() == found[1].decode()


def _is_ours(path: Path) -> bool:
    if path.name == FIGURES_FOLDER and path.is_dir():
        return all(one.name in NAMES or files.is_unfinished(one) for one in path.iterdir())
    return (
        path.name in (files.LOCK_NAME, CARD_FILE, CROISSANT_FILE)
        or files.is_unfinished(path)
        or _DATA.fullmatch(path.name) is not None
    )
