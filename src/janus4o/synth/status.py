"""How far the synthesis of a run folder is, read beside a running one."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from janus4o.errors import DataError
from janus4o.ledger.batches import Batch
from janus4o.ledger.journal import Sent, Spend
from janus4o.ledger.workers import Worker
from janus4o.synth.sample import Pipeline, State
from janus4o.synth.shared import has_store, open_store


@dataclass(frozen=True, slots=True)
class Status:
    """What a store holds.

    Attributes:
        states: pipeline → state → samples.
        tasks: pipeline → kind, document type or editing task → accepted rows; edits of all turns
            together.
        reasons: "rejected: held_out" → samples, the most frequent first.
        examples: the same reason → one sample's id and what was said of it.
        finished: rows by pipeline of the finished data set, None while there is none.
        maybe_billed: calls that brought no answer and may be on the bill all the same.
        batches: made so far, the oldest first.
        workers: who works on it now, where several can.
    """

    states: dict[str, dict[str, int]]
    tasks: dict[str, dict[str, int]]
    reasons: dict[str, int]
    examples: dict[str, str]
    finished: dict[str, int] | None
    spend: Spend
    maybe_billed: list[Sent]
    batches: list[Batch]
    workers: list[Worker]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def status(folder: str | Path) -> Status:
    """Reads the standing of every sample; raises DataError where there is no store."""
    folder = Path(folder)
    if not has_store(folder):
        raise DataError(f"{str(folder)!r} is no run folder", "give one that `janus4o synth` made")
    store = open_store(folder)
    try:
        states: dict[str, dict[str, int]] = {}
        reasons: Counter[str] = Counter()
        examples: dict[str, str] = {}
        tasks: dict[str, Counter[str]] = {}
        for pipeline in Pipeline:
            counts: Counter[str] = Counter()
            for standing in store.standings(pipeline):
                counts[standing.state.value] += 1
                row = standing.row and standing.row.provenance
                if standing.state is State.ACCEPTED and row:
                    tasks.setdefault(row.pipeline, Counter())[row.task] += 1
                if standing.state in (State.REJECTED, State.REFUSED, State.FAILED):
                    reason, _, detail = standing.reason.partition(":")
                    end = f"{standing.state.value}: {reason}"
                    reasons[end] += 1
                    examples.setdefault(end, f"{standing.sample.id[:8]}: {detail.strip()}")
            if counts or pipeline in (Pipeline.PROMPT_FIRST, Pipeline.EDITING):
                states[pipeline.value] = dict(counts)
        return Status(
            states,
            {made: dict(counts.most_common()) for made, counts in tasks.items()},
            dict(reasons.most_common()),
            examples,
            store.fact("finished"),
            store.spend(),
            store.uncertain(),
            store.batches(),
            store.workers(),
        )
    finally:
        store.close()
