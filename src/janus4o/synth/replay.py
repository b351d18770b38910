"""Makes the data set of a finished run again from the replies it recorded, asking nobody."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from janus4o.errors import DataError, Refused
from janus4o.exchange import Painter, Writer
from janus4o.recipe import Limits, Recipe, Server
from janus4o.rows import ROWS_FILE
from janus4o.synth.checks import Inspector
from janus4o.synth.runner import Progress, run
from janus4o.synth.shared import has_store, open_store


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it: rows made, calls answered from the record."""

    folder: Path
    rows: int
    calls: int


def check_replayable(folder: Path) -> None:
    """Raises DataError where there is no store, Refused where its run is not finished."""
    if not has_store(folder):
        raise DataError(f"{str(folder)!r} is no run folder", "give one that `janus4o synth` made")
    store = open_store(folder)
    try:
        finished = store.fact("finished")
    finally:
        store.close()
    if finished is None:
        raise Refused(
            f"the synthesis of {str(folder)!r} is not finished, so not every reply is recorded",
            "finish it with `janus4o synth`",
        )


def replay(
    recipe: Recipe,
    folder: Path,
    out: Path,
    writer: Writer,
    painter: Painter,
    inspector: Inspector,
    progress: Progress | None = None,
) -> Replay:
    """Runs the recipe of `folder` into `out` and compares the rows, which name pictures by content.

    Args:
        recipe: the run's own.
        out: a new folder, or one a replay of the same run was stopped in.

    Raises:
        DataError: a reply is not recorded, or the rows are not the same, bytes compared.
    """
    judge = writer if recipe.teachers.judge is not None else None
    outcome = run(
        unhurried(recipe), out, writer, painter, progress, inspector=inspector, judge=judge
    )
    first, second = ((where / ROWS_FILE).read_bytes() for where in (folder, out))
    if first != second:
        raise DataError(f"replayed rows differ: {_first_difference(first, second)}", f"see {out}")
    return Replay(out, outcome.tally.done, outcome.tally.calls)


def unhurried(recipe: Recipe) -> Recipe:
    """The recipe without what only holds for servers and many workers: limits, money, a database."""
    teachers = recipe.teachers.model_copy(
        update={
            role: server.model_copy(update={"limits": Limits()})
            for role in ("writer", "painter", "judge")
            if isinstance(server := getattr(recipe.teachers, role), Server)
        }
    )
    synthesis = recipe.synthesis.model_copy(update={"budget_usd": None})
    changes = {"store": None, "teachers": teachers, "synthesis": synthesis}
    return recipe.model_copy(update=changes)


def _first_difference(first: bytes, second: bytes) -> str:
    """ "row 3: input_prompt", or how many there are."""
    ours, theirs = first.splitlines(), second.splitlines()
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False), 1):
        if one != other:
            a, b = json.loads(one), json.loads(other)
            keys = [key for key in a | b if a.get(key) != b.get(key)]
            return f"row {number}: {', '.join(keys)}"
    return f"{len(theirs)} rows instead of {len(ours)}"
