"""Parquet files with embedded pictures, as the library `datasets` writes its Image feature.

One row a line with the published keys as columns; a picture is {bytes, path}, the sources of an edit are
a list of them. Only texts and sizes are read when a file is opened, pictures a few at a time when they
are wanted. What `path` says is never followed.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janus4o.errors import DataError, Refused
from janus4o.images import MAX_BYTES
from janus4o.prompt import find_fault
from janus4o.records import Row, from_json
from janus4o.rows.places import Place, Rows
from janus4o.rows.webdataset import family_order

AT_ONCE = 8
"""Rows whose pictures are decoded together; as many pictures of a file lie in memory at most, four times."""
KEPT = 4
LARGEST_TEXT = 500_000_000
"""Bytes the texts of one row group may unpack to."""
TEXTS_AT_ONCE = 100
"""Rows whose texts are unpacked together."""
BOMB_BYTES, BOMB_RATIO = 100_000_000, 100
"""Pictures hardly shrink: a column that unpacks to more than both is meant to fill the memory."""


def files_of(path: Path) -> list[Path]:
    """The Parquet files of a folder, or the one given; text-to-image first, then edits, then others."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    return sorted(path.glob("*.parquet"), key=family_order)


def open_files(path: Path, files: list[Path], problems: list[str]) -> Rows:
    """Opens Parquet files as one data set; what is wrong in them is added to `problems`.

    Raises:
        DataError: no file has a row.
        Refused: pyarrow is not installed.
    """
    digest = hashlib.sha256()
    rows: list[Row] = []
    places: dict[str, Place] = {}
    for file in files:
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        for row, cells in _rows(file, problems):
            rows.append(row)
            places.update(cells)
            digest.update(row.to_json_line().encode("utf-8", "surrogatepass"))
    if not rows:
        first = f"; the first problem: {problems[0]}" if problems else ""
        raise DataError(
            f"{str(path)!r}: no Parquet file has a row{first}", "see docs/data-format.md"
        )
    return Rows(path, rows, places, problems, digest.hexdigest())


def library() -> Any:
    """pyarrow.parquet; raises Refused where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise Refused(
            "Parquet files need the package pyarrow, which is not installed",
            "pip install 'janus4o[data]'",
        ) from None
    return pyarrow.parquet


def faults(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What pyarrow raises for files that are damaged or packed in a way it does not know, and others."""
    from pyarrow import ArrowException

    return (OSError, ValueError, ArrowException, *others)


