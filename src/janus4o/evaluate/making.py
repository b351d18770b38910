"""Fills the official folders of the benchmarks with pictures, from our own model or any server.

Every picture carries what was asked and of whom, so that a second run makes only what is missing
and a folder can never hold the pictures of two models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from janus4o.errors import DataError, ImageError
from janus4o.evaluate.dpg.tiles import make_grid
from janus4o.evaluate.evidence import Problem, read_text
from janus4o.evaluate.geneval.prompts import Metadata, write_prompt_folder
from janus4o.evaluate.imgedit.edits import Edit, source_of
from janus4o.exchange import Painter, PaintReply, PaintRequest, Picture
from janus4o.images import MEDIA_TYPES, kind_of, open_image, save_png
from janus4o.ledger.jobs import Job, Manner, call_all
from janus4o.ledger.journal import Attempt, Spend

Progress = Callable[[int], None]
"""Pictures there, those of earlier runs included."""

Draw = Callable[[Sequence["Wanted"]], Sequence[Image.Image]]
"""Makes a batch of pictures, one a `Wanted`, all text-to-image or all edits."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One picture of a benchmark: where it belongs, and what is asked.

    Attributes:
        id: names it in what is listed.
        source: the picture to edit; None for text-to-image.
    """

    id: str
    path: Path
    prompt: str
    seed: int
    source: Path | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What a run made.

    Attributes:
        there: pictures in the folder now.
        problems: what is missing, and why.
        spend: of all runs with the same ledger; None for a model of our own.
    """

    there: int
    problems: list[Problem]
    spend: Spend | None = None


def geneval_pictures(prompts: Sequence[Metadata], folder: Path, n: int, seed: int) -> list[Wanted]:
    """`<folder>/00000/samples/0000.png`, `n` of each prompt; makes folders and metadata files."""
    wanted = []
    for index, metadata in enumerate(prompts):
        place = write_prompt_folder(folder, index, metadata)
        wanted += [
            Wanted(f"{index:0>5}/{j:0>4}", place / f"{j:0>4}.png", metadata.prompt, seed + j)
            for j in range(n)
        ]
    return wanted


def dpg_pictures(prompts: Mapping[str, str], folder: Path, n: int, seed: int) -> list[Wanted]:
    """`<folder>/<item>/0.png`, `n` of each prompt; `write_grids` joins them."""
    return [
        Wanted(f"{item}/{j}", folder / item / f"{j}.png", prompt, seed + j)
        for item, prompt in prompts.items()
        for j in range(n)
    ]


def imgedit_pictures(
    edits: Mapping[str, Edit], sources: Path, folder: Path, seed: int
) -> tuple[list[Wanted], list[Problem]]:
    """`<folder>/<key>.png`, one of each edit whose source is there; the others are listed."""
    wanted: list[Wanted] = []
    problems = []
    for key, edit in edits.items():
        try:
            if not edit.source or not edit.prompt:
                raise DataError("the suite's file names neither source nor instruction", "")
            source = source_of(edit, sources)
            if not source.is_file():
                raise DataError(f"its source {edit.source} is not there", "")
        except DataError as error:
            problems.append(Problem(key, error.message))
            continue
        wanted.append(Wanted(key, folder / f"{key}.png", edit.prompt, seed, source))
    return wanted, problems


def read_dpg_prompts(folder: Path) -> dict[str, str]:
    """Item id → prompt, of the benchmark's folder of `<item>.txt`; raises DataError."""
    paths = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    prompts = {path.stem: " ".join(read_text(path).split()) for path in paths}
    empty = [item for item, prompt in prompts.items() if not prompt]
    if not prompts or empty:
        what = f"{empty[0]}.txt is empty" if empty else f"{str(folder)!r} holds no <item>.txt"
        raise DataError(what, "give the benchmark's folder of prompts")
    return prompts


