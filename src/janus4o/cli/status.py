"""`janus4o status`: how far a run is, whether somebody works on it, and what to do next."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus4o.cli import console
from janus4o.errors import DataError, RecipeError

if TYPE_CHECKING:
    from janus4o.recipe import Recipe
    from janus4o.synth.status import Status


class Standing(StrEnum):
    DONE = "done"
    BEGUN = "begun"
    WAITING = "not yet"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of `run`; `detail` says what there is, in a few words."""

    name: str
    standing: Standing
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who works in the folder."""

    pid: int
    host: str
    command: str


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show how far RUN is, why samples came to nothing, what was spent, and what to do next.

    Reads only; safe beside a running command.
    """
    from janus4o.recipe import KEPT
    from janus4o.synth.shared import has_store
    from janus4o.synth.status import status

    if not has_store(run) and not any((run / name).exists() for name in (KEPT, "dataset")):
        raise DataError(f"{str(run)!r} is no run folder", "give one that `janus4o run` made")
    found = status(run) if has_store(run) else None
    stages, holder = look(run, found), holder_of(run)
    working = [worker for worker in found.workers if worker.lives] if found else []
    next_step = advise(run, stages, holder, len(working))
    if as_json:
        console.json(
            {
                **(found.to_json() if found else {}),
                "stages": [asdict(stage) for stage in stages],
                "holder": asdict(holder) if holder else None,
                "next": next_step,
            }
        )
        return
    console.table(("stage", "", ""), [(s.name, s.standing.value, s.detail) for s in stages])
    if found is not None:
        console.say()
        _show_samples(found)
        _show_shares(found, run)
    _show_checks(run)
    if found is not None and found.workers:
        console.say()
        _show_workers(found)
    console.say()
    if holder is not None:
        console.say(f"process {holder.pid} on {holder.host} works on it: {holder.command}")
    console.say(f"next: {next_step}")


def _show_samples(found: Status) -> None:
    names = list(dict.fromkeys(state for counts in found.states.values() for state in counts))
    console.table(
        ("samples", *names),
        [(name, *(counts.get(s, 0) for s in names)) for name, counts in found.states.items()],
    )
    if found.reasons:
        console.say()
        console.table(
            ("came to nothing", "samples", "for example"),
            [(end, n, found.examples.get(end, "")) for end, n in found.reasons.items()],
        )
    spend = found.spend
    console.say()
    unpriced = f", {spend.unpriced:,} answers of unknown price" if spend.unpriced else ""
    console.say(
        f"{spend.calls:,} calls ({spend.refused:,} refused, {spend.errors:,} without an answer), "
        f"{spend.input_tokens:,} + {spend.output_tokens:,} tokens, {spend.images:,} pictures, "
        f"${spend.cost_usd:.2f}{unpriced}"
    )
    if spend.waiting:
        console.say(
            f"{spend.waiting:,} calls wait in batches at their server, at most "
            f"${spend.waiting_usd:.2f} more; running the recipe again waits for them"
        )
    if spend.uncertain:
        console.say(
            f"{spend.uncertain:,} calls were sent, brought no answer and may have been billed: at "
            f"most ${spend.uncertain_usd:.2f} more; --json lists them"
        )


def _show_workers(found: Status) -> None:
    console.table(
        ("worker", "process", "samples", ""),
        [
            (one.host, one.pid, one.leases, "" if one.lives else f"silent for {one.silent:.0f} s")
            for one in found.workers
        ],
    )


LAWS = {"prompt_first": "kind", "document": "document", "editing": "task"}
"""Pipeline → under which name synthesis.json has the shares of its kinds, types or tasks."""


def _show_shares(found: Status, run: Path) -> None:
    """What the accepted rows are, beside what the recipe asks for."""
    from janus4o.report.evidence import SYNTHESIS_FILE

    try:
        targets = json.loads((run / SYNTHESIS_FILE).read_text("utf-8"))["targets"]
    except (OSError, ValueError, KeyError, TypeError):
        targets = {}  # it is written when synthesis stops
    rows = []
    for pipeline, counts in found.tasks.items():
        law, total = targets.get(LAWS.get(pipeline, ""), {}), sum(counts.values())
        for name in dict.fromkeys((*law, *counts)):
            share = f"{law[name]:.1%}" if name in law else ""
            n = counts.get(name, 0)
            rows.append((pipeline, name, n, f"{n / total:.1%}", share))
    if rows:
        console.say()
        console.table(("rows", "", "accepted", "share", "asked for"), rows)


def _show_checks(run: Path) -> None:
    """What `janus4o check` rejected, if it has looked at the data set there is."""
    from janus4o.rows import open_rows
    from janus4o.synth.checking.run import CHECKS_FILE, read_checks

    if not (run / CHECKS_FILE).is_file():
        return
    from janus4o.cli.check import show

    rows = open_rows(run)
    found = read_checks(run, rows.digest)
    console.say()
    if found is None:
        console.say(f"the data set has changed since it was checked: janus4o check {run}")
    else:
        show(found, rows)


def look(folder: Path, found: Status | None) -> list[Stage]:
    """The stages in their order, by the files they leave."""
    return [
        _synthesis(folder, found),
        _codes(folder),
        _training(folder),
        _scores(folder),
        _report(folder),
    ]


