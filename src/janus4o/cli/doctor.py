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
from typing import Annotated

import typer

from janus4o.cli import console
from janus4o.errors import Refused

FREE_DISK_WANTED = 2_000_000_000
"""Bytes a run of recipes/sketch.yaml should find free."""

BASE = Path(__file__).parent.parent / "sketch" / "base"
"""The shipped weights of the offline base."""


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
    json: Annotated[bool, typer.Option("--json", help="Findings as JSON on stdout.")] = False,
) -> None:
    """Look at Python, torch, the optional parts, the base's weights, disk and cores.

    Ends with exit code 4 where something is missing that the offline loop needs.
    """
    findings = examine(folder)
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
    weights = BASE / "model.safetensors"
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
