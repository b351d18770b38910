"""A second run beside the first: another recipe, and what of the first one's work still holds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from janus4o import files
from janus4o.errors import DataError, Refused
from janus4o.recipe import Recipe
from janus4o.rows import IMPORTED_FILE, ROWS_FILE
from janus4o.synth.sample import content_of
from janus4o.synth.shared import has_store, open_store

LINKED = ("blobs", ROWS_FILE.parts[0], "codes")
"""Folders whose files are replaced, never written into, so that two runs can share them."""


def fork(recipe: Recipe, folder: str | Path) -> tuple[Recipe, bool]:
    """Begins `folder` from the recipe's own run folder, which stays as it is.

    Where the samples are determined by the same things, it takes over every answer, picture, row
    and code, so that nothing is asked, paid or encoded again; files are linked where the file
    system can do that. Checkpoints, samples and scores are never taken over. A `folder` that is there
    already is left as it is: the same command goes on in it.

    Returns:
        The recipe with `folder` as its output, and whether the work was taken over.

    Raises:
        DataError: there is no run to fork.
        Refused: `folder` is the run folder itself.
        FolderBusy: somebody works in the run folder.
    """
    source, folder = recipe.folder, Path(folder)
    moved = recipe.model_copy(update={"output": str(folder)})
    if folder.resolve() == source.resolve():
        raise Refused(f"{str(folder)!r} cannot be forked into itself", "name another folder")
    if folder.exists() and any(folder.iterdir()):
        return moved, _agree(folder, recipe)
    if not has_store(source) and not any(
        (source / name).is_file() for name in (ROWS_FILE, IMPORTED_FILE)
    ):
        raise DataError(
            f"{str(source)!r} holds no run to fork", "run the recipe without --fork first"
        )
    same = _agree(source, recipe)
    if same:
        with files.lock(source):
            _take_over(source, folder)
    return moved, same


def _agree(folder: Path, recipe: Recipe) -> bool:
    """Whether the samples of a folder are those of a recipe; imported rows are of no recipe."""
    if not has_store(folder):
        return True
    with files.lock(folder):
        store = open_store(folder)
        try:
            return not store.differences(content_of(recipe))
        finally:
            store.close()


def _take_over(source: Path, folder: Path) -> None:
    """Fills a folder beside `folder` and renames it, so that a kill leaves all of it or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = files.new_folder(folder.parent, folder.name)
    try:
        part.chmod(source.stat().st_mode & 0o777)
        if has_store(source):
            store = open_store(source)
            try:
                store.copy(part)
            finally:
                store.close()
        for name in LINKED:
            if (source / name).is_dir():
                shutil.copytree(source / name, part / name, copy_function=_link)
        files.sync_filesystem(part)
        if folder.exists():
            folder.rmdir()  # empty, or it would have been gone on with
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    files.sync_folder(folder.parent)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
