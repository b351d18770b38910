"""What people vote on: systems, items and their pictures under names that give nothing away.

A contest is a folder: `contest.json`, `pictures/<token>.png`, `votes.jsonl`. The pictures are copies,
encoded again without metadata, so that neither file names nor text chunks say who made them. Only the
report looks up whose a token is.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from importlib import resources
from itertools import combinations
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from janus4o.errors import BadInput, DataError, ImageError, Refused
from janus4o.evaluate.evidence import Problem, hash_file, read_lines, read_text, write_new
from janus4o.files import sync_filesystem
from janus4o.images import open_image, save_png

CONTEST_FILE, VOTES_FILE, PICTURES_FOLDER = "contest.json", "votes.jsonl", "pictures"
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


class Item(BaseModel):
    """What every system was asked.

    Attributes:
        prompt: the prompt or instruction; shown as text.
        source: of an edit: words for the picture it starts from.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    item: str
    prompt: str
    source: str = ""


class Entry(BaseModel):
    """Whose a picture is. `system` is empty for the source of an edit; `sha256` is of the file given."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    item: str
    system: str
    sha256: str


class Contest(BaseModel):
    """`contest.json`. `pictures` maps token → whose it is."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: int = 1
    id: str
    seed: int
    systems: list[str]
    items: list[Item]
    pictures: dict[str, Entry]

    def matches(self) -> list[tuple[str, str, str]]:
        """(item, token, token) of every item and every pair of systems that both have it."""
        own: dict[str, list[tuple[int, str]]] = {item.item: [] for item in self.items}
        for token, entry in self.pictures.items():
            if entry.system:
                own[entry.item].append((self.systems.index(entry.system), token))
        return [
            (item, one, two)
            for item, pictures in own.items()
            for (_, one), (_, two) in combinations(sorted(pictures), 2)
        ]

    def sources(self) -> dict[str, str]:
        """Item → token of the picture its edit starts from."""
        return {e.item: token for token, e in self.pictures.items() if not e.system}


def starter_text() -> str:
    """The starter set: 52 prompts and 35 edits, one JSON object a line. Ours, not the paper's."""
    return resources.files("janus4o.evaluate.arena").joinpath("starter.jsonl").read_text("utf-8")


def starter_items() -> list[Item]:
    return [Item.model_validate_json(line) for line in starter_text().splitlines()]


def read_items(path: Path) -> tuple[list[Item], list[Problem]]:
    """Items of a file, one `{item, prompt, source?}` a line; raises DataError."""
    lines, problems = read_lines(path)
    found: dict[str, Item] = {}
    for line in lines:
        try:
            item = Item.model_validate(line.data)
        except ValidationError as error:
            problems.append(Problem(line.where, first_fault(error)))
            continue
        if item.item in found:
            problems.append(Problem(line.where, f"item {item.item!r} is there twice"))
        else:
            found[item.item] = item
    return list(found.values()), problems


def name_systems(words: Iterable[str]) -> dict[str, Path]:
    """`DIR` or `NAME=DIR` → name → folder; raises BadInput."""
    found: dict[str, Path] = {}
    for word in words:
        name, equals, rest = word.partition("=")
        folder = Path(rest) if equals and not Path(word).is_dir() else Path(word)
        name = name if folder != Path(word) else folder.resolve().name
        if not folder.is_dir():
            raise BadInput(f"{str(folder)!r} is not a folder of pictures", "check the path")
        if not name or name in found:
            raise BadInput(f"two systems are called {name!r}", "name them: NAME=DIR")
        found[name] = folder
    if len(found) < 2:
        raise BadInput("a contest needs two systems or more", "give a folder of pictures for each")
    return found


