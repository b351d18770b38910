"""Parquet with embedded pictures, which the library `datasets` opens with its Image feature."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from janus4o.images import kind_of
from janus4o.records import Row
from janus4o.rows import Rows
from janus4o.rows.parquet import library
from janus4o.synth.export.parts import Hashed, Part, write_parts

PART_BYTES = 500_000_000
GROUP_BYTES = 32_000_000
"""A row group is written when its pictures hold this much: what writing keeps in memory."""
GROUP_ROWS = 1000
"""Rows of a group at most: viewers of the hub read a group to show a page."""


PICTURES = ("input_image", "output_image", "chosen", "rejected")
"""Columns that hold pictures."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row as it is written; `size` counts the bytes of its pictures."""

    values: dict[str, Any] = field(repr=False)
    size: int


def write(
    rows: Rows, members: Sequence[Row], out: Path, family: str, provenance: bool, part_bytes: int
) -> list[Part]:
    """Writes one family; the pictures of a row are stored with it, however many others share them."""
    schema = schema_of(family, provenance)

    def lines() -> Iterator[Line]:
        for number, row in enumerate(members):
            output = picture(rows.read(row.output_image), f"{number:06d}.output")
            sources = [
                picture(rows.read(name), f"{number:06d}.input_{place}")
                for place, name in enumerate(row.input_image)
            ]
            size = sum(len(one["bytes"]) for one in (*sources, output))
            values = {**row.to_json(), "input_image": sources, "output_image": output}
            if made := values.get("provenance"):
                values["provenance"] = json.dumps(made, ensure_ascii=False)
            yield Line(values, size)

    return write_tables(out, family, schema, part_bytes, lines())


def write_tables(
    out: Path, family: str, schema: Any, part_bytes: int, lines: Iterable[Line]
) -> list[Part]:
    """Writes lines of a schema into as many files as it takes."""

    def sink(file: Hashed) -> _Table:
        return _Table(file, schema)

    return write_parts(out, f"{family}-{{:05d}}.parquet", part_bytes, sink, lines)


class _Table:
    """Gathers rows and writes them a group at a time."""

    def __init__(self, file: Hashed, schema: Any) -> None:
        self._file, self._schema = file, schema
        pictures = [name for name in PICTURES if name in schema.names]
        others = [name for name in schema.names if name not in pictures]
        self._writer = library().ParquetWriter(
            file,
            schema,
            # Pictures are compressed already.
            compression={**dict.fromkeys(others, "zstd"), **dict.fromkeys(pictures, "none")},
            use_dictionary=False,
            write_statistics=others,
        )
        self._waiting: list[dict[str, Any]] = []
        self._held = 0

    @property
    def size(self) -> int:
        return self._file.size + self._held

    def add(self, item: Line) -> None:
        self._waiting.append(item.values)
        self._held += item.size
        if self._held >= GROUP_BYTES or len(self._waiting) >= GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        with suppress(Exception):  # or it would write its end when it is forgotten
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            columns = [
                pa.array([row.get(one.name) for row in self._waiting], one.type)
                for one in self._schema
            ]
            self._waiting.clear()
            self._held = 0
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))


def schema_of(family: str, provenance: bool) -> Any:
    """The columns, with what `datasets` needs to know to give pictures instead of bytes."""
    texts, one, many, sizes = "text", "picture", "pictures", "size"
    columns = [("input_prompt", texts)]
    if family != "text_to_image":
        columns += [("input_image", many), ("input_image_resolution", sizes)]
    columns += [("output_image", one), ("output_image_resolution", sizes)]
    return schema_with([*columns, *([("provenance", texts)] if provenance else [])])


def schema_with(named: Sequence[tuple[str, str]]) -> Any:
    """A schema of columns of these kinds: "text", "picture", "pictures" or "size"."""
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    text, sized = {"dtype": "string", "_type": "Value"}, {"dtype": "int32", "_type": "Value"}
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "text": (pa.string(), text),
        "picture": (image, {"_type": "Image"}),
        "pictures": (pa.list_(image), {"feature": {"_type": "Image"}, "_type": "Sequence"}),
        "size": (pa.list_(pa.int32()), {"feature": sized, "_type": "Sequence"}),
    }
    columns = [(name, *kinds[kind]) for name, kind in named]
    told = {"info": {"features": {name: feature for name, _, feature in columns}}}
    return pa.schema(
        [(name, kind) for name, kind, _ in columns],
        metadata={"huggingface": json.dumps(told)},
    )


def picture(data: bytes, name: str) -> dict[str, Any]:
    return {"bytes": data, "path": f"{name}.{kind_of(data)}"}
