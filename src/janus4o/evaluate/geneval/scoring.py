"""Stored detections in, verdicts and a score out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from janus4o.errors import DataError
from janus4o.evaluate.comparable import doubt
from janus4o.evaluate.evidence import Problem
from janus4o.evaluate.geneval.evidence import Evidence, read_evidence
from janus4o.evaluate.geneval.prompts import (
    VERSION,
    Metadata,
    parse_metadata,
    prompt_set_hash,
    read_prompts,
)
from janus4o.evaluate.geneval.rules import Options, Verdict
from janus4o.evaluate.geneval.summary import Result, official_line, summarise, summary_to_json
from janus4o.evaluate.score_file import Score


@dataclass(frozen=True, slots=True)
class Scored:
    """One picture's evidence with its verdict."""

    evidence: Evidence = field(repr=False)
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        v = self.verdict
        return {
            "id": self.evidence.id,
            "correct": v.correct,
            "reason": v.reason,
            "details": v.details,
        }

    @property
    def result(self) -> Result:
        metadata = self.evidence.metadata
        return Result(metadata.tag, metadata.text, self.verdict.correct)

    def official(self) -> str:
        """The line of an official results file."""
        metadata, verdict = self.evidence.metadata, self.verdict
        return official_line(
            self.evidence.filename,
            metadata.tag,
            metadata.prompt,
            self.result,
            verdict.reason,
            verdict.details,
        )


def judge_file(path: Path) -> tuple[list[Scored], list[Problem]]:
    """Verdicts for every usable line of a file of stored detections, in its order."""
    evidence, problems = read_evidence(path)
    scored = []
    for one in evidence:
        try:
            scored.append(Scored(one, one.judge()))
        except DataError as error:
            problems.append(Problem(one.id, error.message))
    return scored, problems


def score_detections(
    path: Path,
    scored: Sequence[Scored],
    problems: Sequence[Problem],
    prompts_file: Path | None = None,
    detector: str = "",
    classifier: str = "",
) -> Score:
    """The score of a file that `judge_file` has read.

    Args:
        prompts_file: official prompt file; prompts of it that were not scored are listed.
        detector, classifier: used where the lines name none.

    Raises:
        DataError: nothing was scored.
    """
    problems = list(problems)
    prompts = [one.evidence.metadata for one in scored]
    if prompts_file is not None:
        problems += _missing(prompts, prompts_file)
    networks = {
        "detector": _names([one.evidence.detector for one in scored], detector),
        "classifier": _names([one.evidence.classifier for one in scored], classifier),
    }
    changed = Counter(one.evidence.options for one in scored if one.evidence.options != Options())
    for options, n in changed.items():
        what = f"{n} pictures judged with changed options: {_changes(options)}"
        problems.append(Problem(path.name, what, unscored=False))
    mode = "changed options" if changed else ""
    return _score(path, [one.result for one in scored], problems, networks, mode, prompts)


def score_results(path: Path, results: Sequence[Result], problems: Sequence[Problem]) -> Score:
    """The score of an official results file, which does not say what networks made it."""
    try:
        prompts = [parse_metadata(json.loads(key)) for key in {r.prompt_key for r in results}]
    except (ValueError, DataError):  # no metadata of GenEval's: the set has no hash
        prompts = []
    return _score(path, results, problems, {"detector": "", "classifier": ""}, "", prompts)


def _score(
    path: Path,
    results: Sequence[Result],
    problems: Sequence[Problem],
    networks: dict[str, str],
    mode: str,
    prompts: Sequence[Metadata],
) -> Score:
    prompt_set: dict[str, Any] = {"n": len({result.prompt_key for result in results})}
    if prompts:
        prompt_set["sha256"] = prompt_set_hash(prompts)
    why_not = doubt("GenEval", networks, mode, prompt_set, prompt_set["n"])
    return Score(
        benchmark="GenEval",
        version=VERSION,
        mode=mode,
        evidence=[path],
        prompt_set=prompt_set,
        networks=networks,
        doubt=why_not,
        n=len(results),
        unit="pictures",
        scores=summary_to_json(summarise(results), not why_not),
        problems=problems,
    )


def _missing(scored: Sequence[Metadata], prompts_file: Path) -> list[Problem]:
    prompts, problems = read_prompts(prompts_file)
    there, asked = {one.text for one in scored}, {one.text for one in prompts}
    where = prompts_file.name
    problems += [
        Problem(f"{where}: {one.prompt}", "no picture of this prompt was scored")
        for one in prompts
        if one.text not in there
    ]
    extra = dict.fromkeys(one.prompt for one in scored if one.text not in asked)
    problems += [
        Problem(prompt, f"is not in {where}, counted all the same", False) for prompt in extra
    ]
    return problems


def _changes(options: Options) -> str:
    usual = asdict(Options())
    return ", ".join(f"{k} {v:g}" for k, v in asdict(options).items() if v != usual[k])


def _names(named: Sequence[str], given: str) -> str:
    return ", ".join(sorted({name or given for name in named} - {""}))
