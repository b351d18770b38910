"""What there is to look at: the rows of a data set, and of a run the samples that came to nothing.

Read once, when the viewer starts; `Album.is_stale` tells whether the files have changed since.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from janus4o.errors import DataError, UsageError
from janus4o.ledger.journal import Attempt
from janus4o.records import Row
from janus4o.rows import IMPORTED_FILE, ROWS_FILE, Rows, blob_path, linked, open_rows, pictures_of
from janus4o.rows.places import Span, is_file, is_inside
from janus4o.synth.checking.registry import Finding
from janus4o.synth.checking.run import CHECKS_FILE, Checked, read_checks
from janus4o.synth.sample import TURNS, Pipeline, Standing, State
from janus4o.synth.shared import has_store, open_store
from janus4o.synth.store import STORE_NAME

DRAWING, EDITING = "text to image", "edit"
LOST = (State.REJECTED, State.REFUSED, State.FAILED)
WATCHED = (".json", ".tar", ".parquet")
"""Files of a data set whose change is noticed."""

Marks = dict[Path, tuple[int, int] | None]
"""File → its size and time in ns; None where it is not there."""
Lost = tuple[Standing, tuple[Attempt, ...]]
"""A sample that came to nothing, and what was asked for it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row, or one sample that never became one.

    Attributes:
        key: its place in the album; rows come first, in the order of the data set.
        id: of the sample; empty where a row does not say.
        kind: `DRAWING` or `EDITING`.
        pipeline, task: empty where they are not known.
        state: "accepted" for a row, else how the sample ended.
        reason: why it came to nothing, "check: detail" or "category: message".
        sources, output: names of pictures; `output` is empty where none was painted.
        findings: what `janus4o check` says of it; None where it did not look at it.
        row: None where there is none.
        calls: of a sample that came to nothing, what was asked for it.
    """

    key: int
    id: str
    kind: str
    pipeline: str
    task: str
    state: str
    reason: str
    prompt: str
    sources: tuple[str, ...]
    output: str
    findings: dict[str, Finding] | None = None
    row: Row | None = None
    calls: tuple[Attempt, ...] = ()

    @property
    def pictures(self) -> tuple[str, ...]:
        return (*self.sources, self.output) if self.output else self.sources

    @property
    def failed(self) -> tuple[str, ...]:
        """Checks that say no."""
        return tuple(name for name, one in (self.findings or {}).items() if not one.passed)


class Album:
    """Everything the viewer shows, by key.

    Attributes:
        checked: None where nobody checked this state of the data set.
        notes: what a reader should know of it, a line each.
        read_at: when it was read, "14:05".
    """

    def __init__(
        self,
        path: Path,
        rows: Rows,
        lost: Sequence[Lost],
        checked: Checked | None,
        notes: Sequence[str],
        marks: Marks,
    ) -> None:
        self.path, self.rows, self.checked, self.notes = path, rows, checked, tuple(notes)
        self.read_at = time.strftime("%H:%M")
        self._lost, self._marks = lost, marks

    def __len__(self) -> int:
        return len(self.rows) + len(self._lost)

    def __getitem__(self, key: int) -> Entry:
        if not 0 <= key < len(self):
            raise IndexError(key)
        if key >= len(self.rows):
            return _of_sample(key, *self._lost[key - len(self.rows)])
        return _of_row(key, self.rows[key], self.checked.findings[key] if self.checked else None)

    def read(self, entry: Entry, name: str) -> bytes:
        """The stored bytes of one of an entry's pictures; raises DataError where they are gone."""
        if entry.state == State.ACCEPTED:
            return self.rows.read(name)
        try:
            return blob_path(self.path, name).read_bytes()
        except OSError as error:
            raise DataError(f"picture {name!r} cannot be read: {error.strerror}") from error

    def is_stale(self) -> bool:
        """Whether files of the data set have changed, come or gone since it was read."""
        return _marks(self._marks) != self._marks or not self._marks.keys() >= _files(
            self.rows.folder
        )


