"""Each of the 14 tasks has an exact operation or is refused by name."""

from dataclasses import replace

import numpy as np
import pytest

from janus4o.errors import PromptError
from janus4o.sketch import detect, edit, judge
from janus4o.sketch.edit import LEARNABLE_KINDS, EditGroup, EditTask, apply
from janus4o.sketch.edit_sampling import KINDS, sample, sample_kind, sample_source
from janus4o.sketch.instructions import instructions, parse_instruction
from janus4o.sketch.phrases import VOCABULARY, split
from janus4o.sketch.scene import Item, Scene, Slot
from janus4o.sketch.view import show
from janus4o.sketch.wanted import World

from .scenes import near_miss

ALL_KINDS = [(kind, world) for kinds in KINDS.values() for kind in kinds for world in World]


def test_the_tasks_are_the_papers_in_its_groups() -> None:
    assert len(EditTask) == 14
    sizes = [sum(task.group is group for task in EditTask) for group in EditGroup]
    assert sizes == [4, 3, 2, 2, 3]
    for task in EditTask:
        assert bool(task.refused) != bool(KINDS[task])


@pytest.mark.parametrize(("kind", "world"), ALL_KINDS)
def test_every_kind_goes_from_pixels_and_words_to_the_exact_result(kind: str, world: World) -> None:
    rng = np.random.default_rng(8)
    for _ in range(20):
        scene = sample_source(kind, rng, world)
        operation = sample_kind(kind, scene, rng, world)
        assert operation is not None
        assert kind in KINDS[operation.task]
        for text in instructions(operation):
            assert parse_instruction(text) == operation
        seen = detect.scene(show(scene, operation.source_view, 128), operation.source_view).scene
        assert seen is not None
        result = show(apply(operation, seen), operation.target_view, 128)
        assert judge.check_edit(scene, operation, result).passed
        # Neither doing nothing (where that shows) nor doing something else passes.
        undone = show(scene, operation.source_view, 128)
        if np.abs(undone.astype(int) - result).mean() > 8:
            assert not judge.check_edit(scene, operation, undone).passed
        other = near_miss(apply(operation, seen), rng, world) if seen.items else None
        if other and other.items and kind not in ("age", "film", "tell"):
            wrong = show(other, operation.target_view, 128)
            assert not judge.check_edit(scene, operation, wrong).passed


@pytest.mark.parametrize("kind", LEARNABLE_KINDS)
def test_learnable_edits_leave_the_rest_as_it_was(kind: str) -> None:
    rng = np.random.default_rng(9)
    for _ in range(200):
        scene = sample_source(kind, rng)
        operation = sample_kind(kind, scene, rng)
        assert operation is not None
        result = apply(operation, scene)
        assert result.learnable
        assert result != scene or kind == "replace"
        changed = set(scene.items) ^ set(result.items)
        assert len({item.slot for item in changed}) <= 1
        assert (kind == "background") == (result.background != scene.background)
        for text in instructions(operation):
            assert set(split(text)) <= set(VOCABULARY)
            assert len(split(text)) <= 12


def test_references_are_never_guessed() -> None:
    red = Item(edit.Shape.STAR, edit.Colour.RED, Slot.LEFT)
    scene = Scene((red, replace(red, slot=Slot.RIGHT)))
    for text in ("remove the star", "remove the red star", "remove the circle"):
        with pytest.raises(PromptError, match="object"):
            apply(parse_instruction(text), scene)
    left = apply(parse_instruction("remove the star on the right"), scene)
    assert left.items == (red,)
    with pytest.raises(PromptError, match="taken"):
        apply(parse_instruction("add a red circle at the top"), scene)


@pytest.mark.parametrize("task", list(EditTask))
def test_a_sampled_operation_serves_its_task(task: EditTask) -> None:
    rng = np.random.default_rng(10)
    for kind in KINDS[task] or ("recolour",):
        scene = sample_source(kind, rng, World.RICH)
        operation = sample(task, scene, rng, World.RICH)
        assert (operation is None) == bool(task.refused)
        assert operation is None or operation.task is task
