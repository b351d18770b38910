"""Preference pairs: for one prompt a picture that passed and one that did not, as Parquet.

`prompt`, `chosen` and `rejected` are what trainers of preferences (DPO and its kin) read; pictures are embedded
and open with the library `datasets`. A row with several rejected pictures gives several pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from janus4o.errors import DataError
from janus4o.records import Rejection, Row
from janus4o.rows import Rows
from janus4o.synth.checking.judged import scores_of
from janus4o.synth.export.parquet import PART_BYTES as PART_BYTES
from janus4o.synth.export.parquet import Line, picture, schema_with, write_tables
from janus4o.synth.export.parts import Part


def number(row: Row) -> int:
    """How many pairs a row gives."""
    return len(_rejected(row))


def of(rows: Sequence[Row], source: str | Path) -> list[Row]:
    """Those that give a pair; raises DataError where none does."""
    found = [row for row in rows if number(row)]
    if not found:
        raise DataError(
            f"no row of {str(source)!r} has a rejected picture to make a pair with",
            "checks.tries: 2 or more has pictures painted anew and keeps those that failed",
        )
    return found


def columns(family: str, provenance: bool) -> list[tuple[str, str]]:
    """(name, kind) of what a pair has."""
    sources = [] if family == "text_to_image" else [("input_image", "pictures")]
    texts = ("chosen_scores", "rejected_scores", "rejected_why", "id")
    made = [("provenance", "text")] if provenance else []
    return [
        ("prompt", "text"),
        *sources,
        ("chosen", "picture"),
        ("rejected", "picture"),
        *((name, "text") for name in texts),
        *made,
    ]


def write(
    rows: Rows, members: Sequence[Row], out: Path, family: str, provenance: bool, part_bytes: int
) -> list[Part]:
    """Writes the pairs of one family; scores are JSON objects, empty where nobody judged."""
    schema = schema_with(columns(family, provenance))

    def lines() -> Iterator[Line]:
        for place, row in enumerate(members):
            chosen = picture(rows.read(row.output_image), f"{place:06d}.chosen")
            sources = [
                picture(rows.read(name), f"{place:06d}.input_{which}")
                for which, name in enumerate(row.input_image)
            ]
            scores = scores_of(row)
            for which, one in enumerate(_rejected(row)):
                rejected = picture(rows.read(one.picture), f"{place:06d}.rejected_{which}")
                values = {
                    "prompt": row.input_prompt,
                    "input_image": sources,
                    "chosen": chosen,
                    "rejected": rejected,
                    "chosen_scores": _json(scores.scores if scores else {}),
                    "rejected_scores": _json(one.scores),
                    "rejected_why": one.why,
                    "id": row.provenance.id if row.provenance else "",
                }
                if row.provenance is not None:
                    values["provenance"] = _json(row.to_json()["provenance"])
                pictures = (*sources, chosen, rejected)
                yield Line(values, sum(len(shown["bytes"]) for shown in pictures))

    return write_tables(out, family, schema, part_bytes, lines())


def _rejected(row: Row) -> tuple[Rejection, ...]:
    """Pictures painted from the row's own prompt; one written anew is a prompt of its picture alone."""
    made = row.provenance
    return () if made is None or made.rewritten is not None else made.rejected


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False)
