"""Compares what a run folder says it has with what is there, and mends what can be mended safely."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from janus4o import files
from janus4o.errors import DataError
from janus4o.rows import ROWS_FILE
from janus4o.synth.sample import Pipeline, Standing, State
from janus4o.synth.shared import has_store, open_store
from janus4o.synth.store import Store

Kind = Literal["missing", "corrupt", "orphan", "half-written", "data set"]

MENDING: dict[Kind, str] = {
    "missing": "the next `janus4o synth` makes its samples again",
    "corrupt": "removed; the next `janus4o synth` makes its samples again",
    "orphan": "removed",
    "half-written": "removed",
    "data set": "the next `janus4o synth` writes it again",
}
"""What `repair` does about each kind."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: its kind, the file, and what it means."""

    kind: Kind
    file: str
    detail: str


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was looked at and what was wrong with it; `repaired` says whether it was mended."""

    pictures: int
    samples: int
    findings: tuple[Finding, ...]
    repaired: bool


def fsck(
    folder: str | Path,
    *,
    repair: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Checkup:
    """Reads every picture of a run folder and compares it with its name and with the store.

    Args:
        repair: take back samples whose pictures are missing or corrupt, so that the next run asks
            for those alone again, and remove what belongs to nobody.
        progress: called with (pictures read, pictures).

    Raises:
        DataError: there is no store, or the store itself is damaged.
        FolderBusy: a run is using the folder.
    """
    folder = Path(folder)
    if not has_store(folder):
        raise DataError(f"{str(folder)!r} is no run folder", "give one that `janus4o synth` made")
    half = [path for path in _walk(folder) if files.is_unfinished(path)]
    with files.lock(folder):  # which sweeps as well, if its last holder was killed
        store = open_store(folder)
        try:
            store.check()
            return _Check(store, half, progress).run(repair)
        finally:
            store.close()


class _Check:
    def __init__(
        self, store: Store, half: list[Path], progress: Callable[[int, int], None] | None
    ) -> None:
        self._store = store
        self._half = half
        self._progress = progress
        self._standings = {s.sample.id: s for p in Pipeline for s in store.standings(p)}
        # Whether those are ever made again is not said: others have taken their places.
        self._rejected = {id for id, one in self._standings.items() if one.state is State.REJECTED}
        self._users: dict[str, set[str]] = {}  # picture → ids of the samples that need it
        for attempt in store.attempts():
            if attempt.blob is not None:
                self._users.setdefault(attempt.blob, set()).add(attempt.sample)
        for standing in self._standings.values():
            if standing.row is not None:
                for name in (*standing.row.input_image, standing.row.output_image):
                    self._users.setdefault(name, set()).add(standing.sample.id)

    def run(self, repair: bool) -> Checkup:
        blobs = self._store.blobs.folder
        there = sorted(path for path in blobs.glob("*/*") if not files.is_unfinished(path))
        findings = [
            Finding("half-written", self._name(path), "of a killed run") for path in self._half
        ]
        bad: dict[Path, Finding] = {}
        for done, path in enumerate(there, 1):
            if finding := self._look(path):
                bad[path] = finding
            if self._progress is not None:
                self._progress(done, len(there))
        findings += bad.values()
        lost = {
            name
            for name, samples in self._users.items()
            if not self._store.blobs.path(name).is_file() and not self._rejected >= samples
        }
        findings += [
            Finding("missing", self._name(self._store.blobs.path(name)), self._needed(name))
            for name in sorted(lost)
        ]
        findings += self._data_set()
        if repair and findings:
            for path in bad:
                path.unlink()
            files.sweep(self._store.folder)
            self._take_back({*lost, *(path.name for path in bad)})
        return Checkup(len(there), len(self._standings), tuple(findings), repair)

    def _look(self, path: Path) -> Finding | None:
        """What is wrong with one picture: its bytes against its name, its name against the store."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if path != self._store.blobs.path(path.name) or path.name not in self._users:
            return Finding("orphan", self._name(path), "no sample names it")
        if digest != path.stem:
            return Finding("corrupt", self._name(path), self._needed(path.name))
        return None

    def _data_set(self) -> Iterator[Finding]:
        """A finished data set must hold the rows the store accepted."""
        path = self._store.folder / ROWS_FILE
        if self._store.fact("finished") is None:
            return
        accepted = {
            s.row.to_json_line()
            for s in self._standings.values()
            if s.state is State.ACCEPTED and s.row is not None
        }
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            yield Finding("data set", str(ROWS_FILE), f"cannot be read: {error}")
            return
        wanted = sum(self._store.fact("finished").values())
        if len(lines) != wanted or not accepted.issuperset(lines):
            yield Finding("data set", str(ROWS_FILE), "is not what the store accepted")

    def _take_back(self, pictures: set[str]) -> None:
        """Lets the next run begin again with the samples of these pictures, and write the data set."""
        ids = {sample for name in pictures for sample in self._users.get(name, ())} - self._rejected
        for sample in sorted(ids):
            if standing := self._standings.get(sample):
                self._store.update(Standing(standing.sample, State.PLANNED))
        self._store.state_fact("finished", None)

    def _needed(self, name: str) -> str:
        needy = sorted(self._users[name])
        more = f" and {len(needy) - 1} more" if len(needy) > 1 else ""
        return f"needed by sample {needy[0]}{more}"

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._store.folder))


def _walk(folder: Path) -> Iterator[Path]:
    return folder.rglob(f".*{files.UNFINISHED}")
