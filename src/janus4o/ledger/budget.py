"""A hard limit on money: no call is made that could take the spend over it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from janus4o.errors import BudgetStop, Refused
from janus4o.ledger.prices import Price

Sleep = Callable[[float], Awaitable[None]]


class Budget:
    """Counts what is spent and what calls in flight may still spend.

    Args:
        limit_usd: None means no limit; prices need not be known then.
        spent_usd: already spent by earlier runs of the same folder.
    """

    def __init__(self, limit_usd: float | None, spent_usd: float = 0.0) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = spent_usd
        self._reserved_usd = 0.0
        self._settled = asyncio.Event()

    async def reserve_when_free(
        self, teacher: str, price: Price | None, sleep: Sleep = asyncio.sleep
    ) -> float:
        """As `reserve`, but waits while calls in flight may turn out cheaper than was set aside.

        Args:
            sleep: what long waiting is done with; it may end it with an error.
        """
        while True:
            try:
                return self.reserve(teacher, price)
            except BudgetStop:
                if self._reserved_usd <= 1e-9:
                    raise
            self._settled.clear()
            await self._wait_for_money(sleep)

    async def _wait_for_money(self, sleep: Sleep) -> None:
        """Until something was given back, or may have been."""
        await self._settled.wait()

    def reserve(self, teacher: str, price: Price | None) -> float:
        """Sets money aside for one call; give it back with `settle`.

        Raises:
            Refused: a limit is set and the price is unknown.
            BudgetStop: the call could go over the limit.
        """
        if self.limit_usd is None:
            return 0.0
        if price is None:
            raise Refused(
                f"the price of {teacher!r} is unknown, so a budget of ${self.limit_usd:.2f} "
                "cannot be kept",
                "remove the budget or use a teacher whose price is known",
            )
        wanted = self.spent_usd + self._reserved_usd + price.call_usd
        if price.call_usd > 0 and wanted > self.limit_usd + 1e-9:
            raise BudgetStop(
                f"the next call could take the spend from ${self.spent_usd:.2f} over the budget "
                f"of ${self.limit_usd:.2f}",
                "raise the budget and run the same command again to go on",
            )
        self._reserved_usd += price.call_usd
        return price.call_usd

    def resume(self, reserved_usd: float) -> float:
        """Takes up what an earlier run set aside for a call that is still out; counts it as reserved.

        Until now it counted as spent.
        """
        self.spent_usd -= reserved_usd
        self._reserved_usd += reserved_usd
        return reserved_usd

    def settle(self, reserved: float, cost_usd: float | None) -> None:
        """Replaces a reservation by what the call cost; an unknown cost counts as all of it."""
        self._reserved_usd -= reserved
        self.spent_usd += reserved if cost_usd is None else cost_usd
        self._settled.set()
