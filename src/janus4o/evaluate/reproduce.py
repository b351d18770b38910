"""A plan to score a released model, and whether what was measured agrees with what was published."""

from __future__ import annotations

import shlex
import string
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from janus4o.errors import RecipeError
from janus4o.evaluate.board import Entry, read_entry
from janus4o.recipe import check, read_mapping


class Target(BaseModel):
    """One benchmark.

    published, tolerance: the figure, and how far from it a score may be to count as reproduced.
    score: name of the score file in the output folder.
    commands: arguments of `janus4o eval`, in order; {names} are those of `files`, model and output.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    published: float
    tolerance: float = Field(gt=0)
    score: str
    commands: list[str] = Field(min_length=1)


class Plan(BaseModel):
    """`recipes/reproduce.yaml`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    model: str
    output: str
    files: dict[str, str]
    benchmarks: dict[str, Target] = Field(min_length=1)

    @property
    def folder(self) -> Path:
        return Path(self.output)

    def commands(self, benchmark: str) -> list[list[str]]:
        """The words of each command, names replaced; RecipeError for a name that is not there."""
        known = {**self.files, "model": self.model, "output": self.output}
        found = []
        for text in self.benchmarks[benchmark].commands:
            words = shlex.split(text)
            names = {name for word in words for _, name, _, _ in string.Formatter().parse(word)}
            unknown = sorted(filter(None, names - {None} - known.keys()))
            if unknown:
                raise RecipeError(
                    f"{benchmark}: nothing is called {unknown[0]!r}", "add it to `files`"
                )
            found.append([word.format_map(known) for word in words])
        return found


def read_plan(path: Path, overrides: list[str] | None = None) -> Plan:
    """Reads a plan; raises RecipeError naming the first wrong key or name."""
    plan = check(Plan, read_mapping(path, overrides or []), str(path))
    for benchmark in plan.benchmarks:
        plan.commands(benchmark)
    return plan


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where one benchmark stands.

    Attributes:
        entry: its score file; None where nothing is scored yet.
        verdict: "not scored yet", "within tolerance" or "outside of tolerance".
        doubts: why even a score within tolerance proves little or nothing.
    """

    benchmark: str
    target: Target
    entry: Entry | None
    verdict: str
    doubts: tuple[str, ...] = ()


def outcome(plan: Plan, benchmark: str) -> Outcome:
    """Compares the score file of a benchmark with the published figure.

    Raises:
        DataError: the file is there and is no score file.
        RecipeError: it is of another benchmark.
    """
    target = plan.benchmarks[benchmark]
    path = plan.folder / target.score
    if not path.is_file():
        return Outcome(benchmark, target, None, "not scored yet")
    entry = read_entry(path)
    if entry.benchmark != benchmark:
        raise RecipeError(f"{str(path)!r} is a score of {entry.benchmark}", "name another `score`")
    off = abs(entry.value.score - target.published)
    # A score printed with as many digits as the figure may lie exactly on the limit.
    within = round(off, 6) <= target.tolerance
    made = str(entry.data["about"].get("made", {}).get("model", ""))
    doubts = [entry.doubt] if entry.doubt else []
    if made != plan.model:
        doubts.append(f"its pictures are of {made or 'an unknown model'}, not of {plan.model}")
    if unscored := int(entry.data["unscored"]):
        doubts.append(f"{unscored} items are not scored")
    verdict = "within tolerance" if within else "outside of tolerance"
    return Outcome(benchmark, target, entry, verdict, tuple(doubts))
