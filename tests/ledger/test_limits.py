"""Limits hold in every sliding minute and are used to the full; shown on a clock of its own."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from janus4o.ledger import limits
from janus4o.ledger.limits import Call, Pace
from janus4o.recipe import Limits


class Clock:
    """Time that passes only when everybody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self._sleepers, (self.now + max(seconds, 1e-6), self._number, future))
        await future

    async def run(self, *work: object) -> None:
        task = asyncio.ensure_future(asyncio.gather(*work))  # type: ignore[call-overload]
        while not task.done():
            for _ in range(20):
                await asyncio.sleep(0)
            if self._sleepers and not task.done():
                at, _, future = heapq.heappop(self._sleepers)
                self.now = max(self.now, at)
                if not future.done():
                    future.set_result(None)
        await task


def calls(
    allowed: Limits, count: int, at_once: int, need: Callable[[random.Random], tuple[int, int]]
) -> list[Call]:
    """The calls that were sent, `sent` being the time they reached the server."""
    clock, rng = Clock(), random.Random(7)
    pace = Pace(allowed, at_once, clock=clock, sleep=clock.sleep)
    arrived: list[Call] = []

    async def worker() -> None:
        while len(arrived) < count:
            images, tokens = need(rng)
            async with pace.turn(images=images, tokens=tokens) as call:
                # On its way for up to 0.3 s, then a while at work.
                await clock.sleep(rng.uniform(0.0, 0.3))
                arrived.append(Call(images, tokens, clock.now))
                await clock.sleep(rng.uniform(0.1, 5.0))
                pace.correct(call, tokens)

    async def go() -> None:
        await clock.run(*(worker() for _ in range(at_once)))

    asyncio.run(go())
    return sorted(arrived, key=lambda call: call.sent)


@pytest.mark.parametrize(
    ("allowed", "measure", "limit"),
    [
        (Limits(requests=300), lambda call: 1, 300),
        (Limits(images=50), lambda call: call.images, 50),
        (Limits(tokens=40_000), lambda call: call.tokens, 40_000),
    ],
    ids=["requests", "images", "tokens"],
)
def test_no_window_is_over_and_ten_minutes_are_used_to_97_percent(
    allowed: Limits, measure: Callable[[Call], int], limit: int
) -> None:
    def need(rng: random.Random) -> tuple[int, int]:
        return 1, rng.randint(50, 250)

    most = {300: 3300, 50: 550, 40_000: 3000}[limit]
    arrived = calls(allowed, most, 60, need)
    start, used = 0, 0
    for call in arrived:  # every window that ends with a call
        used += measure(call)
        while arrived[start].sent <= call.sent - 60.0:
            used -= measure(arrived[start])
            start += 1
        assert used <= limit
    begun = arrived[0].sent
    ten = [call for call in arrived if begun <= call.sent < begun + 600.0]
    assert arrived[-1].sent > begun + 600.0, "too few calls to fill ten minutes"
    assert sum(map(measure, ten)) >= 0.97 * limit * 10


def test_a_call_larger_than_the_limit_goes_alone() -> None:
    arrived = calls(Limits(tokens=1000), 6, 3, lambda rng: (0, 2500))
    gaps = [b.sent - a.sent for a, b in pairwise(arrived)]
    assert min(gaps) > 60.0


def test_what_an_answer_used_replaces_what_was_reserved() -> None:
    clock = Clock()
    pace = Pace(Limits(tokens=1000), 10, clock=clock, sleep=clock.sleep)

    async def go() -> None:
        for _ in range(20):
            async with pace.turn(tokens=900) as call:
                pass
            pace.correct(call, 50)

    asyncio.run(_drive(clock, go))
    # 900 fits only while less than 100 are used: two calls a window at first, then one window after
    # another; without the correction twenty calls would take nineteen windows.
    assert clock.now < 1000.0 + 10 * 62


async def _drive(clock: Clock, work: Callable[[], object]) -> None:
    await clock.run(work())


def test_a_call_counts_from_when_it_left_not_from_when_it_was_let_through() -> None:
    """Between the two it is written down, and a busy disk takes its time."""
    clock = Clock()
    pace = Pace(Limits(requests=1), 10, clock=clock, sleep=clock.sleep)
    left: list[float] = []

    async def once() -> None:
        async with pace.turn() as call:
            await clock.sleep(4.0)
            pace.leaves(call)
            left.append(clock.now)

    async def go() -> None:
        for _ in range(3):
            await once()

    asyncio.run(_drive(clock, go))
    assert all(b - a >= 60.0 + limits.MARGIN for a, b in pairwise(left))


def test_one_that_leaves_late_holds_nobody_up() -> None:
    """The first let through is the last to leave; those behind it are done with their minute first."""
    clock = Clock()
    pace = Pace(Limits(requests=3), 10, clock=clock, sleep=clock.sleep)
    let: list[float] = []

    async def once(delay: float) -> None:
        async with pace.turn() as call:
            let.append(clock.now - 1000.0)
            await clock.sleep(delay)
            pace.leaves(call)

    async def go() -> None:
        await clock.run(*(once(delay) for delay in (30.0, 0.0, 0.0, 0.0, 0.0, 0.0)))

    asyncio.run(go())
    window = 60.0 + limits.MARGIN
    assert let[:3] == [0.0, 0.0, 0.0]
    assert let[3:] == pytest.approx([window, window, window + 30.0], abs=0.01)


def test_a_pause_holds_everybody_and_halves_the_crowd_once() -> None:
    clock = Clock()
    pace = Pace(Limits(), 8, clock=clock, sleep=clock.sleep)
    sent: list[float] = []

    async def worker(number: int) -> None:
        async with pace.turn() as call:
            sent.append(clock.now)
            await clock.sleep(1.0)
            if number < 4:  # four calls of one moment complain about the same thing
                pace.pause(call, 30.0)

    async def go() -> None:
        await clock.run(*(worker(n) for n in range(12)))

    asyncio.run(go())
    assert [at for at in sent if at == 1000.0] == sent[:8]
    assert all(at >= 1031.0 for at in sent[8:])
    assert pace.at_once == pytest.approx(8 * limits.SHRINK)


def test_the_crowd_grows_back_and_never_below_one_or_above_what_was_allowed() -> None:
    clock = Clock()
    pace = Pace(Limits(), 6, clock=clock, sleep=clock.sleep)

    async def go() -> None:
        for _ in range(30):
            async with pace.turn() as call:
                await clock.sleep(0.1)
            pace.pause(call, None)
        assert pace.at_once == 1.0
        for _ in range(60):
            async with pace.turn() as call:
                await clock.sleep(0.1)
            pace.correct(call, 0)

    asyncio.run(_drive(clock, go))
    assert pace.at_once == 6.0


def test_who_is_stopped_while_waiting_leaves_the_line_in_order() -> None:
    clock = Clock()
    pace = Pace(Limits(requests=1), 5, clock=clock, sleep=clock.sleep)

    async def once() -> float:
        async with pace.turn():
            return clock.now

    async def go() -> None:
        await once()
        waiting = asyncio.ensure_future(once())
        behind = asyncio.ensure_future(once())
        for _ in range(5):
            await asyncio.sleep(0)
        waiting.cancel()
        assert await behind == pytest.approx(1000.0 + 60.0 + limits.MARGIN)
        assert pace.in_flight == 0

    asyncio.run(_drive(clock, go))
