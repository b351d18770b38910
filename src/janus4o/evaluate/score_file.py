"""What every score file says besides the scores: of what, over what, made by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from janus4o.evaluate.evidence import (
    Problem,
    hash_file,
    problems_to_json,
    read_object,
    write_object,
)
from janus4o.evaluate.statistics import CONFIDENCE, Interval

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Score:
    """One scored evidence file.

    Attributes:
        benchmark, version: name, and the published code whose rules were applied.
        mode: variant of the rules; empty where there is one only.
        evidence: the files scored.
        prompt_set: what was asked: hash, number of prompts, and a name where it is no benchmark's.
        networks: role → name as the evidence or the caller gave it; empty means nobody said.
        n: what was scored, in its own unit; `unit` names it.
        scores: the benchmark's own table.
        doubt: why published rows may not stand beside the score (see `comparable`); empty where they
            may.
        against: the paired comparison with another system, where one was asked for.
        about: how pictures and evidence were made, where a file beside the evidence says so.
    """

    benchmark: str
    version: str
    mode: str
    evidence: Sequence[Path]
    prompt_set: dict[str, Any]
    networks: dict[str, str]
    doubt: str
    n: int
    unit: str
    scores: dict[str, Any]
    problems: Sequence[Problem] = field(repr=False)
    against: dict[str, Any] | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def overall(self) -> dict[str, Any]:
        """The number papers print, with its limits."""
        found: dict[str, Any] = self.scores[overall_name(self.benchmark)]
        return found

    @property
    def comparable(self) -> bool:
        """Whether published rows may stand beside the score."""
        return not self.doubt

    @property
    def caveat(self) -> str:
        """What must be said beside the number; empty where nothing must."""
        return caveat(self.doubt)

    @property
    def unscored(self) -> int:
        """Problems that cost an item its score."""
        return sum(problem.unscored for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "benchmark": self.benchmark,
            "version": self.version,
            "mode": self.mode,
            "evidence": [{"file": path.name, "sha256": hash_file(path)} for path in self.evidence],
            "prompt_set": self.prompt_set,
            "networks": self.networks,
            "about": self.about,
            "comparable": self.comparable,
            "caveat": self.caveat,
            "n": self.n,
            "unit": self.unit,
            "confidence": CONFIDENCE,
            "scores": self.scores,
            "against": self.against,
            "unscored": self.unscored,
            "problems": problems_to_json(self.problems),
        }

    def write(self, path: Path) -> None:
        """Writes the score file; raises DataError."""
        write_object(path, self.to_json())


def about_path(evidence: Path) -> Path:
    """answers.json → answers.about.json, which says how it was made."""
    return evidence.with_name(f"{evidence.stem}.about.json")


def made_path(folder: Path) -> Path:
    """pictures/ → pictures.made.json, which says how the pictures were made."""
    return folder.with_name(f"{folder.name}.made.json")


def write_about(evidence: Path, pictures: Path, asked: dict[str, Any]) -> None:
    """Writes what a score file will say of `evidence`, the answers about a folder of pictures."""
    made = made_path(pictures)
    known = {"made": read_object(made)} if made.is_file() else {}
    write_object(about_path(evidence), {**known, "asked": asked})


def with_about(score: Score) -> Score:
    """The score with what is known of how its evidence was made."""
    found = [read_object(p) for p in map(about_path, score.evidence) if p.is_file()]
    if not found:
        return score
    served = str(found[0].get("asked", {}).get("served", ""))
    networks = {role: name or served for role, name in score.networks.items()}
    return replace(score, about=found[0], networks=networks)


def overall_name(benchmark: str) -> str:
    """Under which name `scores` holds the number papers print."""
    return "macro" if benchmark.startswith("ImgEdit") else "overall"


def caveat(doubt: str) -> str:
    """A doubt in the words that stand beside every number it concerns."""
    return f"not comparable with published rows until calibrated: {doubt}" if doubt else ""


def interval_to_json(interval: Interval) -> dict[str, float]:
    return {"score": interval.score, "low": interval.low, "high": interval.high}
