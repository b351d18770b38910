"""Ctrl-C once lets the work in hand end; twice stops it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def draining() -> Iterator[Callable[[], bool]]:
    """Notes the first SIGINT or SIGTERM instead of dying of it; the second one interrupts.

    Yields what tells whether one came. Off the main thread nothing is caught, and none ever came.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, _frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(caught)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