def make_contest(
    folder: Path,
    systems: Mapping[str, Path],
    items: Iterable[Item],
    sources: Path | None,
    seed: int,
) -> tuple[Contest, list[Problem]]:
    """Fills a contest folder, or finds that it holds this very contest already.

    An item takes part with the systems that have a readable picture of it, two at least; an edit
    also needs its source picture. What does not take part is listed.

    Raises:
        Refused: the folder holds another contest.
        DataError: nothing can be compared, or the folder cannot be written.
    """
    files = {name: _by_item(place) for name, place in systems.items()}
    wanted = {item.item: item for item in items}
    problems: list[Problem] = []
    for system, of in files.items():
        extra = [path.name for name, path in of.items() if name not in wanted]
        if extra:
            some = ", ".join(extra[:3]) + (", …" if len(extra) > 3 else "")
            what = f"{len(extra)} pictures have no item's name: {some}"
            problems.append(Problem(str(systems[system]), what, unscored=False))
    starts = _by_item(sources) if sources else {}
    old = open_contest(folder) if (folder / CONTEST_FILE).is_file() else None
    kept: dict[str, Item] = {}
    entries: list[tuple[Entry, Path]] = []
    for name, item in wanted.items():
        paths = {system: of[name] for system, of in files.items() if name in of}
        if not paths:
            continue  # a set larger than what was made; counted below
        if item.source and name not in starts:
            problems.append(Problem(name, "an edit without its source picture"))
            continue
        for path in [*paths.values(), *([starts[name]] if name in starts else [])]:
            try:
                open_image(path)
            except ImageError as error:
                problems.append(Problem(name, error.message))
                paths = {k: v for k, v in paths.items() if v != path}
                if path == starts.get(name):
                    paths = {}
        lacking = [system for system in systems if system not in paths]
        if lacking:
            problems.append(Problem(name, f"no picture of {', '.join(lacking)}"))
        if len(paths) < 2:
            continue
        kept[name] = item
        entries += [(Entry(item=name, system=s, sha256=hash_file(p)), p) for s, p in paths.items()]
        if name in starts:
            entry = Entry(item=name, system="", sha256=hash_file(starts[name]))
            entries.append((entry, starts[name]))
    absent = sum(all(name not in of for of in files.values()) for name in wanted)
    if absent:
        problems.append(Problem("items", f"{absent} have no picture of any system"))
    if not kept:
        raise DataError(
            "no item has a picture of two systems",
            "name pictures by item, and give the items' prompts with --items",
        )
    if old is not None:
        same = {(e.item, e.system, e.sha256) for e in old.pictures.values()}
        if (
            same != {(e.item, e.system, e.sha256) for e, _ in entries}
            or (old.seed, old.systems) != (seed, list(systems))
            or old.items != list(kept.values())
        ):
            raise Refused(f"{str(folder)!r} holds another contest", "name another --out")
        return old, problems
    pictures: dict[str, Entry] = {}
    (folder / PICTURES_FOLDER).mkdir(parents=True, exist_ok=True)
    for entry, path in entries:
        token = secrets.token_hex(8)
        save_png(open_image(path), folder / PICTURES_FOLDER / f"{token}.png")
        pictures[token] = entry
    contest = Contest(
        id=secrets.token_hex(8),
        seed=seed,
        systems=list(systems),
        items=list(kept.values()),
        pictures=dict(sorted(pictures.items())),
    )
    sync_filesystem(folder)
    write_new(folder / CONTEST_FILE, (contest.model_dump_json(indent=1) + "\n").encode())
    return contest, problems


def open_contest(folder: Path) -> Contest:
    """Reads a contest folder; raises DataError."""
    path = folder / CONTEST_FILE
    try:
        return Contest.model_validate_json(read_text(path))
    except ValidationError as error:
        raise DataError(f"{str(path)!r}: {first_fault(error)}", "make it again") from error


def set_hash(contest: Contest) -> str:
    """SHA-256 of the items asked."""
    text = "\n".join(sorted(item.model_dump_json() for item in contest.items))
    return hashlib.sha256(text.encode()).hexdigest()


def _by_item(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise BadInput(f"{str(folder)!r} is not a folder of pictures", "check the path")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            if path.stem in found:
                raise BadInput(
                    f"{str(folder)!r} has two pictures of {path.stem!r}", "leave one of them"
                )
            found[path.stem] = path
    return found


def first_fault(error: ValidationError) -> str:
    """What is wrong with a line, in one line."""
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'the line'}: {fault['msg']}"
