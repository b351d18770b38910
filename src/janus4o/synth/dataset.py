"""Writes what a finished run hands on: `dataset/rows.jsonl` and `dataset/provenance.jsonl`.

Rows hold content only, so two runs of one recipe agree to the byte however often they were killed.
Times, calls and spend differ from run to run and stand in the provenance file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

from janus4o.files import write_atomic
from janus4o.records import Row
from janus4o.rows import ROWS_FILE
from janus4o.synth.sample import Pipeline, State
from janus4o.synth.store import Store

PROVENANCE_FILE = ROWS_FILE.with_name("provenance.jsonl")


def accepted(store: Store, wanted: Mapping[Pipeline, int]) -> list[tuple[str, Row]]:
    """(sample id, row) of the first accepted samples of each pipeline, as many rows as wanted."""
    out: list[tuple[str, Row]] = []
    for pipeline, count in wanted.items():
        kept = (s for s in store.standings(pipeline) if s.state is State.ACCEPTED)
        rows = ((s.sample.id, row) for s in kept for row in s.rows)
        out += islice(rows, count)
    return out


def write_dataset(store: Store, wanted: Mapping[Pipeline, int]) -> int:
    """Writes both files from what is accepted so far and returns the number of rows."""
    store.flush()
    kept = accepted(store, wanted)
    rows = [row.to_json() for _, row in kept]
    calls: dict[str, list[dict[str, Any]]] = {sample: [] for sample, _ in kept}
    for attempt in store.attempts():
        if attempt.sample in calls:
            calls[attempt.sample].append(
                {
                    "stage": attempt.stage,
                    "status": attempt.status,
                    "model": attempt.model,
                    "started": round(attempt.started, 3),
                    "seconds": round(attempt.seconds, 4),
                    "input_tokens": attempt.usage.input_tokens,
                    "output_tokens": attempt.usage.output_tokens,
                    "cost_usd": attempt.usage.cost_usd,
                }
            )
    (store.folder / ROWS_FILE).parent.mkdir(exist_ok=True)
    histories: list[dict[str, Any]] = [
        {"id": sample, "calls": made} for sample, made in calls.items()
    ]
    write_atomic(store.folder / PROVENANCE_FILE, _lines(histories))
    write_atomic(store.folder / ROWS_FILE, _lines(rows))
    return len(rows)


def _lines(objects: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects).encode()
