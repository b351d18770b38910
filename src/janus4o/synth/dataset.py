"""Writes what a finished run hands on: `dataset/rows.jsonl` and `dataset/provenance.jsonl`.

Rows hold content only, so two runs of one recipe agree to the byte however often they were killed.
Times, calls and spend differ from run to run and stand in the provenance file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from janus4o.files import write_atomic
from janus4o.rows import ROWS_FILE
from janus4o.synth.sample import Pipeline, Standing, State
from janus4o.synth.store import Store

PROVENANCE_FILE = ROWS_FILE.with_name("provenance.jsonl")


def accepted(store: Store, wanted: Mapping[Pipeline, int]) -> list[Standing]:
    """The first accepted samples of each pipeline, as many as are wanted, by index."""
    out: list[Standing] = []
    for pipeline, count in wanted.items():
        kept = [s for s in store.standings(pipeline) if s.state is State.ACCEPTED]
        out += kept[:count]
    return out


def write_dataset(store: Store, wanted: Mapping[Pipeline, int]) -> int:
    """Writes both files from what is accepted so far and returns the number of rows."""
    store.flush()
    standings = accepted(store, wanted)
    rows = [standing.row.to_json() for standing in standings if standing.row is not None]
    calls: dict[str, list[dict[str, Any]]] = {s.sample.id: [] for s in standings}
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
