"""WebDataset: plain tars in which a row and its pictures lie side by side under one key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from janus4o.images import kind_of
from janus4o.records import Row
from janus4o.rows import Rows
from janus4o.synth.export.parts import Part, write_parts
from janus4o.synth.export.sharegpt import row_json
from janus4o.synth.export.tars import Member, Tar

PART_BYTES = 1_000_000_000
PREFIXES = {"text_to_image": "", "text_and_image_to_image": "v2v_"}
"""Of keys, so that both families may be streamed together."""


def write(
    rows: Rows, members: Sequence[Row], out: Path, family: str, provenance: bool, part_bytes: int
) -> list[Part]:
    """Writes one family; the pictures of a row are stored with it, however many others share them."""

    def samples() -> Iterator[list[Member]]:
        for number, row in enumerate(members):
            key = f"{PREFIXES[family]}{number:06d}"
            pictures: list[Member] = []
            named = []
            for place, name in enumerate(row.input_image):
                data = rows.read(name)
                named.append(f"{key}.input_image_{place}.{kind_of(data)}")
                pictures.append((named[-1], data))
            data = rows.read(row.output_image)
            output = f"{key}.output_image.{kind_of(data)}"
            renamed = row.model_copy(update={"input_image": tuple(named), "output_image": output})
            names = {name: name for name in (*named, output)}
            line = row_json(renamed, names, provenance).encode()
            yield [(f"{key}.json", line), *pictures, (output, data)]

    return write_parts(out, f"{family}-{{:05d}}.tar", part_bytes, Tar, samples())
