"""How often a server may be asked: its limits a minute, its pauses, and how much at once.

Limits hold in every sliding window of a minute. What a call will need is reserved before it is sent
and corrected when its answer says what it used.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass

from janus4o.ledger.budget import Sleep
from janus4o.recipe import Limits

WINDOW = 60.0
"""Seconds over which servers count."""
MARGIN = 1.0
"""Seconds a call counts longer than the window here: one that was slow on its way to the server still
counts there when it no longer would here."""
LEAVING: ContextVar[Callable[[], None] | None] = ContextVar("leaving", default=None)
"""What a teacher's client is to call once a request is out, see `Pace.leaves`; None where nobody counts."""
SHRINK = 0.7
"""What is left of the calls in flight after the server said that it is asked too often."""


@dataclass(slots=True)
class Call:
    """What one call needs, when it was sent, whether it still counts against the limits, and under
    which number all workers of a run know it.
    """

    images: int
    tokens: int
    sent: float = 0.0
    counts: bool = True
    number: int = 0


class Pace:
    """Lets calls to one server through as fast as it allows.

    Args:
        limits: None in it is no limit.
        window: seconds over which the server counts.
        at_once: the most calls in flight; fewer after the server complained, then slowly more.
        clock, sleep: time in seconds; tests bring their own.
    """

    def __init__(
        self,
        limits: Limits,
        at_once: int,
        *,
        window: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._limits = limits
        self._most = at_once
        self._window = (WINDOW if window is None else window) + MARGIN
        self._clock = clock
        self._sleep = sleep
        self._calls: dict[int, Call] = {}  # by identity, in the order they left
        self._used = Call(0, 0)
        self._not_before = 0.0
        self._queue = asyncio.Lock()
        self._freed = asyncio.Event()
        self._complained = 0.0
        self.at_once = float(at_once)
        self.in_flight = 0

    @contextlib.asynccontextmanager
    async def turn(self, *, images: int = 0, tokens: int = 0) -> AsyncIterator[Call]:
        """Waits until one call may be sent, first come first served; the block is the call.

        A need greater than a whole limit waits for an empty window and goes alone.
        """
        call = Call(images, tokens)
        async with self._queue:
            while self.in_flight >= max(1, int(self.at_once)):
                self._freed.clear()
                await self._freed.wait()
            while (wait := self._let_through(call)) > 0:
                await self._sleep(wait)
            self.in_flight += 1
        try:
            yield call
        finally:
            self.in_flight -= 1
            self._freed.set()

    def leaves(self, call: Call) -> None:
        """The call is out only now: it was written down first, and a busy machine takes its time.

        May be said again: what was said last counts.
        """
        call.sent = self._clock()
        if self._calls.pop(id(call), None) is None:  # let through longer than a window ago
            call.counts = True
            self._used.images += call.images
            self._used.tokens += call.tokens
        self._calls[id(call)] = call  # now the last that left

    def correct(self, call: Call, tokens: int) -> None:
        """The answer came and says how many tokens it used."""
        if call.counts:
            self._used.tokens += tokens - call.tokens
        call.tokens = tokens
        self.at_once = min(self._most, self.at_once + 1 / max(1.0, self.at_once))

    def pause(self, call: Call, seconds: float | None) -> None:
        """The server says that it is asked too often: fewer calls, none for so many seconds."""
        now = self._clock()
        if seconds:
            self._not_before = max(self._not_before, now + seconds)
        # Calls sent before the last complaint say nothing about what was changed since.
        if call.sent >= self._complained:
            self._complained = now
            self.at_once = max(1.0, self.at_once * SHRINK)

    def _let_through(self, call: Call) -> float:
        """Counts this call as sent now; or seconds after which to ask again, where it must wait."""
        if (wait := self._wait_for(call)) > 0:
            return wait
        call.sent = self._clock()
        self._calls[id(call)] = call
        self._used.images += call.images
        self._used.tokens += call.tokens
        return 0.0

    def _wait_for(self, call: Call) -> float:
        """Seconds until this call may be sent, as far as is known now."""
        now = self._clock()
        while (gone := next(iter(self._calls.values()), None)) is not None:
            if gone.sent > now - self._window:
                break
            del self._calls[id(gone)]
            gone.counts = False
            self._used.images -= gone.images
            self._used.tokens -= gone.tokens
        wait = self._not_before - now
        if not self._calls:
            return wait
        limits, left = self._limits, Call(self._used.images, self._used.tokens)
        count = len(self._calls)
        for old in self._calls.values():  # how many of the oldest must leave the window first
            fits = (
                (limits.requests is None or count < limits.requests)
                and (limits.images is None or left.images + call.images <= limits.images)
                and (limits.tokens is None or left.tokens + call.tokens <= limits.tokens)
            )
            if fits:
                break
            wait = max(wait, old.sent + self._window - now)
            left.images -= old.images
            left.tokens -= old.tokens
            count -= 1
        return wait
