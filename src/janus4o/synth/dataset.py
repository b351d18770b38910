"""Writes what a finished run hands on: `dataset/rows.jsonl` and `dataset/provenance.jsonl`.

Rows hold content only, so two runs of one recipe agree to the byte however often they were killed.
Times, calls and spend differ from run to run and stand in the provenance file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from janus4o.files import writing
from janus4o.ledger.journal import Attempt
from janus4o.rows import ROWS_FILE
from janus4o.synth.sample import Pipeline, Standing, State
from janus4o.synth.store import Store

PROVENANCE_FILE = ROWS_FILE.with_name("provenance.jsonl")


def accepted(store: Store, pipeline: Pipeline, count: int) -> Iterator[Standing]:
    """The first accepted samples of a pipeline, as many as are wanted, by index."""
    return islice((s for s in store.standings(pipeline) if s.state is State.ACCEPTED), count)


def write_dataset(store: Store, wanted: Mapping[Pipeline, int]) -> int:
    """Writes both files from what is accepted so far and returns the number of rows.

    Line by line: a data set need not fit into memory.
    """
    store.flush()
    (store.folder / ROWS_FILE).parent.mkdir(exist_ok=True)
    written = 0
    with (
        writing(store.folder / ROWS_FILE) as rows,
        writing(store.folder / PROVENANCE_FILE) as histories,
    ):
        for pipeline, count in wanted.items():
            last = -1
            for standing in accepted(store, pipeline, count):
                if standing.row is not None:
                    rows.write(_line(standing.row.to_json()))
                    written += 1
                last = standing.sample.index
            calls = groupby(store.attempts_of_accepted(pipeline, last), attrgetter("sample"))
            for sample, made in calls:
                histories.write(_line({"id": sample, "calls": [_call(one) for one in made]}))
    return written


def _call(attempt: Attempt) -> dict[str, Any]:
    return {
        "stage": attempt.stage,
        "status": attempt.status,
        "model": attempt.model,
        "started": round(attempt.started, 3),
        "seconds": round(attempt.seconds, 4),
        "input_tokens": attempt.usage.input_tokens,
        "output_tokens": attempt.usage.output_tokens,
        "cost_usd": attempt.usage.cost_usd,
    }


def _line(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()
