"""Scores of models whose ability is known: perfect, blind, sensitive to guidance.

The "pictures" are flat colours and the judge reads them back, so a verdict is exact.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus4o.errors import DataError
from janus4o.evaluate.candidate import Candidate
from janus4o.evaluate.question import Question
from janus4o.evaluate.scores import Options, pictures_wanted, score
from janus4o.evaluate.summary import write_summary
from janus4o.exchange import JudgeReply, JudgeRequest, Refusal
from janus4o.images import open_image, read_size
from janus4o.scored import HeldOut, read_items

PALETTE = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
OPTIONS = Options(guidance=(1.0, 2.0), semantic_weights=(0.0, 1.0), batch=5)


class ColourJudge:
    """Passes a picture whose first pixel has the colour the prompt ends with."""

    name = "colours-1"

    async def judge(self, request: JudgeRequest) -> JudgeReply | Refusal:
        colour = request.prompt.split()[-1]
        if colour not in PALETTE:
            return Refusal("unknown", f"no colour {colour!r}", self.name)
        found = open_image(request.picture.data).getpixel((0, 0))
        passed = found == PALETTE[colour]
        return JudgeReply(
            passed, float(passed), "" if passed else f"expected {colour}, found {found}", self.name
        )


def flat(colour: str) -> np.ndarray:
    return np.full((8, 8, 3), PALETTE[colour], np.uint8)


def questions(split: str, n: int = 6) -> list[Question]:
    shift = 1000 if split == "test" else 0
    names = list(PALETTE)
    asked = []
    for task in ("single_object", "colors", "counting"):
        for k in range(n):
            held_out = HeldOut.BY_SCENE if task == "counting" else HeldOut.BY_WORDING
            prompt = f"{task} in {names[k % 3]}"
            asked.append(Question(task, k, prompt, shift + len(asked), held_out))
    for task in ("recolour", "background"):
        for k in range(n):
            source = Image.fromarray(flat(names[k % 3]))
            prompt = f"{task} to {names[(k + 1) % 3]}"
            asked.append(Question(task, k, prompt, shift + len(asked), HeldOut.BY_WORDING, source))
    return asked


class Fake:
    """A model that is right under `right_guidance` (None: always) and on tasks it `knows`."""

    def __init__(self, knows: Sequence[str], right_guidance: float | None = None) -> None:
        self.knows = knows
        self.right_guidance = right_guidance
        self.calls = 0

    def draw(self, prompts, seeds, guidance):
        assert len(prompts) == len(seeds) <= OPTIONS.batch
        self.calls += 1
        right = self.right_guidance in (None, guidance)
        return [
            flat(p.split()[-1]) if right and p.split()[0] in self.knows else flat("red") // 2
            for p in prompts
        ]

    def edit(self, sources, instructions, seeds, guidance, semantic_weight):
        assert len(sources) == len(instructions) == len(seeds)
        made = self.draw(instructions, seeds, guidance)
        return [
            Image.fromarray(m) if semantic_weight == 1.0 else s
            for m, s in zip(made, sources, strict=True)
        ]

    def candidate(self, name: str, digest: str = "weights-1") -> Candidate:
        return Candidate(name, digest, self.draw, self.edit)


ALL = ("single_object", "colors", "counting", "recolour", "background")


def run(fake: Fake, name: str, folder: Path, digest: str = "weights-1", options: Options = OPTIONS):
    return score(
        fake.candidate(name, digest),
        questions("validation", 3),
        questions("test"),
        ColourJudge(),
        options,
        folder,
    )


def test_a_perfect_model_scores_one_and_a_blind_one_zero(tmp_path):
    perfect = run(Fake(ALL), "tuned", tmp_path)
    blind = run(Fake(()), "base", tmp_path)
    for kind, tasks in perfect.tasks.items():
        assert {task.score for task in tasks.values()} == {1.0}
        assert perfect.means[kind].score == 1.0
        assert {task.score for task in blind.tasks[kind].values()} == {0.0}
        assert {task.n for task in tasks.values()} == {6}


def test_guidance_is_the_one_that_does_best_on_validation(tmp_path):
    scores = run(Fake(ALL, right_guidance=2.0), "tuned", tmp_path)
    assert {str(setting) for setting in scores.settings.values()} == {"s=2", "s=2 s2=1"}
    assert all(mean.score == 1.0 for mean in scores.means.values())
    assert [len(trials) for trials in scores.trials.values()] == [2, 4]


def test_equal_settings_take_the_weakest(tmp_path):
    scores = run(Fake(()), "base", tmp_path)
    assert {str(setting) for setting in scores.settings.values()} == {"s=1", "s=1 s2=0"}


def test_test_questions_are_asked_once(tmp_path):
    asked: list[int] = []

    class Counting(Fake):
        def draw(self, prompts, seeds, guidance):
            asked.extend(seeds)
            return super().draw(prompts, seeds, guidance)

    run(Counting(ALL), "tuned", tmp_path)
    assert sorted(s for s in asked if s >= 1000) == [q.seed for q in questions("test")]


def test_every_answer_can_be_looked_at(tmp_path):
    run(Fake(("single_object",)), "base", tmp_path)
    run(Fake(ALL), "tuned", tmp_path)
    items = read_items(tmp_path)
    assert len(items) == 2 * len(questions("test"))
    for item in items:
        assert read_size(tmp_path / item.picture) == (8, 8)
        assert item.passed == (item.reason == "")
        assert (item.source is not None) == (item.task in ("recolour", "background"))
        if item.source:
            assert read_size(tmp_path / item.source) == (8, 8)


def test_a_finished_model_is_not_asked_again(tmp_path):
    first = run(Fake(ALL), "tuned", tmp_path)
    again = Fake(ALL)
    assert run(again, "tuned", tmp_path) == first
    assert again.calls == 0


def test_other_weights_or_settings_are_scored_anew_and_replace_the_old(tmp_path):
    run(Fake(ALL), "tuned", tmp_path)
    other = Fake(())
    assert run(other, "tuned", tmp_path, digest="weights-2").means["t2i"].score == 0.0
    assert other.calls > 0
    assert len(read_items(tmp_path)) == len(questions("test"))
    narrower = Fake(())
    run(narrower, "tuned", tmp_path, digest="weights-2", options=Options((1.0,), (0.0,), batch=5))
    assert narrower.calls > 0


def test_the_summary_has_the_promised_shape(tmp_path):
    base = run(Fake(("single_object", "colors")), "base", tmp_path)
    tuned = run(Fake(ALL), "tuned", tmp_path, digest="weights-2")
    write_summary(tmp_path, base, tuned, judge="colours-1", split="test", seed=7)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == {"base", "tuned", "meta"}
    for name in ("base", "tuned"):
        assert list(summary[name]) == ["t2i", "t2i_mean", "edit", "edit_mean"]
        for kind in ("t2i", "edit"):
            tasks = summary[name][kind]
            for entry in tasks.values():
                assert set(entry) == {"score", "n", "low", "high"}
                assert 0 <= entry["low"] <= entry["score"] <= entry["high"] <= 1
            unweighted = sum(entry["score"] for entry in tasks.values()) / len(tasks)
            assert math.isclose(summary[name][f"{kind}_mean"], unweighted, abs_tol=1e-6)
    assert summary["base"]["t2i_mean"] == pytest.approx(2 / 3, abs=1e-6)
    assert summary["meta"]["held_out"]["counting"] == "scene"
    assert summary["meta"]["held_out"]["recolour"] == "wording and seed"
    assert summary["meta"]["kept"] == {"tasks": ["single_object", "colors"], "passed": True}


def test_losing_what_the_base_could_do_shows(tmp_path):
    base = run(Fake(("single_object", "colors")), "base", tmp_path)
    tuned = run(Fake(("counting", "colors")), "tuned", tmp_path)
    summary = write_summary(tmp_path, base, tuned, "colours-1", "test", 7)
    assert not summary["meta"]["kept"]["passed"]
    assert summary["meta"]["tuned_minus_base"]["single_object"]["lost"] == 6
    assert summary["meta"]["tuned_minus_base"]["colors"]["kept"]


def test_the_same_scores_give_the_same_bytes(tmp_path):
    base, tuned = run(Fake(()), "base", tmp_path), run(Fake(ALL), "tuned", tmp_path)
    write_summary(tmp_path, base, tuned, "colours-1", "test", 7)
    first = (tmp_path / "summary.json").read_bytes()
    base, tuned = run(Fake(()), "base", tmp_path), run(Fake(ALL), "tuned", tmp_path)
    write_summary(tmp_path, base, tuned, "colours-1", "test", 7)
    assert (tmp_path / "summary.json").read_bytes() == first


def test_a_refusing_judge_does_not_make_items_vanish(tmp_path):
    odd = [Question("colors", 0, "in mauve", 1, HeldOut.BY_WORDING)]

    def draw(prompts, seeds, guidance):
        return [flat("red") for _ in prompts]

    options = Options(guidance=(1.0,), semantic_weights=(0.0,))
    candidate = Candidate("base", "d", draw, Fake(()).edit)
    scores = score(candidate, [], odd, ColourJudge(), options, tmp_path)
    assert scores.tasks["t2i"]["colors"].n == 1
    assert read_items(tmp_path)[0].reason == "the judge refused: no colour 'mauve'"


def test_a_choice_needs_validation_questions(tmp_path):
    with pytest.raises(ValueError, match="no validation questions"):
        score(Fake(ALL).candidate("base"), [], questions("test"), ColourJudge(), OPTIONS, tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "base"}'])
def test_a_foreign_score_file_is_named(tmp_path, content):
    (tmp_path / "base.json").write_text(content)
    with pytest.raises(DataError, match=r"base\.json is not a score file"):
        run(Fake(ALL), "base", tmp_path)


@pytest.mark.parametrize(
    "options", [OPTIONS, Options(guidance=(1.0,), semantic_weights=(1.0,), batch=5)]
)
def test_the_pictures_announced_are_the_pictures_asked_for(tmp_path, options):
    parts = {}
    fake = Fake(["colors"])
    candidate = Candidate("tuned", "digest", fake.draw, fake.edit)
    validation, test = questions("validation", 2), questions("test", 3)
    score(
        candidate, validation, test, ColourJudge(), options, tmp_path,
        lambda what, done, total: parts.__setitem__(what, done),
    )  # fmt: skip
    assert sum(parts.values()) == pictures_wanted(validation, test, options)
