"""Pictures of DPG-Bench on disk: 2×2 grids as the original wants them, or one file a picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from janus4o.errors import DataError
from janus4o.evaluate.dpg.scoring import TILES, item_of
from janus4o.evaluate.evidence import Problem
from janus4o.images import open_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, slots=True)
class Source:
    """The pictures of one prompt: one file (a grid, or a single picture), or one a tile.

    `name` is what stored answers call it.
    """

    name: str
    paths: tuple[Path, ...]

    @property
    def item(self) -> str:
        return item_of(self.name)


def find_pictures(folder: Path, items: Collection[str]) -> tuple[list[Source], list[Problem]]:
    """`<folder>/<item>.png` (grid or single) or `<folder>/<item>/<n>.png` (separate), sorted.

    What belongs to no prompt, and prompts without a picture, are listed.

    Raises:
        DataError: the folder is not there or holds nothing of the benchmark.
    """
    if not folder.is_dir():
        raise DataError(f"{str(folder)!r} is not a folder", "give the folder of the pictures")
    found: list[Source] = []
    problems: list[Problem] = []
    for entry in sorted(folder.iterdir()):
        paths = tuple(sorted(entry.iterdir())) if entry.is_dir() else (entry,)
        strange = [path for path in paths if path.suffix.lower() not in SUFFIXES]
        paths = tuple(path for path in paths if path not in strange)
        problems += [Problem(str(p.relative_to(folder)), "is no picture", False) for p in strange]
        if not paths:
            continue
        if item_of(entry.name) not in items:
            problems.append(Problem(entry.name, "belongs to no prompt of the csv", unscored=False))
        elif len(paths) > TILES:
            problems.append(Problem(entry.name, f"holds {len(paths)} pictures, at most {TILES}"))
        else:
            found.append(Source(entry.name, paths))
    there = {source.item for source in found}
    problems += [Problem(item, "no picture") for item in items if item not in there]
    if not found:
        raise DataError(
            f"{str(folder)!r} holds no picture named after a prompt of the csv",
            "<item_id>.png, or <item_id>/0.png …",
        )
    return found, problems


def open_tiles(source: Source, tiles: int, side: int | None = None) -> list[Image.Image]:
    """The tiles of one prompt, top-left, top-right, bottom-left, bottom-right.

    Args:
        tiles: how many are wanted, 1–4.
        side: of one tile in pixels, as the original's --resolution; None takes half the width of a
            grid, or the whole picture where one tile is wanted.

    Raises:
        ImageError: a picture cannot be read.
        DataError: there are fewer, or a grid is smaller than its tiles.
    """
    if len(source.paths) > 1:
        if len(source.paths) < tiles:
            raise DataError(f"{source.name} has {len(source.paths)} pictures, not {tiles}", "")
        return [open_image(path) for path in source.paths[:tiles]]
    picture = open_image(source.paths[0])
    if side is None:
        side = picture.width // 2 if tiles > 1 else max(picture.size)
        if tiles > 1 and picture.width != picture.height:
            raise DataError(
                f"{source.name} is {picture.width}×{picture.height} pixels, no square grid",
                "give the side of a tile with --resolution",
            )
        if tiles == 1:
            return [picture]
    return cut_grid(picture, side, tiles)


def cut_grid(picture: Image.Image, side: int, tiles: int) -> list[Image.Image]:
    """Squares of `side` pixels out of a 2×2 grid; raises DataError where one lies outside."""
    corners = [(0, 0), (side, 0), (0, side), (side, side)][:tiles]
    for left, top in corners:
        # The original would ask about black there.
        if left + side > picture.width or top + side > picture.height:
            raise DataError(
                f"a picture of {picture.width}×{picture.height} pixels has no tile of {side} "
                f"at {left}, {top}",
                "check --resolution and --pic-num",
            )
    return [picture.crop((left, top, left + side, top + side)) for left, top in corners]


def make_grid(pictures: Sequence[Image.Image]) -> Image.Image:
    """The official 2×2 picture out of up to four of one size; raises DataError otherwise."""
    sizes = {picture.size for picture in pictures}
    if len(sizes) != 1 or len(pictures) > TILES or len({*sizes.copy().pop()}) != 1:
        raise DataError("a grid takes up to four square pictures of one size", "")
    side = pictures[0].width
    if len(pictures) == 1:
        return pictures[0].convert("RGB")
    grid = Image.new("RGB", (2 * side, 2 * side))
    for index, picture in enumerate(pictures):
        grid.paste(picture.convert("RGB"), (index % 2 * side, index // 2 * side))
    return grid
