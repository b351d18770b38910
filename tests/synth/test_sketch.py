"""On the offline world: every row is right, nothing the exam asks for gets in, every task works."""

from pathlib import Path

import numpy as np
import pytest

from janus4o.errors import RecipeError
from janus4o.images import open_image
from janus4o.recipe import Recipe, parse
from janus4o.rows import Rows
from janus4o.sketch import detect, exam, grammar, judge
from janus4o.sketch.captions import parse_shown
from janus4o.sketch.edit import EditTask
from janus4o.synth.inspection import SketchInspector
from janus4o.synth.plan import plan
from janus4o.synth.prompts import TASK_MEANINGS

from .test_pipelines import make


def recipe(t2i: int, edits: int, **synthesis: object) -> Recipe:
    editing = {"count": edits, **synthesis.pop("editing", {})}  # type: ignore[dict-item]
    synthesis = {"text_to_image": {"count": t2i}, "editing": editing, **synthesis}
    return parse({"name": "test", "teachers": {"size": [64, 64]}, "synthesis": synthesis})


def pixels(rows: Rows, name: str) -> np.ndarray:
    return np.asarray(open_image(rows.read(name)))


def test_learnable_rows_are_right_and_hold_nothing_out(tmp_path: Path) -> None:
    outcome, rows = make(recipe(60, 60), tmp_path)
    assert outcome.tally.ends.keys() <= {"rejected: held_out", "rejected: duplicate"}
    assert len(rows) == 120
    for row in rows:
        shown = pixels(rows, row.output_image)
        scene = detect.scene(shown).scene
        assert scene is not None
        assert scene.learnable
        assert not exam.held_out(scene)
        assert set(grammar.split(row.input_prompt)) <= set(grammar.VOCABULARY)
        if not row.is_edit:
            wanted = grammar.parse_caption(row.input_prompt)
            assert judge.check_caption(shown, wanted).passed
            continue
        source = detect.scene(pixels(rows, row.input_image[0])).scene
        assert source is not None
        assert not exam.held_out(source)
        operation = grammar.parse_instruction(row.input_prompt)
        assert judge.check_edit(source, operation, shown).passed
        assert row.provenance is not None
        assert row.provenance.task == operation.task


@pytest.mark.parametrize("task", [t for t in EditTask if not t.refused])
def test_every_task_with_an_exact_operation_gives_rows(tmp_path: Path, task: EditTask) -> None:
    outcome, rows = make(recipe(0, 6, world="rich", editing={"tasks": {task.value: 1.0}}), tmp_path)
    assert len(rows) == 6
    assert sum(outcome.tally.ends.values()) < 30
    for row in rows:
        assert grammar.parse_instruction(row.input_prompt).task is task
        assert row.provenance is not None
        parse_shown(row.provenance.attributes["source_prompt"])


def test_rich_prompts_use_every_dimension(tmp_path: Path) -> None:
    asked = {"text_to_image": {"count": 40, "background": 0.6}}
    _, rows = make(recipe(0, 0, world="rich", **asked), tmp_path)
    for dimension in ("background", "style", "lighting", "camera", "composition"):
        values = {r.provenance.attributes[dimension] for r in rows if r.provenance}
        assert len(values - {None}) >= 2, dimension


def test_tasks_that_do_not_exist_or_cannot_be_done_are_refused_by_name(tmp_path: Path) -> None:
    for tasks, says in (
        ({"inpaintig": 1.0}, "unknown task 'inpaintig'"),
        ({"style_artist": 1.0}, "style_artist: the sketch world has no exact"),
        ({"hybrid": 0.0}, "all shares are zero"),
        ({"hybrid": -1.0}, "hybrid = -1"),
    ):
        with pytest.raises(RecipeError, match=says):
            make(recipe(1, 1, editing={"tasks": tasks}), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_the_templates_know_every_task() -> None:
    assert list(TASK_MEANINGS) == [task.value for task in EditTask]


def test_a_plan_asks_nobody_and_tells_what_a_run_then_does(tmp_path: Path) -> None:
    class Silent:
        name = "sketch-silent"
        max_categories = 4

    made_from = recipe(150, 50)
    planned = plan(made_from, Silent(), Silent(), SketchInspector(True))  # type: ignore[arg-type]
    assert planned.max_categories == 4
    assert planned.mass_cut == pytest.approx(np.exp(-4), rel=1e-6)
    assert planned.cost_usd == 0.0
    assert sum(planned.kinds.values()) == pytest.approx(1)
    outcome, rows = make(made_from, tmp_path)
    assert outcome.spend.calls >= planned.write_calls + planned.paint_calls
    assert outcome.spend.images >= planned.pictures == 150 + 2 * 50
    kinds = [r.provenance.task for r in rows if r.provenance and not r.is_edit]
    for kind, share in planned.kinds.items():
        assert kinds.count(kind) / 150 == pytest.approx(share, abs=0.12), kind
