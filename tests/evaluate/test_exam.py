"""The sketch world's exam, put to models that are perfect and blind, with the real judge."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from janus4o.evaluate.candidate import Candidate
from janus4o.evaluate.exam import TAGS, sketch_questions
from janus4o.evaluate.scores import Options, score
from janus4o.scored import HeldOut, Kind, read_items
from janus4o.sketch import detect
from janus4o.sketch.captions import parse_caption
from janus4o.sketch.edit import LEARNABLE_KINDS, apply
from janus4o.sketch.instructions import parse_instruction
from janus4o.sketch.judge import SketchJudge
from janus4o.sketch.render import picture
from janus4o.sketch.wanted import imagine

ONE_SETTING = Options(guidance=(1.0,), semantic_weights=(0.0,))
SIZE = 64


def draw_exactly(
    prompts: Sequence[str], seeds: Sequence[int], guidance: float
) -> list[Image.Image]:
    return [
        picture(imagine(parse_caption(prompt), np.random.default_rng(seed)), SIZE)
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]


def edit_exactly(sources, instructions, seeds, guidance, semantic_weight) -> list[Image.Image]:
    made = []
    for source, text in zip(sources, instructions, strict=True):
        found = detect.scene(np.asarray(source)).scene
        assert found is not None
        made.append(picture(apply(parse_instruction(text), found), SIZE))
    return made


def draw_nothing(prompts, seeds, guidance) -> list[np.ndarray]:
    return [np.full((SIZE, SIZE, 3), 165, np.uint8) for _ in prompts]


def leave_as_it_is(sources, instructions, seeds, guidance, semantic_weight) -> list[Image.Image]:
    return [source.resize((SIZE, SIZE)) for source in sources]


@pytest.fixture(scope="module")
def questions():
    return sketch_questions("test", per_task=6, seed=1_000_000, size=128)


def test_a_perfect_painter_scores_one(questions, tmp_path):
    perfect = Candidate("tuned", "perfect", draw_exactly, edit_exactly)
    scores = score(perfect, [], questions, SketchJudge(), ONE_SETTING, tmp_path)
    assert [item for item in read_items(tmp_path) if not item.passed] == []
    assert scores.means[Kind.TEXT_TO_IMAGE].score == scores.means[Kind.EDIT].score == 1.0
    assert list(scores.tasks[Kind.TEXT_TO_IMAGE]) == list(TAGS)
    assert list(scores.tasks[Kind.EDIT]) == list(LEARNABLE_KINDS)


def test_an_empty_canvas_and_an_untouched_source_score_zero(questions, tmp_path):
    blind = Candidate("base", "blind", draw_nothing, leave_as_it_is)
    scores = score(blind, [], questions, SketchJudge(), ONE_SETTING, tmp_path)
    assert scores.means[Kind.TEXT_TO_IMAGE].score == scores.means[Kind.EDIT].score == 0.0
    assert all(item.reason for item in read_items(tmp_path))


def test_compositions_are_held_out_by_scene(questions):
    by = {q.task: q.held_out for q in questions}
    assert by["single_object"] == by["colors"] == HeldOut.BY_WORDING
    for task in ("two_object", "counting", "position", "color_attr"):
        assert by[task] == HeldOut.BY_SCENE


def test_validation_and_test_are_different_questions(questions):
    validation = sketch_questions("validation", per_task=6, seed=1_000_000, size=128)
    assert not {q.fingerprint() for q in validation} & {q.fingerprint() for q in questions}


def test_the_same_seed_asks_the_same_questions(questions):
    again = sketch_questions("test", per_task=6, seed=1_000_000, size=128)
    assert [q.fingerprint() for q in again] == [q.fingerprint() for q in questions]
    other = sketch_questions("test", per_task=6, seed=2, size=128)
    assert [q.fingerprint() for q in other] != [q.fingerprint() for q in questions]
