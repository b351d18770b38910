"""`janus4o doctor`: what works here and what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus4o.cli import console
from janus4o.errors import Janus4oError, Refused, UsageError
from janus4o.model.hub import SKETCH_BASE_FOLDER

if TYPE_CHECKING:
    from janus4o.recipe import Recipe, Server

FREE_DISK_WANTED = 2_000_000_000
"""Bytes a run of recipes/sketch.yaml should find free."""


class State(StrEnum):
    WORKS = "works"
    LACKS = "missing"
    LIMITED = "limited"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        remedy: what to do about it; empty where it works.
    """

    what: str
    state: State
    found: str
    remedy: str = ""


def command(
    folder: Annotated[Path, typer.Argument(help="Where runs will be written.")] = Path("."),
    recipe: Annotated[
        Path | None, typer.Option(help="Look at the teachers of this recipe (YAML) as well.")
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Send each teacher of the recipe one small request; costs cents."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Findings as JSON on stdout.")] = False,
) -> None:
    """Look at Python, torch, the optional parts, the base's weights, disk and cores.

    With --recipe also at its teachers: keys, prices, models that are or will be switched off.

    Ends with exit code 4 where something is missing that the offline loop or the recipe needs.
    """
    from janus4o.recipe import load

    if live and recipe is None:
        raise UsageError("--live needs teachers to ask", "name a recipe with --recipe")
    findings = examine(folder)
    if recipe is not None:
        read = load(recipe)
        findings += examine_teachers(read)
        if live and all(finding.state is not State.LACKS for finding in findings):
            findings += ask_teachers(read)
    if json:
        console.json([asdict(finding) for finding in findings])
    else:
        console.table(
            ("", "", "found", "what to do"),
            [(f.what, f.state.value, f.found, f.remedy) for f in findings],
        )
    missing = [finding for finding in findings if finding.state is State.LACKS]
    if missing:
        raise Refused(
            f"missing here: {', '.join(finding.what for finding in missing)}", missing[0].remedy
        )


def examine(folder: Path) -> list[Finding]:
    """Looks at everything, imports torch only to ask it for devices, changes nothing."""
    return [
        _python(),
        _package("torch"),
        _package("transformers"),
        _package("safetensors"),
        _vendor("openai", "openai"),
        _vendor("google", "google-genai"),
        _device(),
        _base(),
        _disk(folder),
        _cores(),
    ]


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("Python", State.WORKS, found)


def _package(name: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, State.LACKS, "not installed", "pip install 'janus4o[model]'")
    version = metadata.version(name)
    if name == "transformers" and not version.startswith("5."):
        return Finding(name, State.LACKS, version, "pip install 'transformers>=5.23,<6'")
    return Finding(name, State.WORKS, version)


def is_installed(api: str) -> bool:
    """Can servers that speak `api` be asked?"""
    try:
        return importlib.util.find_spec({"google": "google.genai"}.get(api, api)) is not None
    except ModuleNotFoundError:  # the package around it is not there either
        return False


def _vendor(api: str, package: str) -> Finding:
    if not is_installed(api):
        remedy = f"pip install 'janus4o[{api}]' to ask teachers behind this API"
        return Finding(package, State.LIMITED, "not installed", remedy)
    return Finding(package, State.WORKS, metadata.version(package))


def examine_teachers(recipe: Recipe) -> list[Finding]:
    """Keys, prices and ends of the models a recipe names; asks nobody."""
    import datetime

    from janus4o.recipe import Local, Server
    from janus4o.teachers import registry

    findings = []
    for role in ("writer", "painter", "judge"):
        server = getattr(recipe.teachers, role)
        if server is None:
            continue
        if isinstance(server, Local):
            findings.append(Finding(role, State.WORKS, f"{server.model}: on this machine, free"))
            continue
        if not isinstance(server, Server):
            findings.append(Finding(role, State.WORKS, "sketch: offline, free"))
            continue
        if not is_installed(server.api):
            found = f"what speaks to {server.api} is not installed"
            findings.append(
                Finding(role, State.LACKS, found, f"pip install 'janus4o[{server.api}]'")
            )
        if not os.environ.get(server.key):
            what = f"no key: {server.key} is not in the environment"
            findings.append(Finding(role, State.LACKS, what, f"export {server.key}=..."))
        if end := registry.warnings(server.model, datetime.date.today()):
            findings.append(Finding(role, State.LIMITED, end, "ask for a model that stays"))
        known = registry.find(server.model)
        if server.price is None and (known is None or known.rates is None):
            found = f"the price of {server.model} is not known, so no budget can be kept"
            remedy = f"janus4o plan prints the line teachers.{role}.price"
            findings.append(Finding(role, State.LIMITED, found, remedy))
        elif server.price is None and known is not None:
            found = f"{server.model}; price of {known.read} from {known.source}"
            findings.append(Finding(role, State.WORKS, found))
        else:
            findings.append(Finding(role, State.WORKS, f"{server.model}; price from the recipe"))
    return findings


