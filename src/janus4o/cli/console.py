"""The one place that prints.

Results go to stdout (`say`, `table`, `json`); what happens meanwhile goes to stderr (`heading`,
`note`, `warn`, `error`, `progress`), so `janus4o ... > file` and `--json` give the result alone. On a
terminal the output is drawn by rich; elsewhere it is plain lines, progress every ten seconds.
"""

from __future__ import annotations

import json as json_format
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PLAIN_FIRST, PLAIN_EVERY = 2.0, 10.0
"""Seconds before the first progress line and between two, where there is no terminal."""

RATE_WINDOW = 30.0
"""Seconds the shown rate looks back."""


def say(text: str = "") -> None:
    """One line of result on stdout."""
    print(text, file=sys.stdout, flush=True)


def json(value: Any) -> None:
    """One JSON document on stdout."""
    say(json_format.dumps(value, ensure_ascii=False, indent=2))


def heading(text: str) -> None:
    """The name of the stage that begins."""
    if sys.stderr.isatty():
        _rich(sys.stderr).rule(f"[bold]{_escaped(text)}", align="left")
    else:
        _line(f"== {text}")


def note(text: str) -> None:
    """One line about what happens."""
    if sys.stderr.isatty():
        _rich(sys.stderr).print(f"[dim]{_escaped(text)}", soft_wrap=True, highlight=False)
    else:
        _line(text)


def warn(text: str) -> None:
    """One line about what went wrong without stopping the command."""
    if sys.stderr.isatty():
        _rich(sys.stderr).print(f"[yellow]warning[/] {_escaped(text)}", soft_wrap=True)
    else:
        _line(f"warning: {text}")


def error(message: str, remedy: str = "") -> None:
    """Why the command stopped and what to do: a single line."""
    message, remedy = " ".join(message.split()), " ".join(remedy.split())
    if sys.stderr.isatty():
        text = f"[red]error[/] {_escaped(message)}" + (f" → {_escaped(remedy)}" if remedy else "")
        _rich(sys.stderr).print(text, soft_wrap=True, highlight=False)
    else:
        _line(f"error: {message}" + (f" → {remedy}" if remedy else ""))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """A table on stdout; numbers are set to the right.

    Args:
        columns: headings; a table without headings takes empty strings.
        rows: cells; floats are shown with three decimals.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    right = [
        any(isinstance(row[i], int | float) for row in rows if i < len(row))
        for i in range(len(columns))
    ]
    if sys.stdout.isatty():
        from rich import box
        from rich.table import Table
        from rich.text import Text

        drawn = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
        for name, is_right in zip(columns, right, strict=True):
            drawn.add_column(name, justify="right" if is_right else "left")
        for row in cells:
            drawn.add_row(*(Text(cell) for cell in row))
        _rich(sys.stdout).print(drawn)
        return
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    if title:
        say(title)
    for line in [list(columns), *cells]:
        parts = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ]
        say("  ".join(parts).rstrip())


def cost(likely_usd: float | None, most_usd: float | None) -> str:
    """What something will cost: "nothing", "$0.31 to $0.90", "unknown: a price is not known"."""
    if likely_usd is None or most_usd is None:
        return "unknown: a price is not known"
    if most_usd == 0:
        return "nothing"
    range_usd = (
        f"${likely_usd:,.2f} to " if round(likely_usd, 2) < round(most_usd, 2) else "at most "
    )
    return f"{range_usd}${most_usd:,.2f}, and what is asked again"


def duration(seconds: float) -> str:
    """A time span as a person would say it: "0.4 s", "3 min 20 s", "2 h 05 min"."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"


@contextmanager
def progress(total: int | None, label: str, unit: str = "") -> Iterator[Progress]:
    """Shows how far a loop is, its rate and the time left.

        with console.progress(len(rows), "encode", "rows") as progress:
            for done, row in enumerate(rows, 1):
                ...
                progress.update(done, spend="$0.00")

    A loop that resumes calls `update(already_done)` first; that part does not count for the rate.

    Args:
        total: how many things there are; None where nobody knows.
        label: what is done, one word or two.
        unit: what is counted, in the plural ("rows", "steps").
    """
    shown = _Drawn(total, label, unit) if sys.stderr.isatty() else _Lines(total, label, unit)
    try:
        yield shown
    finally:
        if shown.touched:  # what was refused before it began has nothing to show
            shown.close()


