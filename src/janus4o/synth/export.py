"""Writes a data set in the published ShareGPT-4o-Image layout.

The same rows and pictures always give the same bytes: members in row order, times and owners zero.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from janus4o import files
from janus4o.errors import DataError
from janus4o.images import kind_of
from janus4o.records import Row
from janus4o.rows import FAMILIES, Rows, open_rows, pictures_of

PART_BYTES = 1_000_000_000
PREFIXES = {"text_to_image": "image/", "text_and_image_to_image": "image/v2v_"}
"""How members are named; two prefixes, so that unpacking both families in one place is safe."""


@dataclass(frozen=True, slots=True)
class Export:
    """What was written: rows and parts by family, and the problems of the data set exported."""

    folder: Path
    rows: dict[str, int]
    parts: dict[str, int]
    problems: tuple[str, ...]


def export_sharegpt(
    source: str | Path, out: str | Path, *, provenance: bool = False, part_bytes: int = PART_BYTES
) -> Export:
    """Exports a run folder, or any folder `open_rows` reads.

    Args:
        out: made if absent; an earlier export there is replaced.
        provenance: keep each row's `provenance` object beside the published keys.
        part_bytes: a part is closed when it holds this much.

    Raises:
        DataError: `source` holds no data set, or `out` holds something else.
        FolderBusy: another process writes to `out`.
    """
    rows, out = open_rows(source), Path(out)
    if out.resolve() == rows.folder.resolve():
        raise DataError(f"{str(out)!r} is the data set itself", "give another folder")
    if out.is_dir():
        _check_replaceable(out)
    written: dict[str, int] = {}
    parts: dict[str, int] = {}
    with files.lock(out):
        for family in FAMILIES:
            # The array goes first and comes back last: without it nobody takes half an export.
            (out / f"{family}.json").unlink(missing_ok=True)
            for old in out.glob(f"{family}_part_*.tar"):
                old.unlink()
        for family in FAMILIES:
            members = [row for row in rows if row.is_edit == (family == FAMILIES[1])]
            names, parts[family] = _write_parts(rows, members, out, family, part_bytes)
            lines = [_row_line(row, names, provenance) for row in members]
            array = "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"
            written[family] = len(lines)
            files.write_atomic(out / f"{family}.json", array.encode())
    return Export(out, written, parts, rows.problems)


def _check_replaceable(out: Path) -> None:
    for path in out.iterdir():
        ours = (
            path.name == files.LOCK_NAME
            or files.is_unfinished(path)
            or any(
                path.name == f"{family}.json" or path.name.startswith(f"{family}_part_")
                for family in FAMILIES
            )
        )
        if not ours:
            raise DataError(
                f"{str(out)!r} holds {path.name!r}, which is no part of an export",
                "give an empty folder",
            )


def _row_line(row: Row, names: dict[str, str], provenance: bool) -> str:
    renamed = row.model_copy(
        update={
            "input_image": tuple(names[name] for name in row.input_image),
            "output_image": names[row.output_image],
            "provenance": row.provenance if provenance else None,
        }
    )
    return json.dumps(renamed.to_json(), ensure_ascii=False)


def _write_parts(
    rows: Rows, members: list[Row], out: Path, family: str, part_bytes: int
) -> tuple[dict[str, str], int]:
    """Writes one family's archives; returns picture → member name, and the number of parts."""
    names: dict[str, str] = {}
    writer = _Parts(out, family, part_bytes)
    with writer.closing():
        for row in members:
            for picture in pictures_of(row):
                if picture not in names:  # a picture that several rows share is stored once
                    data = rows.read(picture)
                    names[picture] = f"{PREFIXES[family]}{len(names)}.{kind_of(data)}"
                    writer.add(names[picture], data)
    return names, writer.count


class _Parts:
    """`<family>_part_{i}.tar`, one after the other; each appears under its name when complete."""

    def __init__(self, out: Path, family: str, part_bytes: int) -> None:
        self._out = out
        self._family = family
        self._limit = part_bytes
        self._tar: tarfile.TarFile | None = None
        self.count = 0

    def add(self, name: str, data: bytes) -> None:
        if self._tar is None:
            self._tar = tarfile.TarFile(self._unfinished, "w", format=tarfile.USTAR_FORMAT)
        member = tarfile.TarInfo(name)  # mode 0644; time, owner and group are zero and empty
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))
        if self._tar.offset >= self._limit:
            self._finish()

    @contextmanager
    def closing(self) -> Iterator[None]:
        try:
            yield
            self._finish()
            files.sync_folder(self._out)
        finally:
            if self._tar is not None:
                with suppress(OSError):  # a full disk has no room for its end either
                    self._tar.close()
                self._unfinished.unlink()

    @property
    def _unfinished(self) -> Path:
        return self._out / f".{self._name}{files.UNFINISHED}"

    @property
    def _name(self) -> str:
        return f"{self._family}_part_{self.count}.tar"

    def _finish(self) -> None:
        if self._tar is not None:
            self._tar.close()
            with self._unfinished.open("rb") as file:
                files.sync_file(file)
            self._unfinished.rename(self._out / self._name)
            self._tar = None
            self.count += 1