def _synthesis(folder: Path, found: Status | None) -> Stage:
    if (folder / "dataset" / "imported.json").is_file():
        return Stage("synthesize", Standing.DONE, "uses an imported data set")
    if found is None:
        return Stage("synthesize", Standing.WAITING)
    if found.finished is not None:
        rows = ", ".join(f"{count:,} {name}" for name, count in found.finished.items())
        return Stage("synthesize", Standing.DONE, f"{rows} rows")
    accepted = sum(counts.get("accepted", 0) for counts in found.states.values())
    wanted = _wanted(folder)
    of = f" of {wanted:,}" if wanted else ""
    return Stage("synthesize", Standing.BEGUN, f"{accepted:,}{of} rows")


def _codes(folder: Path) -> Stage:
    made = list((folder / "codes").glob("*"))
    for path in made:
        index = _read(path / "index.json")
        if index:
            return Stage("encode", Standing.DONE, f"{index.get('pictures', 0):,} pictures")
    return Stage("encode", Standing.BEGUN if made else Standing.WAITING)


def _training(folder: Path) -> Stage:
    last = _last_step(folder / "metrics.jsonl")
    kept = [
        int(path.name)
        for path in (folder / "checkpoints").glob("*")
        if path.name.isdecimal() and (path / "config.json").is_file()
    ]
    if not last:
        return Stage("train", Standing.WAITING)
    recipe = _recipe(folder)
    wanted = recipe.train.steps if recipe else None
    step, of = int(last["step"]), f" of {wanted:,}" if wanted else ""
    losses = ", ".join(
        f"{name} loss {last[key]:.3g}"
        for key, name in (("t2i_loss", "t2i"), ("edit_loss", "edit"))
        if isinstance(last.get(key), float)
    )
    newest = f"; newest checkpoint {max(kept):,}" if kept else "; no checkpoint yet"
    # Without a number of steps in the recipe the last checkpoint is where training ended.
    done = step >= wanted if wanted else False
    done = (done or not wanted) and bool(kept) and max(kept) >= step
    standing = Standing.DONE if done else Standing.BEGUN
    return Stage("train", standing, f"step {step:,}{of}, {losses}{newest}")


def _scores(folder: Path) -> Stage:
    summary = _read(folder / "scores" / "summary.json")
    if not summary:
        begun = (folder / "scores" / "base.json").is_file()
        return Stage("score", *((Standing.BEGUN, "base only") if begun else (Standing.WAITING,)))
    means = []
    for key, name in (("t2i_mean", "text to image"), ("edit_mean", "editing")):
        base, tuned = (summary.get(model, {}).get(key) for model in ("base", "tuned"))
        if base is not None and tuned is not None:
            means.append(f"{name} {base:.2f} → {tuned:.2f}")
    return Stage("score", Standing.DONE, ", ".join(means))


def _report(folder: Path) -> Stage:
    page = folder / "report.html"
    return Stage("report", *((Standing.DONE, str(page)) if page.is_file() else (Standing.WAITING,)))


def holder_of(folder: Path) -> Holder | None:
    """Who holds the folder's lock, None for nobody; a process that is gone holds nothing.

    Reads the lock's file and never takes the lock, so that no command is turned away by a look.
    """
    from janus4o.files import LOCK_NAME

    found = _read(folder / LOCK_NAME)
    try:
        holder = Holder(int(found["pid"]), str(found["host"]), str(found["command"]))
        if holder.host == socket.gethostname():
            os.kill(holder.pid, 0)
    except (KeyError, TypeError, ValueError, ProcessLookupError):
        return None
    except PermissionError:
        pass  # somebody else's process, and alive
    return holder


def advise(folder: Path, stages: list[Stage], holder: Holder | None, workers: int = 0) -> str:
    """What a tired person should do.

    Args:
        workers: how many share the run and live.
    """
    from janus4o.recipe import KEPT

    if workers:
        return f"wait; `janus4o synth {folder / KEPT}` on any machine adds a worker"
    if holder is not None:
        return f"wait, or stop it with `kill {holder.pid}`; it can be resumed"
    if all(stage.standing is Standing.DONE for stage in stages):
        return f"open {folder / 'report.html'}"
    recipe = _recipe(folder)
    if recipe is None:
        return "janus4o run with the recipe it was made by"
    where = "" if recipe.folder == folder else f" output={folder}"
    return f"janus4o run {folder / KEPT}{where}"


def _recipe(folder: Path) -> Recipe | None:
    from janus4o.recipe import KEPT, load

    try:
        return load(folder / KEPT)
    except RecipeError:
        return None


def _wanted(folder: Path) -> int | None:
    recipe = _recipe(folder)
    if recipe is None:
        return None
    return recipe.synthesis.text_to_image.count + recipe.synthesis.editing.count


def _last_step(path: Path) -> dict[str, Any]:
    """The last whole line of metrics.jsonl; empty where there is none."""
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            value = json.loads(line)
        except ValueError:
            continue  # cut off by a kill, or by where reading began
        if isinstance(value, dict) and "step" in value:
            return value
    return {}


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