@contextmanager
def stages(unit: str = "") -> Iterator[Callable[[str, int, int], None]]:
    """Shows how far loops are that run one after another, each with a count of its own.

    What it gives is called with (stage, how many are done, how many there are).
    """
    with ExitStack() as open_ones:
        shown: Progress | None = None

        def update(stage: str, done: int, total: int) -> None:
            nonlocal shown
            if shown is None or shown.label != stage:
                open_ones.close()  # the stage before
                shown = open_ones.enter_context(progress(total, stage, unit))
            shown.update(done)

        yield update


class Progress(ABC):
    """A running count. Made by `progress`, never directly."""

    def __init__(self, total: int | None, label: str, unit: str) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done = 0
        self.fields: Mapping[str, Any] = {}
        self._begun = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque()

    def update(self, done: int, **fields: Any) -> None:
        """`done` things of the total are finished; `fields` are shown beside it."""
        now = time.monotonic()
        self.done, self.fields = done, fields
        self._recent.append((now, done))
        while len(self._recent) > 2 and now - self._recent[0][0] > RATE_WINDOW:
            self._recent.popleft()
        self._show()

    @property
    def touched(self) -> bool:
        """Whether anything was ever counted."""
        return bool(self._recent)

    @property
    def rate(self) -> float | None:
        """Things a second over the last half minute; None before it is known."""
        if len(self._recent) < 2:
            return None
        (then, before), (now, after) = self._recent[0], self._recent[-1]
        return (after - before) / (now - then) if now > then and after > before else None

    @property
    def seconds_left(self) -> float | None:
        rate = self.rate
        return None if rate is None or self.total is None else (self.total - self.done) / rate

    def numbers(self) -> str:
        """Count, rate, time left and fields as one line."""
        total = "" if self.total is None else f"/{self.total:,}"
        parts = [f"{self.done:,}{total}" + (f" {self.unit}" if self.unit else "")]
        if self.rate is not None:
            parts.append(f"{self.rate:.3g}/s" if self.rate < 1000 else f"{self.rate:,.0f}/s")
        if self.seconds_left is not None and self.done < (self.total or 0):
            parts.append(f"{duration(self.seconds_left)} left")
        parts += [f"{name} {_value(value)}" for name, value in self.fields.items()]
        return "  ".join(parts)

    @abstractmethod
    def close(self) -> None:
        """Shows the end. Called once, also after an error, if anything was shown before."""

    @abstractmethod
    def _show(self) -> None: ...


class _Lines(Progress):
    """Plain lines: one every `PLAIN_EVERY` seconds and one at the end."""

    def __init__(self, total: int | None, label: str, unit: str) -> None:
        super().__init__(total, label, unit)
        self._due = self._begun + PLAIN_FIRST

    def _show(self) -> None:
        now = time.monotonic()
        if now >= self._due and self.done != self.total:  # the end has its own line
            self._due = now + PLAIN_EVERY
            _line(f"{self.label}: {self.numbers()}")

    def close(self) -> None:
        if self.touched:
            spent = duration(time.monotonic() - self._begun)
            _line(f"{self.label}: {self.numbers()}  after {spent}")


class _Drawn(Progress):
    """A bar on a terminal."""

    def __init__(self, total: int | None, label: str, unit: str) -> None:
        super().__init__(total, label, unit)
        from rich.progress import BarColumn, Progress, TextColumn

        self._bars: Bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24, complete_style="cyan", finished_style="green"),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=_rich(sys.stderr),
        )
        self._task: TaskID = self._bars.add_task(label, total=total, numbers="")

    def _show(self) -> None:
        self._bars.start()  # does nothing the second time
        # The total may have become known since the bar was made.
        self._bars.update(self._task, total=self.total, completed=self.done, numbers=self.numbers())

    def close(self) -> None:
        spent = duration(time.monotonic() - self._begun)
        # A bar of a loop that had nothing to do is taken away.
        self._bars.update(
            self._task, numbers=f"{self.numbers()}  {spent}", visible=self.touched, refresh=True
        )
        self._bars.stop()


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "" if value is None else str(value)


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _rich(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