class _File:
    """Reads cells of one file. Rows are mostly read in their order, so a few batches are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._running: dict[tuple[int, str], tuple[int, Iterator[Any]]] = {}
        self._batches: OrderedDict[tuple[int, str, int], Any] = OrderedDict()

    def cell(self, group: int, column: str, row: int) -> Any:
        """The Arrow value of one cell; raises DataError where the file is damaged there."""
        with self._lock:
            number = row // AT_ONCE
            key = (group, column, number)
            if key not in self._batches:
                try:
                    self._batches[key] = self._fetch(group, column, number)
                except faults(StopIteration) as error:
                    self._running.clear()
                    raise DataError(
                        f"{self.path.name} cannot be read at row {row} of group {group}: {error}"
                    ) from error
                while len(self._batches) > KEPT:
                    self._batches.popitem(last=False)
            return self._batches[key].column(0)[row % AT_ONCE]

    def _fetch(self, group: int, column: str, number: int) -> Any:
        at, batches = self._running.pop((group, column), (number + 1, iter(())))
        if at > number:  # behind what was read last: begin again
            file = library().ParquetFile(self.path, pre_buffer=False, memory_map=True)
            at = 0
            batches = file.iter_batches(
                AT_ONCE, row_groups=[group], columns=[column], use_threads=False
            )
        for _ in range(number - at):
            next(batches)
        found = next(batches)
        # One reader a column goes on where it is; those of other groups are done with.
        self._running = {k: v for k, v in self._running.items() if k[0] == group}
        self._running[group, column] = (number + 1, batches)
        return found


@dataclass(frozen=True, slots=True)
class _Cell:
    """A picture: a cell of `output_image`, or one of the list in `input_image`."""

    file: _File
    group: int
    row: int
    source: int | None = None

    def read(self) -> bytes:
        column = "output_image" if self.source is None else "input_image"
        value = self.file.cell(self.group, column, self.row)
        if self.source is not None:
            value = value[self.source]
        data = value["bytes"] if value.is_valid else value
        where = f"{self.file.path.name}, row {self.row} of group {self.group}"
        if not data.is_valid:
            raise DataError(f"{where} holds no picture", "use files that hold the pictures")
        if data.as_buffer().size > MAX_BYTES:
            raise DataError(f"{where}: the picture is larger than {MAX_BYTES // 1_000_000} MB")
        return bytes(data.as_py())


def _rows(file: Path, problems: list[str]) -> Iterator[tuple[Row, dict[str, Place]]]:
    """Rows of one file, named by their number in it, and where their pictures are."""
    reader = library()
    try:
        with reader.ParquetFile(file, memory_map=True) as opened:
            if fault := _schema_fault(opened.schema_arrow):
                problems.append(f"{file.name}: {fault}")
                return
            paths = [opened.schema.column(i).path for i in range(len(opened.schema))]
            texts = [path for path in paths if not path.endswith(".bytes")]
            cells, first = _File(file), 0
            for group in range(opened.metadata.num_row_groups):
                about = opened.metadata.row_group(group)
                if fault := _bomb(about):
                    problems.append(f"{file.name}, row group {group}: {fault}")
                else:
                    row = unpacked = 0
                    for batch in opened.iter_batches(
                        TEXTS_AT_ONCE, row_groups=[group], columns=texts, use_threads=False
                    ):
                        unpacked += batch.nbytes
                        if unpacked > LARGEST_TEXT:  # whatever the footer says
                            problems.append(
                                f"{file.name}, row group {group}: its texts unpack to more than "
                                f"{LARGEST_TEXT // 1_000_000} MB: left out from row {first + row} on"
                            )
                            break
                        for entry in batch.to_pylist():
                            yield from _row(cells, group, row, first + row, entry, problems)
                            row += 1
                first += about.num_rows
    except faults() as error:
        said = str(error).partition("\n")[0]
        problems.append(f"{file.name}: damaged Parquet file: {said}")


def _row(
    cells: _File, group: int, row: int, number: int, entry: dict[str, Any], problems: list[str]
) -> Iterator[tuple[Row, dict[str, Place]]]:
    where = f"{cells.path.name}, row {number}"
    name = f"{cells.path.name}/{number}"
    sources = entry.get("input_image") or []
    names = [f"{name}/input_image/{i}" for i in range(len(sources))]
    said = {key: entry[key] for key in Row.model_fields if entry.get(key) is not None}
    said.update({"input_image": names, "output_image": f"{name}/output_image"})
    try:
        if isinstance(made := said.get("provenance"), str):
            said["provenance"] = _decode(made, where)
        found = from_json(said, where)
    except DataError as error:
        problems.append(error.message)
        return
    if fault := find_fault(found.input_prompt):
        problems.append(f"{where}: the prompt {fault.words}")
        return
    places: dict[str, Place] = {one: _Cell(cells, group, row, i) for i, one in enumerate(names)}
    places[found.output_image] = _Cell(cells, group, row)
    yield found, places


def _decode(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: provenance: {error}") from error


def _schema_fault(schema: Any) -> str:
    """What keeps a file from being a data set of ours; empty where nothing does."""
    import pyarrow as pa

    def is_picture(kind: Any) -> bool:
        return pa.types.is_struct(kind) and {"bytes", "path"} <= {f.name for f in kind}

    for column in ("input_prompt", "output_image", "output_image_resolution"):
        if column not in schema.names:
            return f"no column {column!r}, but {', '.join(schema.names)}"
    if not is_picture(schema.field("output_image").type):
        return "column 'output_image' does not hold pictures as {bytes, path}"
    if "input_image" in schema.names:
        kind = schema.field("input_image").type
        if not (pa.types.is_list(kind) and is_picture(kind.value_type)):
            return "column 'input_image' does not hold lists of pictures as {bytes, path}"
    return ""


def _bomb(group: Any) -> str:
    """Why a row group is not unpacked, told from its footer; empty for one that may be.

    The file's author wrote the footer: what is unpacked all the same is counted, and stops there.
    """
    for number in range(group.num_columns):
        column = group.column(number)
        size, packed = column.total_uncompressed_size, column.total_compressed_size
        if not column.path_in_schema.endswith(".bytes"):
            if size > LARGEST_TEXT:
                return f"{column.path_in_schema} unpacks to {size // 1_000_000} MB"
        elif size > BOMB_BYTES and size > BOMB_RATIO * max(packed, 1):
            return f"{column.path_in_schema} unpacks to {size // max(packed, 1)} times its size"
    return ""
