"""The one policy of what is asked again, after how long, and when that is given up."""

from __future__ import annotations

import random

from janus4o.errors import BudgetStop
from janus4o.exchange import Unanswered

PAID_TRIES = 3
"""Calls of one request that may have been billed without an answer."""
TRIES = 10
"""Calls of one request without an answer, those that were certainly not billed included. Not counted is
being asked too often: the server only wants to be asked later."""
LONGEST_PAUSE = 30.0
"""Seconds; pauses double up to this, unless the server asks for more."""
MAX_RETRY_AFTER = 600.0
"""Seconds. A server that asks for more has had enough: the run ends and can go on later."""
MAX_WAITED = 3600.0
"""Seconds of pauses in all for one request."""


class Patience:
    """How long one request is still worth asking.

    Args:
        first_pause: seconds before the second try; doubles with each.
    """

    def __init__(self, first_pause: float) -> None:
        self._pause = first_pause
        self._tries = self._paid = 0
        self._waited = 0.0

    def after(self, failure: Unanswered) -> float | None:
        """Seconds to wait before the next try, None to give up.

        Raises:
            BudgetStop: the server wants to be left alone for very long.
        """
        asked = failure.retry_after or 0.0
        if asked > MAX_RETRY_AFTER:
            raise BudgetStop(
                f"the server asks to be left alone for {asked:,.0f} seconds: {failure}",
                "run the same command again after that to go on",
            )
        if not failure.limited:
            self._tries += 1
            self._paid += failure.usage.cost_usd != 0.0
        if self._tries >= TRIES or self._paid >= PAID_TRIES or self._waited >= MAX_WAITED:
            return None
        # Jitter only adds to what the server asks for: calls that failed together must not
        # come back together, and none may come back early.
        pause = max(asked, self._pause * random.uniform(0.5, 1.0))
        pause += asked * random.uniform(0.0, 0.05)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self._waited += pause
        return pause
