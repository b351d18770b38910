"""`janus4o eval arena`: people vote, blind, on pictures of two or more systems."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus4o.cli import console
from janus4o.errors import UsageError

if TYPE_CHECKING:
    from janus4o.evaluate.arena.contest import Contest
    from janus4o.evaluate.evidence import Problem

REPORT_FILE = "report.json"
SHOWN_PROBLEMS = 20


def arena(
    systems: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[[NAME=]DIR]...", help="Pictures of each system, a folder, named by item."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The contest's folder: pictures, votes.")
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            help="What was asked, {item, prompt, source?} a line; default the starter set."
        ),
    ] = None,
    sources: Annotated[
        Path | None, typer.Option(help="Of edits: the pictures they start from, named by item.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of orders and sides.")] = 0,
    export: Annotated[
        Path | None, typer.Option(help="Write the page as files that need no server, here.")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Count the votes.")] = False,
    votes: Annotated[
        list[Path] | None, typer.Option(help="With --report: a votes file an exported page gave.")
    ] = None,
    scripted: Annotated[
        int,
        typer.Option(
            min=0,
            max=50,
            help="Vote with so many copies of the sketch world's exact judge, labelled as no people.",
        ),
    ] = 0,
    starter: Annotated[
        Path | None, typer.Option(help="Write the starter set's prompts and edits here.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 lets others in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes any free one.")] = 8765,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Serve a page for blind side-by-side votes, or count them.

    The folders are copied into --out once; later `--out` alone goes on. Stop the page with Ctrl-C.
    """
    from janus4o.evaluate.arena.contest import starter_text
    from janus4o.evaluate.arena.results import library
    from janus4o.evaluate.evidence import write_new

    if starter is not None:
        write_new(starter, starter_text().encode())
        console.say(str(starter))
        return
    if out is None:
        raise UsageError("a contest needs a folder", "give --out")
    if (votes or as_json) and not report:
        raise UsageError("--votes and --json go with --report", "add --report")
    contest = _contest(out, systems or [], items, sources, seed)
    if len(contest.systems) > 2:
        library()  # what is missing is said before anybody votes
    if export is not None:
        from janus4o.serve.arena.page import export as write_export

        console.say(str(write_export(contest, out, export)))
    if scripted:
        _vote_by_rule(contest, out, scripted)
    if report:
        _report(contest, out, votes or [], as_json)
    elif export is None and not scripted:
        _serve(contest, out, host, port)


def _contest(
    out: Path, systems: list[str], items: Path | None, sources: Path | None, seed: int
) -> Contest:
    from janus4o.evaluate.arena import contest as contests
    from janus4o.files import lock

    if not systems:
        return contests.open_contest(out)
    named = contests.name_systems(systems)
    asked, problems = contests.read_items(items) if items else (contests.starter_items(), [])
    with lock(out):
        contest, more = contests.make_contest(out, named, asked, sources, seed)
    _warn([*problems, *more])
    console.note(f"{len(contest.items)} items, {len(contest.matches())} pairs")
    return contest


def _vote_by_rule(contest: Contest, out: Path, count: int) -> None:
    from janus4o.evaluate.arena.scripted import RULE, vote_by_rule
    from janus4o.files import lock

    with lock(out):
        given = vote_by_rule(contest, out, count)
    console.note(f"{given} votes by rule ({RULE}), none of them a person's")


def _serve(contest: Contest, out: Path, host: str, port: int) -> None:
    from janus4o.files import lock
    from janus4o.serve.arena.server import Booth, Server

    with lock(out):
        booth = Booth(contest, out)
        _warn(booth.problems)
        with Server(booth, host, port) as server:
            console.say(server.address)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                console.note(f"votes are in {str(out)!r}; the same command goes on")


def _report(contest: Contest, out: Path, files: list[Path], as_json: bool) -> None:
    from janus4o.errors import DataError
    from janus4o.evaluate.arena.contest import VOTES_FILE
    from janus4o.evaluate.arena.results import report
    from janus4o.evaluate.arena.votes import read_votes
    from janus4o.evaluate.evidence import write_object

    own = out / VOTES_FILE
    files = ([own] if own.is_file() and own.stat().st_size else []) + files
    if not files:
        raise DataError(f"{str(out)!r} holds no votes yet", "vote, or give --votes FILE")
    votes, problems = read_votes(contest, files)
    found = report(contest, votes, files, problems)
    write_object(out / REPORT_FILE, found)
    _warn(problems)
    if as_json:
        console.json(found)
    else:
        _show(found)
    if not votes:
        raise DataError("no vote counts", "see the problems listed")


def _show(found: dict[str, Any]) -> None:
    for question in found["questions"].values():
        rows = [
            (
                f"{pair['system']} : {pair['against']}",
                *(
                    f"{100 * part['score']:.0f} % ({100 * part['low']:.0f}–{100 * part['high']:.0f})"
                    for part in (pair["win"], pair["tie"], pair["lose"])
                ),
                pair["votes"],
                pair["items"],
                f"{pair['p_value']:.3g}",
            )
            for pair in question["pairs"]
        ]
        columns = (question["question"], "win", "tie", "lose", "votes", "items", "sign test p")
        console.table(columns, rows)
        for name, strength in (question["strengths"] or {}).items():
            limits = f"{strength['low']:.0f}–{strength['high']:.0f}"
            console.say(f"  {name}: {strength['score']:.0f} ({limits})")
        alike = question["agreement"]
        if alike["votes"]:
            alpha = "undefined" if alike["alpha"] is None else f"{alike['alpha']:.2f}"
            shared = f"{alike['matches']} pairs with two raters or more"
            console.say(f"  raters agree on {100 * alike['same']:.0f} %, alpha {alpha}, {shared}")
        console.say()
    rows = [
        (
            name,
            of["votes"],
            of["seconds"],
            *(f"{of[q]['repeated_alike']} of {of[q]['repeats']}" for q in found["questions"]),
            *(
                "–" if (left := of[q]["left"]) is None else f"{100 * left:.0f} %"
                for q in ("looks",)
            ),
        )
        for name, of in found["raters"].items()
    ]
    again = [f"again: {question}" for question in found["questions"]]
    console.table(("rater", "votes", "seconds", *again, "left looks better"), rows)
    scripted = [name for name, of in found["raters"].items() if of["scripted"]]
    if scripted:
        console.say(f"{len(scripted)} of {len(found['raters'])} raters are scripted, no people")
    if found["problems"]:
        console.say(f"{len(found['problems'])} lines do not count; {REPORT_FILE} lists them")


def _warn(problems: list[Problem]) -> None:
    for problem in problems[:SHOWN_PROBLEMS]:
        console.warn(f"{problem.where}: {problem.what}")
    if len(problems) > SHOWN_PROBLEMS:
        console.warn(f"and {len(problems) - SHOWN_PROBLEMS} more")