def open_album(path: Path, checks: Path | None = None) -> Album:
    """Reads a run folder, finished or not, or a data set of any layout.

    Args:
        checks: folder with the `checks.jsonl` of a data set that is no run.

    Raises:
        DataError: it is neither, or cannot be understood.
        UsageError: there is no `checks.jsonl` in the folder given.
    """
    verdicts, store, link = (checks or path) / CHECKS_FILE, path / STORE_NAME, path / IMPORTED_FILE
    if checks is not None and not is_file(verdicts):
        raise UsageError(f"{str(checks)!r} has no {CHECKS_FILE}", "run `janus4o check` with --out")
    if is_file(store):
        open_store(
            path
        ).close()  # what a kill left in its log moves into the file, which is marked next
    source = linked(link) if is_file(link) else path
    own = {path / ROWS_FILE, link, store, store.with_name(f"{STORE_NAME}-wal")}
    marks = _marks({verdicts, *own, *_files(source)})  # first: a change while reading is noticed
    notes: list[str] = []
    standings = _standings(path) if has_store(path) else []
    if has_store(path) and not is_file(link) and not is_file(path / ROWS_FILE):
        rows = _unfinished(path, standings)
        notes.append("This run is not finished: shown are the rows it has accepted so far.")
    else:
        rows = open_rows(path)
    lost = _lost(path, [one for one in standings if one.state in LOST])
    checked = read_checks(verdicts.parent, rows.digest) if is_file(verdicts) else None
    if checked is not None and len(checked.findings) != len(rows):
        checked = None
    if checked is None and is_file(verdicts):
        notes.append(
            f"{CHECKS_FILE} is of another state of this data set and not shown; run `janus4o check` again."
        )
    return Album(path, rows, lost, checked, notes, marks)


def _of_row(key: int, row: Row, findings: dict[str, Finding] | None) -> Entry:
    made = row.provenance
    return Entry(
        key=key,
        id=made.id if made else "",
        kind=EDITING if row.is_edit else DRAWING,
        pipeline=made.pipeline if made else "",
        task=made.task if made else "",
        state=State.ACCEPTED.value,
        reason="",
        prompt=row.input_prompt,
        sources=row.input_image,
        output=row.output_image,
        findings=findings,
        row=row,
    )


def _of_sample(key: int, standing: Standing, calls: tuple[Attempt, ...]) -> Entry:
    sample, row = standing.sample, standing.row
    made = row.provenance if row else None
    is_edit = sample.pipeline in TURNS
    answered = [call for call in calls if call.status == "ok"]
    texts = [call.text for call in answered if call.text]
    painted = [(call.stage == "paint", call.blob) for call in answered if call.blob]
    outputs = [blob for is_output, blob in painted if is_output]
    return Entry(
        key=key,
        id=sample.id,
        kind=EDITING if is_edit else DRAWING,
        pipeline=(Pipeline.EDITING if is_edit else sample.pipeline).value,
        task=made.task if made else "",
        state=standing.state.value,
        reason=standing.reason,
        prompt=row.input_prompt if row else texts[-1] if texts else "",
        sources=row.input_image if row else tuple(b for is_output, b in painted if not is_output),
        output=row.output_image if row else outputs[-1] if outputs else "",
        row=row,
        calls=calls,
    )


def _standings(folder: Path) -> list[Standing]:
    store = open_store(folder)
    try:
        return [one for pipeline in Pipeline for one in store.standings(pipeline)]
    finally:
        store.close()


def _lost(folder: Path, standings: list[Standing]) -> list[Lost]:
    if not standings:
        return []
    calls: dict[str, list[Attempt]] = {}
    store = open_store(folder)
    try:
        for attempt in store.attempts_of_lost():
            calls.setdefault(attempt.sample, []).append(attempt)
    finally:
        store.close()
    return [(one, tuple(calls.get(one.sample.id, ()))) for one in standings]


def _unfinished(folder: Path, standings: list[Standing]) -> Rows:
    """What a run has accepted so far, as the data set it would be if it ended now."""
    rows = [one.row for one in standings if one.state is State.ACCEPTED and one.row is not None]
    digest = hashlib.sha256("".join(f"{row.to_json_line()}\n" for row in rows).encode())
    names = {name for row in rows for name in pictures_of(row) if is_inside(name)}
    places = {n: Span(blob_path(folder, n)) for n in names if is_file(blob_path(folder, n))}
    return Rows(folder, rows, places, [], digest.hexdigest())


def _files(folder: Path) -> set[Path]:
    """The files of a data set in which a change is looked for."""
    if folder.is_file():
        return {folder}
    return {path for path in folder.glob("*") if path.suffix in WATCHED}


def _marks(paths: Iterable[Path]) -> Marks:
    found: Marks = {}
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            found[path] = None
        else:  # an empty log of a database is as good as none
            found[path] = (stat.st_size, stat.st_mtime_ns) if stat.st_size else None
    return found
