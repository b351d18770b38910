"""Measures of many rows, made side by side and given in order.

Many rows are measured by processes, because a detector or many small pictures keep one interpreter busy;
few rows, or what cannot be sent to a process, by threads. The figures do not depend on which.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from janus4o.errors import DataError, Interrupted
from janus4o.records import Row
from janus4o.rows import Rows, pictures_of
from janus4o.synth.checking.measures import Measures, measure

AHEAD = 32
"""Rows that threads work ahead of the one that is given next."""
MANY = 2000
"""Rows from which on it pays to start processes."""
BATCH_ROWS, BATCH_BYTES = 32, 16_000_000
"""What goes to a process at once, at most; one row always goes."""
MOST_SENT = 1_000_000
"""Bytes of what a process begins with."""


def measures_ahead(rows: Rows, start: int, seers: tuple[Any, ...]) -> Iterator[Measures]:
    """Measures of the rows from `start` on.

    Args:
        seers: the further arguments of `measure`: who knows what pictures show.

    Raises:
        Interrupted: a process was killed, as by a machine without memory.
    """
    workers = min(8, os.cpu_count() or 1)
    if workers == 1 or len(rows) - start < MANY or not _can_travel(seers):
        yield from _by_threads(rows, start, seers, workers)
        return
    done = 0
    try:
        for found in _by_processes(rows, start, seers, workers):
            done += 1
            yield found
    except BrokenProcessPool:
        if not done:  # they may not start at all, as from a script without a file
            yield from _by_threads(rows, start, seers, workers)
            return
        raise Interrupted(
            "a process that measured pictures was killed; what is measured is kept",
            "run the same command again to go on; if it was out of memory, end something else first",
        ) from None


def _by_threads(rows: Rows, start: int, seers: tuple[Any, ...], workers: int) -> Iterator[Measures]:
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Measures]] = deque()
        for number in range(start, len(rows)):
            waiting.append(pool.submit(measure, rows, rows[number], *seers))
            if len(waiting) >= AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True, slots=True)
class Carried:
    """The pictures of a row on their way to a process; those that could not be read by their message."""

    pictures: Mapping[str, bytes | str]

    def read(self, name: str) -> bytes:
        found = self.pictures[name]
        if isinstance(found, str):
            raise DataError(found)
        return found


def _by_processes(
    rows: Rows, start: int, seers: tuple[Any, ...], workers: int
) -> Iterator[Measures]:
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(seers,)
    )
    waiting: deque[Future[list[Measures]]] = deque()
    try:
        for batch in _batches(rows, start):
            waiting.append(pool.submit(_measure_batch, batch))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(rows: Rows, start: int) -> Iterator[list[tuple[Row, Carried]]]:
    batch: list[tuple[Row, Carried]] = []
    size = 0
    for number in range(start, len(rows)):
        row = rows[number]
        pictures: dict[str, bytes | str] = {}
        for name in pictures_of(row):
            try:
                pictures[name] = rows.read(name)
            except DataError as error:
                pictures[name] = error.message
        batch.append((row, Carried(pictures)))
        size += sum(map(len, pictures.values()))
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


_seers: tuple[Any, ...] = ()
"""In a process that measures: what it was begun with."""


def _begin(seers: tuple[Any, ...]) -> None:
    global _seers
    _seers = seers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever began it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Nobody waits for a process whose parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _measure_batch(batch: list[tuple[Row, Carried]]) -> list[Measures]:
    return [measure(carried, row, *_seers) for row, carried in batch]


def _can_travel(seers: tuple[Any, ...]) -> bool:
    """A network is not sent to every process: each would have its own on the one GPU there is."""
    try:
        return len(pickle.dumps(seers)) < MOST_SENT
    except (pickle.PicklingError, TypeError, AttributeError):
        return False
