"""Teachers that cost money: killed at any point, every cent is either counted or listed as doubtful."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from janus4o.ledger.prices import Price
from janus4o.recipe import Recipe
from janus4o.synth.runner import run
from janus4o.synth.status import status

from .test_runner import crash_at, in_child, result, wait

Make = Callable[..., Recipe]
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
CENT = 0.01


def paid(teacher: Any, bill: Path) -> Any:
    """A teacher behind a server, as the runner sees it; its bill survives the process."""

    class Paid(teacher):  # type: ignore[misc]
        def price(self, request: object) -> Price:
            return Price(2 * CENT, CENT)

        def tokens(self, request: object) -> int:
            return 1

        def serves(self, model: str) -> bool:
            return True

        async def close(self) -> None:
            pass

        async def _hear(self, *request: object) -> bytes:
            hashed: bytes = await super()._hear(*request)
            handle = os.open(bill, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(handle, hashed.hex().encode() + b"\n")
            os.close(handle)
            return hashed

    return Paid(name="till", cost_usd=CENT, refuses=0)


def billed(bill: Path) -> list[str]:
    return bill.read_text().split() if bill.exists() else []


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.stress)])
def test_at_every_crash_point_of_the_paid_path_every_cent_is_known(
    tmp_path: Path, make_recipe: Make, teacher: type, stride: int
) -> None:
    in_flight = 2
    recipe = make_recipe(2, 0, concurrency=in_flight, budget_usd=5.0)
    one = paid(teacher, tmp_path / "bill")
    run(recipe, tmp_path / "whole", one, one)
    expected, calls = result(tmp_path / "whole"), len(billed(tmp_path / "bill"))
    assert status(tmp_path / "whole").spend.cost_usd == pytest.approx(calls * CENT)
    step, code, repeated = 1, 9, 0
    while code == 9:
        folder, bill = tmp_path / f"at{step}", tmp_path / f"bill{step}"

        def work(folder: Path = folder, bill: Path = bill, step: int = step) -> None:
            crash_at(step)
            one = paid(teacher, bill)
            run(recipe, folder, one, one)

        code = wait(in_child(work))
        assert code in (9, 0)
        one = paid(teacher, bill)
        run(recipe, folder, one, one)
        assert result(folder) == expected, f"crash at step {step}"
        lines = billed(bill)
        twice = len(lines) - len(set(lines))
        assert twice <= in_flight, f"crash at step {step}: {twice} paid twice"
        repeated += twice
        spend = status(folder).spend
        assert spend.uncertain >= twice, f"crash at step {step}: paid twice and not listed"
        assert spend.uncertain <= in_flight
        counted = spend.cost_usd
        assert counted <= len(lines) * CENT + 1e-9 <= counted + spend.uncertain_usd + 1e-9
        step += stride
    assert step > 20
    assert repeated > 0 or stride > 1, (
        "no crash fell between a call and its record: nothing was tested"
    )
