"""Has a picture painted until one passes: the checks first, then the judge's limits.

What did not pass stays beside what did, so that the two are a pair: the same prompt, one picture to be
preferred to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from janus4o.exchange import Picture
from janus4o.prompt import canonical
from janus4o.records import Rejection, Rewriting
from janus4o.synth import judging, writing
from janus4o.synth.calls import Calls, Painted, Written
from janus4o.synth.checking.registry import SCORES
from janus4o.synth.checks import Pixels, check_picture
from janus4o.synth.forms import TEXT
from janus4o.synth.judging import Judgement
from janus4o.synth.sample import Rejected, State, TeacherRefused
from janus4o.synth.setting import Setting

SHOWS = ("shows_prompt", "does_edit")
"""Checks that a sound picture of something else fails."""

WORSE = frozenset({*SHOWS, *SCORES, "not_flat", "changed"})
"""Checks that say a picture is worse than one that passes them; others say that it cannot be used."""

Inspect = Callable[[str, Pixels], None]
"""Looks at a picture made for a text; raises Rejected."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that passed.

    Attributes:
        prompt: what it shows: what it was painted from, or what was written for it.
        pixels: uint8 RGB [H, W, 3].
        told: what its row's provenance says of it: checks, judge, rejected, rewritten.
        stamps: versions and hashes of the templates a judge was asked with.
    """

    prompt: str
    painted: Painted
    pixels: Pixels
    told: dict[str, Any]
    stamps: dict[str, str]

    @property
    def resolution(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, slots=True)
class _Look:
    """What came of one picture: the fault, if it has one, and what a judge said."""

    pixels: Pixels | None
    fault: Rejected | None
    said: Judgement | None = None
    judge: str = ""


async def paint(
    calls: Calls,
    setting: Setting,
    prompt: str,
    inspect: Inspect,
    passed: Iterable[str],
    sources: tuple[Picture, ...] = (),
) -> Kept:
    """A picture for a prompt, or an edit of the sources by an instruction.

    Args:
        passed: names of the checks that a picture passes with `inspect`.

    Raises:
        Rejected: no picture passed; says what was wrong with the last.
        TeacherRefused, CallFailed
    """
    rejected: list[Rejection] = []
    for number in range(1, setting.tries + 1):
        after = f".{number}" if number > 1 else ""
        painted = await calls.paint(f"paint{after}", prompt, sources)
        calls.reach(State.PAINTED)
        pictures = (*sources, painted.picture)
        look = await _look(calls, setting, f"judge{after}", prompt, inspect, pictures)
        kept, rewritten = prompt, None
        if look.fault is not None and number == setting.tries and _may_rewrite(setting, look):
            assert look.pixels is not None
            text = await _rewrite(calls, setting, prompt, pictures)
            if canonical(text.text) != canonical(prompt):
                again = await _look(calls, setting, "judge.new", text.text, inspect, pictures)
                if again.fault is None:
                    rewritten = Rewriting(asked=prompt, writer=text.model, why=str(look.fault))
                    kept, look = text.text, again
        if look.fault is None:
            assert look.pixels is not None
            checks = {**dict.fromkeys(passed, True), **_figures(look.said)}
            told = {"checks": checks, "rejected": tuple(rejected), "rewritten": rewritten}
            names = _templates(setting, bool(sources), rewritten is not None)
            stamps = setting.prompts.stamps(*names)
            return Kept(kept, painted, look.pixels, {**told, "judge": look.judge}, stamps)
        if _name(look.fault) in WORSE:
            scores = dict(look.said.scores) if look.said else {}
            rejected.append(
                Rejection(picture=painted.name, prompt=prompt, why=str(look.fault), scores=scores)
            )
    assert look.fault is not None  # or it would have been kept
    raise look.fault


async def _look(
    calls: Calls,
    setting: Setting,
    stage: str,
    prompt: str,
    inspect: Inspect,
    pictures: tuple[Picture, ...],
) -> _Look:
    """Checks a picture, the last one; the judge is asked about what is sound, whatever it shows."""
    fault, pixels = None, None
    try:
        pixels = check_picture(pictures[-1].data, setting.exact_size)
        inspect(prompt, pixels)
    except Rejected as no:
        fault = no
    if setting.scores is None or (fault is not None and _name(fault) not in SHOWS):
        return _Look(pixels, fault)
    is_edit = len(pictures) > 1
    asked = judging.request_of(setting.prompts, prompt, pictures).prompt
    form = judging.form_of(is_edit)
    try:
        answer = await writing.fill_in(calls, setting, stage, asked, form, pictures, "judge")
    except TeacherRefused as no:
        return _Look(pixels, Rejected(f"unjudged: {no}"))
    return _Look(pixels, fault or _fault(setting, answer.value), answer.value, answer.model)


def _fault(setting: Setting, said: Judgement) -> Rejected | None:
    for name, least in (setting.scores or {}).items():
        if name in said.scores and said.scores[name] < least:
            why = f": {said.why}" if said.why else ""
            return Rejected(f"{name}: {said.scores[name]} of 5, at least {least:g} wanted{why}")
    return None


def _may_rewrite(setting: Setting, look: _Look) -> bool:
    """Whether nothing is wrong with a picture but that something else was asked for."""
    if not setting.rewrite or look.said is None or look.fault is None:
        return False
    others = {
        name: score
        for name, score in look.said.scores.items()
        # What else an edit changed is written into the new instruction.
        if name not in ("following", "preservation")
    }
    limits = setting.scores or {}
    low = look.said.scores["following"] < limits.get("following", 0)
    return (low or _name(look.fault) in SHOWS) and all(
        score >= limits.get(name, 0) for name, score in others.items()
    )


async def _rewrite(
    calls: Calls, setting: Setting, prompt: str, pictures: tuple[Picture, ...]
) -> Written:
    """What the picture does fulfil, in words."""
    name = "rewrite_edit" if len(pictures) > 1 else "rewrite"
    asked = setting.prompts.fill(name, asked=prompt)
    answer = await writing.fill_in(calls, setting, "rewrite", asked, TEXT, pictures, "judge")
    return Written(answer.value, answer.model)


def _templates(setting: Setting, is_edit: bool, rewritten: bool) -> list[str]:
    """Which texts a judge was asked with."""
    if setting.scores is None:
        return []
    after = "_edit" if is_edit else ""
    return [f"judge{after}", *([f"rewrite{after}"] if rewritten else [])]


def _figures(said: Judgement | None) -> dict[str, Any]:
    if said is None:
        return {}
    return {name: {"figure": score, "passed": True} for name, score in said.scores.items()}


def _name(fault: Rejected) -> str:
    return str(fault).partition(":")[0]