def make(
    wanted: Sequence[Wanted],
    model: str,
    draw: Draw,
    batch: int,
    progress: Progress = lambda done: None,
) -> Made:
    """Makes what is missing with a model of our own, batch by batch.

    Args:
        model: its name, which every picture carries.

    Raises:
        DataError: a picture that is there is of another model, prompt or seed.
    """
    missing = _missing(wanted, model)
    there = len(wanted) - len(missing)
    progress(there)
    for start in range(0, len(missing), batch):
        part = missing[start : start + batch]
        for one, image in zip(part, draw(part), strict=True):
            _save(one, image, _facts(one, model))
        there += len(part)
        progress(there)
    return Made(there, [])


def make_at_server(
    wanted: Sequence[Wanted],
    painter: Painter,
    size: tuple[int, int],
    ledger: Path,
    manner: Manner,
    progress: Progress = lambda done: None,
) -> Made:
    """Has a server make what is missing. A refusal is final: it is listed, not asked again.

    Raises:
        DataError: as `make`.
        Janus4oError: see `call_all`.
    """
    missing = _missing(wanted, painter.name)
    there = len(wanted) - len(missing)
    progress(there)
    failed: dict[str, str] = {}

    def jobs() -> Iterator[Job]:
        for one in missing:
            try:
                sources = () if one.source is None else (_picture(one.source),)
            except ImageError as error:
                failed[one.id] = error.message
                continue
            yield Job(one.id, PaintRequest(one.prompt, sources, size, one.seed), _keeper(one))

    def _keeper(one: Wanted) -> Callable[[PaintReply], str]:
        def keep(reply: PaintReply) -> str:
            facts = {**_facts(one, painter.name), "served": reply.model}
            _save(one, open_image(reply.picture.data), facts)
            return one.path.name

        return keep

    def ended(job: Job, end: Attempt | str) -> None:
        nonlocal there
        if isinstance(end, str):
            failed[job.id] = end
        elif end.status == "refused":
            failed[job.id] = f"refused: {end.text}"
        else:
            there += 1
            progress(there)

    spend = call_all(painter, jobs(), ledger, manner, ended)
    problems = [Problem(one.id, failed[one.id]) for one in missing if one.id in failed]
    return Made(there, problems, spend)


def write_grids(folder: Path, items: Iterable[str], n: int, out: Path) -> list[Problem]:
    """`<out>/<item>.png`, the official 2×2 grids, out of `<folder>/<item>/0.png` …; what cannot
    be made is listed."""
    problems = []
    out.mkdir(parents=True, exist_ok=True)
    for item in items:
        try:
            grid = make_grid([open_image(folder / item / f"{j}.png") for j in range(n)])
        except (ImageError, DataError) as error:
            problems.append(Problem(item, f"no grid: {error.message}"))
            continue
        save_png(grid, out / f"{item}.png")
    return problems


def _missing(wanted: Sequence[Wanted], model: str) -> list[Wanted]:
    """What is still to be made; DataError where a picture of another run is in its place."""
    missing: list[Wanted] = []
    for one in wanted:
        if not one.path.exists():
            missing.append(one)
            continue
        try:
            with Image.open(one.path) as image:  # the chunks before the pixels are enough
                said = {key: image.info.get(key) for key in ("prompt", "seed", "model", "source")}
        except (OSError, ValueError, SyntaxError):
            said = {}
        asked = _facts(one, model)
        other = [key for key in said if said[key] != asked.get(key)]
        if other or not said:
            what = f"another {' and '.join(other)}" if said else "no picture of ours"
            raise DataError(f"{str(one.path)!r} is of {what}", "give another folder, or empty it")
    return missing


def _facts(one: Wanted, model: str) -> dict[str, str]:
    facts = {"prompt": one.prompt, "seed": str(one.seed), "model": model}
    if one.source is not None:
        facts["source"] = hashlib.sha256(one.source.read_bytes()).hexdigest()
    return facts


def _save(one: Wanted, image: Image.Image, facts: Mapping[str, str]) -> None:
    one.path.parent.mkdir(parents=True, exist_ok=True)
    save_png(image, one.path, dict(facts))


def _picture(path: Path) -> Picture:
    """The file's own bytes, once they are known to be a whole picture."""
    open_image(path)
    data = path.read_bytes()
    return Picture(data, MEDIA_TYPES[kind_of(data)])
