"""Measures of many rows, made side by side and given in order.

Many rows are measured by processes, because a detector or many small pictures keep one interpreter busy;
few rows, or those a network looks at, by threads; when asked, all of them on a Ray cluster. The figures do
not depend on which.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from janus4o.cluster import AT_A_PROCESS, Backend, RayPool
from janus4o.errors import DataError, Interrupted
from janus4o.records import Row
from janus4o.rows import Rows, pictures_of
from janus4o.synth.checking.measures import Measures, measure
from janus4o.synth.checking.seeing import Eyes
from janus4o.synth.checks import Inspector

AHEAD = 32
"""Rows that threads work ahead of the one that is given next."""
MANY = 2000
"""Rows from which on it pays to start processes."""
BATCH_ROWS, BATCH_BYTES = 32, 16_000_000
"""What goes to a process at once, at most; one row always goes."""
Seers = tuple[Inspector | None, Eyes]
"""The further arguments of `measure`: who knows what pictures show."""
Batch = list[tuple[Row, "Carried"]]


def measures_ahead(
    rows: Rows, start: int, seers: Seers, backend: Backend = Backend.PLAIN
) -> Iterator[Measures]:
    """Measures of the rows from `start` on.

    Raises:
        Interrupted: a process was killed, as by a machine without memory.
        Refused: there is no Ray, or it does not answer.
    """
    if backend is Backend.RAY:
        yield from _on_ray(rows, start, seers)
        return
    workers = min(8, os.cpu_count() or 1)
    if workers == 1 or len(rows) - start < MANY or seers[1].heavy:
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


def _by_threads(rows: Rows, start: int, seers: Seers, workers: int) -> Iterator[Measures]:
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


def _by_processes(rows: Rows, start: int, seers: Seers, workers: int) -> Iterator[Measures]:
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(seers,)
    )
    try:
        yield from _in_order(
            _batches(rows, start), lambda batch: pool.submit(_measure_batch, batch), 2 * workers
        )
    finally:
        pool.shutdown(cancel_futures=True)


def _on_ray(rows: Rows, start: int, seers: Seers) -> Iterator[Measures]:
    with RayPool[Batch, list[Measures]](_measurer, seers, heavy=seers[1].heavy) as pool:
        yield from _in_order(
            _batches(rows, start), pool.submit, (AT_A_PROCESS + 1) * pool.processes
        )


def _in_order(
    batches: Iterator[Batch], submit: Callable[[Batch], Future[list[Measures]]], most: int
) -> Iterator[Measures]:
    """What becomes of the batches, of which `most` are on their way."""
    waiting: deque[Future[list[Measures]]] = deque()
    for batch in batches:
        waiting.append(submit(batch))
        if len(waiting) > most:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _batches(rows: Rows, start: int) -> Iterator[Batch]:
    batch: Batch = []
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


_measure_here: Callable[[Batch], list[Measures]]
"""In a process that measures."""


def _begin(seers: Seers) -> None:
    global _measure_here
    _measure_here = _measurer(seers)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever began it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Nobody waits for a process whose parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _measure_batch(batch: Batch) -> list[Measures]:
    return _measure_here(batch)


def _measurer(seers: Seers) -> Callable[[Batch], list[Measures]]:
    return lambda batch: [measure(carried, row, *seers) for row, carried in batch]
