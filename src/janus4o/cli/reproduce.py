"""`janus4o eval reproduce`: score a released model, and compare with what was published."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from janus4o.cli import console


def reproduce(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="e.g. recipes/reproduce.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the plan.")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Make, look, ask and score; without it nothing is done.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Score a released model on the published benchmarks and say whether the figures are met.

    Each command of the plan goes on where it stopped, so the same call can be repeated. Downloads,
    GPU time and the judge's price are those of the commands it prints.
    """
    from janus4o.evaluate.reproduce import outcome, read_plan

    read = read_plan(plan, overrides)
    for benchmark in read.benchmarks:
        for words in read.commands(benchmark):
            console.note(f"janus4o eval {shlex.join(words)}")
            if run:
                _do(words)
    found = [outcome(read, benchmark) for benchmark in read.benchmarks]
    if as_json:
        console.json(
            {
                one.benchmark: {
                    "published": one.target.published,
                    "tolerance": one.target.tolerance,
                    "score": one.entry.value.score if one.entry else None,
                    "verdict": one.verdict,
                    "doubts": list(one.doubts),
                }
                for one in found
            }
        )
        return
    rows: list[tuple[Any, ...]] = [
        (
            one.benchmark,
            f"{one.target.published:g} ± {one.target.tolerance:g}",
            f"{one.entry.value.score:.{2 if one.entry.scale != (0, 1) else 3}f}"
            if one.entry
            else "–",
            one.verdict,
            "; ".join(one.doubts),
        )
        for one in found
    ]
    console.table((read.model, "published", "ours", "", "but"), rows)


def _do(words: list[str]) -> None:
    from janus4o.cli.app import main

    code = main(["eval", *words])
    if code:
        raise typer.Exit(code)