def ask_teachers(recipe: Recipe) -> list[Finding]:
    """One small request to each teacher behind an API, and what its server says of the model."""
    import asyncio

    from janus4o.recipe import Server

    async def go() -> list[Finding]:
        return [
            finding
            for role in ("writer", "painter", "judge")
            if isinstance(server := getattr(recipe.teachers, role), Server)
            for finding in await _ask(recipe, role, server)
        ]

    return asyncio.run(go())


async def _ask(recipe: Recipe, role: str, server: Server) -> list[Finding]:
    from janus4o.cli.teachers import painter_of, writer_of
    from janus4o.exchange import (
        PaintReply,
        PaintRequest,
        Refusal,
        Unanswered,
        WriteReply,
        WriteRequest,
    )
    from janus4o.recipe import PainterServer, WriterServer

    what = f"{role}, live"
    reply: WriteReply | PaintReply | Refusal
    try:
        teacher: Any
        if isinstance(server, WriterServer):
            teacher = writer_of(server)
        else:
            assert isinstance(server, PainterServer)
            teacher = painter_of(server)
        try:
            try:
                ends = (await teacher.models()).get(server.model, "")
            except Janus4oError:
                ends = ""  # not every server lists its models
            if isinstance(server, WriterServer):
                reply = await teacher.write(WriteRequest("Answer with the one word: ready"))
            else:
                reply = await teacher.paint(PaintRequest("a red circle", (), recipe.teachers.size))
        finally:
            await teacher.close()
    except Unanswered as failure:
        stop = failure.stop
        remedy = stop.remedy if stop else "try again; see to the server"
        return [Finding(what, State.LACKS, stop.message if stop else str(failure), remedy)]
    except Janus4oError as error:
        return [Finding(what, State.LACKS, error.message, error.remedy)]
    if isinstance(reply, Refusal):
        return [Finding(what, State.LACKS, f"{reply.category}: {reply.message}", "see its rules")]
    cost = reply.usage.cost_usd
    price = "of unknown price" if cost is None else f"${cost:.4f}"
    found = [Finding(what, State.WORKS, f"answers as {reply.model}, {price}")]
    if not teacher.serves(reply.model):
        remedy = f"teachers.{role}.served: {reply.model}, if that is the model you mean"
        found = [Finding(what, State.LACKS, f"answers as {reply.model}", remedy)]
    if ends:
        limited = f"{server.model} is switched off on {ends}, its server says"
        found.append(Finding(what, State.LIMITED, limited, "ask for a model that stays"))
    return found


def _device() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("accelerator", State.LIMITED, "unknown without torch", "install torch")
    import torch

    if torch.cuda.is_available():
        return Finding("accelerator", State.WORKS, torch.cuda.get_device_name(0))
    if torch.backends.mps.is_available():
        return Finding("accelerator", State.WORKS, "Apple GPU (mps)")
    return Finding("accelerator", State.WORKS, "none: CPU, enough for the offline world")


def _base() -> Finding:
    weights = SKETCH_BASE_FOLDER / "model.safetensors"
    if not weights.is_file():
        return Finding("sketch-base", State.LACKS, "no weights in the package", "reinstall janus4o")
    return Finding("sketch-base", State.WORKS, f"{weights.stat().st_size / 1e6:.1f} MB of weights")


def _disk(folder: Path) -> Finding:
    existing = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
    )
    free = shutil.disk_usage(existing).free
    found = f"{free / 1e9:.1f} GB free at {folder}"
    if not os.access(existing, os.W_OK):
        return Finding(
            "disk", State.LACKS, f"{existing} cannot be written", "choose another folder"
        )
    if free < FREE_DISK_WANTED:
        return Finding("disk", State.LIMITED, found, "2 GB are wanted; set output: in the recipe")
    return Finding("disk", State.WORKS, found)


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cores", State.WORKS, f"{usable}")
