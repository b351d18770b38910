"""The published ShareGPT-4o-Image layout: a JSON array and tars for each family of rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from janus4o.images import kind_of
from janus4o.records import Row
from janus4o.rows import Rows, pictures_of
from janus4o.synth.export.parts import Part, write_parts, writing
from janus4o.synth.export.tars import Member, Tar

PART_BYTES = 1_000_000_000
PREFIXES = {"text_to_image": "image/", "text_and_image_to_image": "image/v2v_"}
"""How members are named; two prefixes, so that unpacking both families in one place is safe."""


def write(
    rows: Rows, members: Sequence[Row], out: Path, family: str, provenance: bool, part_bytes: int
) -> list[Part]:
    """Writes one family; the array comes last, since without it nobody takes half an export."""
    names: dict[str, str] = {}

    def pictures() -> Iterator[list[Member]]:
        stored: dict[bytes, str] = {}
        for row in members:
            for picture in pictures_of(row):
                if picture in names:
                    continue
                data = rows.read(picture)
                name = f"{PREFIXES[family]}{len(stored)}.{kind_of(data)}"
                # A picture that several rows share is stored once, also where they name it apart.
                names[picture] = stored.setdefault(hashlib.sha256(data).digest(), name)
                if names[picture] == name:
                    yield [(name, data)]

    made = write_parts(out, f"{family}_part_{{}}.tar", part_bytes, Tar, pictures())
    with writing(out, f"{family}.json", made) as file:
        file.write(b"[")
        for number, row in enumerate(members):
            file.write(b",\n" if number else b"\n")
            file.write(row_json(row, names, provenance).encode())
        file.write(b"\n]\n" if members else b"]\n")
    return made


def row_json(row: Row, names: dict[str, str], provenance: bool) -> str:
    """The row with its pictures renamed."""
    renamed = row.model_copy(
        update={
            "input_image": tuple(names[name] for name in row.input_image),
            "output_image": names[row.output_image],
            "provenance": row.provenance if provenance else None,
        }
    )
    return json.dumps(renamed.to_json(), ensure_ascii=False)
