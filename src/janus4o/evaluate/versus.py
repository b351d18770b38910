"""Systems of one leaderboard against each other, prompt by prompt, out of their evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from janus4o.boards import Duel, Value
from janus4o.errors import DataError
from janus4o.evaluate.board import Entry
from janus4o.evaluate.dpg import scoring as dpg
from janus4o.evaluate.dpg.mode import Mode
from janus4o.evaluate.dpg.questions import read_rows
from janus4o.evaluate.exhibits import find_evidence, read_judged
from janus4o.evaluate.geneval import summary as geneval
from janus4o.evaluate.geneval.scoring import judge_file
from janus4o.evaluate.imgedit.scoring import by_edit
from janus4o.evaluate.paired import Difference, Scores, difference


@dataclass(frozen=True, slots=True)
class Known:
    """Scores by prompt; `scale` turns them into points of the benchmark."""

    scores: Scores
    scale: float = 1.0
    weights: Mapping[str, float] | None = None


def duels(entries: Sequence[Entry], evidence: Sequence[Path]) -> list[Duel]:
    """Every two systems that were scored in the same way, the better one first.

    Without its evidence a system cannot be compared; the duel then says why.

    Args:
        evidence: folders that may hold the files the score files name, besides their own.
    """
    found: list[Duel] = []
    known: dict[Path, Known | str] = {}
    for one, two in combinations(entries, 2):
        if one.key != two.key:
            continue
        if two.value.score > one.value.score:
            one, two = two, one
        for entry in (one, two):
            if entry.path not in known:
                try:
                    known[entry.path] = _read(entry, [entry.path.parent, *evidence])
                except DataError as error:
                    known[entry.path] = f"{entry.system}: {error}"
        found.append(_compare(one, two, known[one.path], known[two.path]))
    return found


def _compare(one: Entry, two: Entry, here: Known | str, there: Known | str) -> Duel:
    missing = "; ".join(side for side in (here, there) if isinstance(side, str))
    if isinstance(here, str) or isinstance(there, str):
        return Duel(one.benchmark, one.system, two.system, one.scale, missing=missing)
    try:
        whole = difference(here.scores, there.scores, weights=here.weights)
    except DataError as error:
        return Duel(one.benchmark, one.system, two.system, one.scale, missing=error.message)
    groups = list(dict.fromkeys(group for group, _ in here.scores.values()))
    parts = {}
    for group in groups if len(groups) > 1 else []:
        own = {name: value for name, value in here.scores.items() if value[0] == group}
        if own.keys() & there.scores.keys():
            part = difference(own, there.scores, weights=here.weights)
            parts[group] = _value(part, here.scale), part.p_value
    return Duel(
        benchmark=one.benchmark,
        system=one.system,
        other=two.system,
        scale=one.scale,
        difference=_value(whole, here.scale),
        p_value=whole.p_value,
        parts=parts,
        left_out=whole.only_here + whole.only_there,
    )


def _value(found: Difference, scale: float) -> Value:
    one = found.interval
    return Value(scale * one.score, scale * one.low, scale * one.high, found.prompts)


def _read(entry: Entry, folders: Sequence[Path]) -> Known:
    files = find_evidence(entry, folders)
    if entry.benchmark == "GenEval":
        scored, _ = judge_file(files[0])
        results = [one.result for one in scored] or geneval.read_results(files[0])[0]
        pictures = Counter(result.prompt_key for result in results)
        return Known(geneval.by_prompt(results), weights=pictures)
    if entry.benchmark == "DPG-Bench":
        stored, tiles = dpg.read_answers(files[1]), int(entry.data["scores"]["tiles"])
        run = dpg.score_run(
            read_rows(files[0]), list(stored), stored, tiles, Mode(entry.data["mode"])
        )
        return Known(dpg.by_prompt(run), 100)
    return Known(by_edit(read_judged(entry, files)[0]))
