"""Pictures a run drew to be looked at: samples, and sweeps of guidance and semantic weight.

Their text chunks say what was asked. A picture that cannot be read, or says nothing, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from janus4o.errors import ImageError
from janus4o.images import read_metadata
from janus4o.report.pictures import embed

SAMPLES_FOLDER = "samples"
SWEEPS_FOLDER = "sweeps"
PROGRESS_FOLDER = "progress"


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture.

    Attributes:
        source: what was edited, a data URI; None for text-to-image.
        picture: a data URI.
        guidance, semantic_weight: as the picture says; the second is None for text-to-image.
        passed: None where no judge has seen it.
    """

    task: str
    prompt: str
    source: str | None
    picture: str
    guidance: float
    semantic_weight: float | None
    passed: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """One question at several settings; `values` are those of guidance or of semantic weight."""

    task: str
    prompt: str
    source: str | None
    is_edit: bool
    values: tuple[float, ...]
    frames: tuple[Drawn, ...]


def read_drawn(folder: Path) -> tuple[int | None, tuple[Drawn, ...]]:
    """Step of the newest checkpoint drawn with, and its pictures: text-to-image first, by name."""
    steps = [int(p.name) for p in folder.glob("*") if p.is_dir() and p.name.isdecimal()]
    if not steps:
        return None, ()
    step = max(steps)
    found = [one for path in sorted((folder / str(step)).glob("*.png")) if (one := _read(path))]
    return step, tuple(sorted(found, key=lambda one: one.source is not None))


def progress(folder: Path) -> tuple[tuple[str, tuple[tuple[int, Drawn], ...]], ...]:
    """Prompt → (step, picture), of what training drew after its checkpoints; steps in order."""
    steps = sorted(int(p.name) for p in folder.glob("*") if p.is_dir() and p.name.isdecimal())
    by_prompt: dict[str, list[tuple[int, Drawn]]] = {}
    for step in steps:
        for path in sorted((folder / str(step)).glob("*.png")):
            if (one := _read(path)) is not None:
                by_prompt.setdefault(one.prompt, []).append((step, one))
    return tuple((prompt, tuple(found)) for prompt, found in by_prompt.items())


def sweeps(drawn: Sequence[Drawn]) -> tuple[Sweep, ...]:
    """Groups pictures of one question; text-to-image by guidance, edits by semantic weight."""
    found = []
    for task, prompt in dict.fromkeys((one.task, one.prompt) for one in drawn):
        frames = sorted(
            (one for one in drawn if (one.task, one.prompt) == (task, prompt)), key=_swept
        )
        is_edit = frames[0].semantic_weight is not None
        values = tuple(_swept(one) for one in frames)
        found.append(Sweep(task, prompt, frames[0].source, is_edit, values, tuple(frames)))
    return tuple(found)


def _swept(one: Drawn) -> float:
    return one.guidance if one.semantic_weight is None else one.semantic_weight


def _read(path: Path) -> Drawn | None:
    try:
        facts = read_metadata(path)
        picture = embed(path.read_bytes())
        if picture is None or "prompt" not in facts:
            return None
        weight = facts.get("semantic_weight")
        verdict = facts.get("verdict")
        return Drawn(
            task=facts.get("task", path.stem),
            prompt=facts["prompt"],
            source=_source(path, facts.get("source", f"{path.stem}-source.png")),
            picture=picture,
            guidance=float(facts["guidance"]),
            semantic_weight=None if weight is None else float(weight),
            passed=None if verdict is None else verdict == "passed",
            reason=facts.get("reason", ""),
        )
    except (ImageError, OSError, KeyError, ValueError):
        return None


def _source(path: Path, name: str) -> str | None:
    """A picture of the same folder, and of no other."""
    beside = path.with_name(Path(name).name)
    return embed(beside.read_bytes()) if beside.is_file() else None
