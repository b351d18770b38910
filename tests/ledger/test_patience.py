"""What is asked again, and when that ends."""

from __future__ import annotations

import pytest

from janus4o.errors import BudgetStop
from janus4o.exchange import Unanswered, Usage
from janus4o.ledger.patience import LONGEST_PAUSE, MAX_WAITED, PAID_TRIES, TRIES, Patience

FREE = Usage(cost_usd=0.0)


def pauses(failure: Unanswered, most: int = 10_000) -> list[float]:
    patience = Patience(0.5)
    found: list[float] = []
    while len(found) < most and (pause := patience.after(failure)) is not None:
        found.append(pause)
    return found


def test_what_may_have_been_billed_is_asked_three_times_in_all() -> None:
    assert len(pauses(Unanswered("lost"))) == PAID_TRIES - 1
    assert len(pauses(Unanswered("cut off", Usage(cost_usd=0.02)))) == PAID_TRIES - 1


def test_what_was_not_billed_is_asked_more_often() -> None:
    found = pauses(Unanswered("HTTP 503", FREE))
    assert len(found) == TRIES - 1
    assert found[0] <= 0.5
    assert max(found) <= LONGEST_PAUSE
    assert found[-1] > found[0]


def test_being_asked_too_often_counts_as_no_try_but_ends_some_day() -> None:
    found = pauses(Unanswered("HTTP 429", FREE, limited=True))
    assert len(found) > TRIES
    assert sum(found) <= MAX_WAITED + LONGEST_PAUSE


def test_nobody_comes_back_earlier_than_the_server_says() -> None:
    failure = Unanswered("HTTP 429", FREE, limited=True, retry_after=20.0)
    found = pauses(failure, 50)
    assert len(set(found)) > 1, "no jitter: calls that failed together would come back together"
    assert min(found) >= 20.0


def test_a_very_long_pause_ends_the_run_instead() -> None:
    with pytest.raises(BudgetStop, match="86,400 seconds"):
        Patience(0.5).after(Unanswered("HTTP 429", FREE, limited=True, retry_after=86_400.0))
