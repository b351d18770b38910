"""What training says of itself: metrics.jsonl always, spikes.jsonl where there is cause, trackers if asked."""

from __future__ import annotations

import json
import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from janus4o.errors import Refused
from janus4o.files import sync_file, write_atomic

METRICS, SPIKES = "metrics.jsonl", "spikes.jsonl"


@dataclass(frozen=True, slots=True)
class Metrics:
    """One optimiser step; a line of metrics.jsonl.

    Attributes:
        step: 1 for the first.
        loss: nats, mean over the step's supervised codes, measured before the update.
        t2i_loss, edit_loss: the same over one kind of row; None where the step had none.
        rate: learning rate of the update.
        grad_norm: L2 norm of the whole gradient before clipping.
        seconds: wall time of the step.
        tokens: positions computed, padding left out.
        validation: after the update, task → loss of the rows held out; only where it was measured.
        spike: the rows of a step whose loss stood out, the worst first; mostly absent.
    """

    step: int
    loss: float
    t2i_loss: float | None
    edit_loss: float | None
    rate: float
    grad_norm: float
    seconds: float
    tokens: int
    validation: dict[str, float] = field(default_factory=dict)
    spike: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The line; what is only sometimes there is left out where it is not."""
        rare = ("validation", "spike")
        return {k: v for k, v in asdict(self).items() if v or k not in rare}


class Tracker(Protocol):
    """A place that shows curves."""

    def log(self, step: int, values: dict[str, float]) -> None: ...
    def close(self) -> None: ...


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Trackio:
    def __init__(self, folder: Path) -> None:
        import trackio

        self._trackio = trackio
        trackio.init(project="janus4o", name=folder.resolve().name, resume="allow")

    def log(self, step: int, values: dict[str, float]) -> None:
        self._trackio.log(values, step=step)

    def close(self) -> None:
        self._trackio.finish()


def open_tracker(name: str | None, folder: Path) -> Tracker | None:
    """The tracker called `name`.

    Raises:
        Refused: its package is not installed.
    """
    try:
        if name is None:
            return None
        return _TensorBoard(folder) if name == "tensorboard" else _Trackio(folder)
    except ImportError:
        raise Refused(
            f"train.tracker {name} needs the package {name}, which is not installed",
            f"pip install {name}; metrics.jsonl is written in any case",
        ) from None


class Log:
    """The files of one run, and its tracker.

    Args:
        done: steps that count; later lines were trained, then lost, and are cut off.
        spike: see janus4o.recipe.Train.
    """

    def __init__(self, folder: Path, done: int, spike: float, tracker: str | None) -> None:
        for name in (METRICS, SPIKES):
            _cut(folder / name, done)
        self._spikes = folder / SPIKES
        self._tracker = open_tracker(tracker, folder)
        self._limit, self._recent = spike, deque[float](maxlen=50)
        self._file: IO[str] = (folder / METRICS).open("a", encoding="utf-8")

    def stands_out(self, loss: float) -> bool:
        """Is this loss far above those of the last steps? Remembers it."""
        usual = statistics.median(self._recent) if len(self._recent) >= 10 else math.inf
        self._recent.append(loss)
        return loss > self._limit * usual

    def write(self, metrics: Metrics) -> None:
        line = metrics.to_json()
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if metrics.spike:
            with self._spikes.open("a", encoding="utf-8") as file:
                about = {"step": metrics.step, "loss": metrics.loss, "rows": metrics.spike}
                file.write(json.dumps(about, ensure_ascii=False) + "\n")
        if self._tracker is not None:
            named = ("loss", "t2i_loss", "edit_loss", "rate", "grad_norm", "seconds", "tokens")
            values = {f"train/{k}": float(line[k]) for k in named if line[k] is not None}
            values |= {f"validation/{k}": v for k, v in metrics.validation.items()}
            self._tracker.log(metrics.step, values)

    def sync(self) -> None:
        """A checkpoint must not outlive the lines of its steps."""
        sync_file(self._file)

    def close(self) -> None:
        self._file.close()
        if self._tracker is not None:
            self._tracker.close()


def worst(losses: Sequence[float], names: Sequence[str], most: int = 5) -> tuple[str, ...]:
    """The rows with the highest losses, the worst first; those that are no number before all."""
    order = sorted(
        range(len(losses)), key=lambda i: -losses[i] if math.isfinite(losses[i]) else -math.inf
    )
    return tuple(f"{names[i]}: {losses[i]:.4g}" for i in order[:most])


def _cut(path: Path, steps: int) -> None:
    """Leaves the lines of the first `steps` steps."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text("utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= steps:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            break  # the line being written when the run was killed
    write_atomic(path, "".join(kept).encode())
