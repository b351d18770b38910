"""`janus4o audit`: who the prompts of a data set are about, and who its pictures show."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus4o.cli import console, making
from janus4o.errors import DataError

if TYPE_CHECKING:
    from janus4o.people import Audit, Told, Words
    from janus4o.rows import Rows


def command(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a data set.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where to write; default audit.json in RUN."),
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(help="Shares to hold it against (YAML: dimension, group, share)."),
    ] = None,
    words: Annotated[
        Path | None, typer.Option(help="A changed copy of people.yaml: groups and their words.")
    ] = None,
    ask: Annotated[
        Path | None,
        typer.Option(help="Also have a vision model look at pictures (YAML; see docs/scoring.md)."),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, help="With --ask: at most so many pictures, drawn by --seed.")
    ] = 200,
    seed: Annotated[int, typer.Option(help="With --ask: which pictures.")] = 0,
    ledger: making.LedgerOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is written.")] = False,
) -> None:
    """Count which people the prompts name: gender, origin, age, occupation, against targets.

    Without --targets the shares are held against what the recipe asks for, where a run says it,
    else against even ones. Nothing is removed or changed. The report and the cards of later exports
    count by these words and against these targets, and show what --ask found.
    """
    import json

    from janus4o.audited import AUDIT_FILE, Audited, read_audit
    from janus4o.people import read_targets, read_words
    from janus4o.rows import open_rows
    from janus4o.synth.export.card import read_making

    known = read_words(str(words) if words else None)
    rows = open_rows(path)
    if out is None and not (path / "dataset").is_dir():
        raise DataError(f"{str(path)!r} is no run folder", "say with --out where to write")
    where = out or path / AUDIT_FILE
    vocabulary = words.read_text("utf-8") if words else ""
    audited = Audited(vocabulary, known, read_targets(targets, known) if targets else None)
    told = [known.told(row.input_prompt) for row in rows]
    prompts = audited.count(told, read_making(path).targets.get("category", {}))
    found: dict[str, Any] = {
        "digest": rows.digest,
        "words": vocabulary or None,
        "targets": audited.targets,
        "prompts": prompts.to_json(),
    }
    if read_audit(where, rows.digest).portrayed:  # asked about before; --ask replaces it below
        found["pictures"] = json.loads(where.read_bytes())["pictures"]
    _write(where, found)  # what follows may be refused or stopped
    seen: dict[str, Audit] = {}
    if ask is not None:
        beside = ledger or where.with_name(f"{where.stem}.asked")
        seen, about = _look(rows, told, known, (ask, beside), sample, seed)
        found["pictures"] = {**about, "shown": {k: one.to_json() for k, one in seen.items()}}
        _write(where, found)
    if as_json:
        console.json(found)
        return
    show(f"{len(rows):,} prompts, {prompts.about_people:,} of them about people", prompts)
    for name, one in seen.items():
        console.say()
        show(f"{one.looked_at:,} pictures, {one.about_people:,} of them show people; {name}", one)
    if not prompts.about_people:
        console.note(f"no prompt names a person by {audited.source}")
    console.note(f"written to {where}")


def _write(path: Path, found: dict[str, Any]) -> None:
    import json

    from janus4o.files import write_atomic

    write_atomic(path, (json.dumps(found, ensure_ascii=False, indent=1) + "\n").encode())


def _look(
    rows: Rows,
    told: list[Told | None],
    words: Words,
    who: tuple[Path, Path],
    most: int,
    seed: int,
) -> tuple[dict[str, Audit], dict[str, Any]]:
    """Shares of what pictures of prompts about people show, and what to say of the asking."""
    from janus4o.evaluate.portrayal import look
    from janus4o.people import tally

    about = [number for number, one in enumerate(told) if one is not None]
    if not about:
        raise DataError("no prompt is about people", "there is no picture to ask about")
    chosen = sorted(random.Random(seed).sample(about, min(most, len(about))))
    server, writer = making.hire(who[0])
    with console.progress(len(chosen), "ask", "pictures") as progress:
        found = look(
            ((str(n), partial(rows.read, rows[n].output_image)) for n in chosen),
            words.groups,
            writer,
            who[1],
            server.manner,
            progress.update,
        )
    for problem in found.problems[:10]:
        console.warn(f"row {problem.where}: {problem.what}")
    making.say_spend(found.spend)
    everything = tally(found.told.values(), words)
    left_open = tally(
        (
            shown and {k: v for k, v in shown.items() if k not in (told[int(name)] or {})}
            for name, shown in found.told.items()
        ),
        words,
    )
    facts = making.asked_facts(server, ", ".join(found.models), found.spend)
    return (
        {"all that is shown": everything, "what their prompts leave open": left_open},
        {**facts, "chosen": len(chosen), "seed": seed, "unanswered": len(chosen) - len(found.told)},
    )


def show(heading: str, found: Audit) -> None:
    """Every dimension as a table: shares of what is named, Wilson's 95 % interval, the target."""
    console.say(heading)
    for one in found.dimensions:
        if not one.mentions:
            console.say(f"\n{one.name}: nothing is said of it")
            continue
        console.say()
        lines = [
            (
                share.group,
                f"{share.count:,}",
                f"{100 * share.share:.1f} %",
                f"{100 * share.low:.1f}–{100 * share.high:.1f}",
                "" if share.target is None else f"{100 * share.target:.1f} %",
                share.verdict,
            )
            for share in one.shares
        ]
        console.table(
            (one.name, "named", "share", "95 %", "target", ""),
            lines,
            f"{one.left_open:,} tell nothing of it; targets are {one.against}",
        )
