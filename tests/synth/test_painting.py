"""Pictures are painted until one passes; what failed stays beside it, and a good one may get its own words."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from janus4o.cli import app
from janus4o.errors import DataError, RecipeChanged, RecipeError, Refused
from janus4o.exchange import PaintReply, PaintRequest, Refusal, WriteReply, WriteRequest
from janus4o.images import open_image
from janus4o.recipe import parse
from janus4o.records import Row
from janus4o.rows import open_rows
from janus4o.sketch.edit import EditTask, apply
from janus4o.sketch.edit_finding import operation_between
from janus4o.sketch.edit_sampling import sample as sample_edit
from janus4o.sketch.instructions import instructions, parse_instruction
from janus4o.sketch.sampling import sample_wanted
from janus4o.sketch.scorer import SketchScorer
from janus4o.sketch.teacher import SketchPainter, SketchWriter
from janus4o.sketch.wanted import World, imagine
from janus4o.synth.checks import Anything
from janus4o.synth.export import export
from janus4o.synth.inspection import SketchInspector
from janus4o.synth.runner import run
from janus4o.synth.status import status


class Clumsy(SketchPainter):
    """Paints the wrong thing in one call of `often`, decided by the seed: other colours, another edit."""

    often = 2

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal:
        if request.seed % self.often == 0:
            colours = {"red": "blue", "blue": "green", "green": "yellow", "yellow": "red"}
            words = [colours.get(word, word) for word in request.prompt.split()]
            if request.sources:
                words = ["make", "the", "background", "gray" if "white" in words else "white"]
            request = replace(request, prompt=" ".join(words))
        return await super().paint(request)


def recipe(**checks: Any) -> Any:
    judge = checks.pop("judge", "sketch")
    return parse(
        {
            "name": "judged",
            "teachers": {"judge": judge},
            "synthesis": {
                "hold_out": False,
                "text_to_image": {"count": 8},
                "editing": {"count": 8},
            },
            "checks": checks,
        }
    )


def make(folder: Path, made: Any, judge: Any = None, inspector: Any = None) -> list[Row]:
    asked = judge or (SketchScorer() if made.teachers.judge else None)
    looks = inspector or SketchInspector(hold_out=False)
    run(made, folder, SketchWriter(), Clumsy(), inspector=looks, judge=asked)
    return list(open_rows(folder))


def made_of(row: Row) -> Any:
    assert row.provenance is not None
    return row.provenance


def test_a_picture_is_painted_anew_and_what_failed_becomes_a_pair(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    rows = make(tmp_path / "run", recipe(tries=4))
    failed = [row for row in rows if made_of(row).rejected]
    assert len(rows) == 16
    assert any(row.is_edit for row in failed)
    assert any(not row.is_edit for row in failed)
    for row in rows:
        assert made_of(row).checks["following"] == {"figure": 5, "passed": True}
        assert made_of(row).judge == "sketch-1"
        for one in made_of(row).rejected:
            assert one.prompt == row.input_prompt
            assert one.scores["following"] <= 3
            assert one.picture != row.output_image
    done = export(tmp_path / "run", tmp_path / "pairs", "pairs")
    assert sum(done.rows.values()) == sum(len(made_of(row).rejected) for row in rows)
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "pairs" / "text_to_image-00000.parquet").to_pylist()
    blobs = open_rows(tmp_path / "run")
    for pair in table:
        row = next(row for row in rows if made_of(row).id == pair["id"])
        assert pair["prompt"] == row.input_prompt
        assert pair["chosen"]["bytes"] == blobs.read(row.output_image)
        assert pair["rejected"]["bytes"] in [
            blobs.read(one.picture) for one in made_of(row).rejected
        ]
        better, worse = (
            json.loads(pair[key])["following"] for key in ("chosen_scores", "rejected_scores")
        )
        assert better > worse
    edits = pq.read_table(tmp_path / "pairs" / "text_and_image_to_image-00000.parquet")
    assert len(edits.to_pylist()[0]["input_image"]) == 1
    told = json.loads(edits.schema.metadata[b"huggingface"])["info"]["features"]
    assert told["chosen"] == told["rejected"] == {"_type": "Image"}
    pytest.importorskip("mlcroissant")
    probe = "import sys, mlcroissant as m; d = m.Dataset('croissant.json')\n"
    probe += "print(sum(1 for s in d.metadata.record_sets for _ in d.records(s.uuid)))"
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", probe],
        cwd=tmp_path / "pairs", capture_output=True, text=True, check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert said.stdout.split() == [str(sum(done.rows.values()))], said.stderr[-2000:]


def test_pairs_of_nothing_are_one_clear_line(tmp_path: Path) -> None:
    make(tmp_path / "run", recipe(judge=None))
    with pytest.raises(DataError, match=r"no row of .* has a rejected picture"):
        export(tmp_path / "run", tmp_path / "pairs", "pairs")
    assert not (tmp_path / "pairs").exists()


def test_the_rows_are_the_same_after_a_kill_and_out_of_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = recipe(tries=3, rewrite=True)
    make(tmp_path / "whole", whole)
    expected = (tmp_path / "whole" / "dataset" / "rows.jsonl").read_bytes()

    class Dies(SketchScorer):
        asked = 0

        async def write(self, request: WriteRequest) -> WriteReply | Refusal:
            self.asked += 1
            if self.asked == 14:
                raise KeyboardInterrupt
            return await super().write(request)

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "killed", whole, Dies())
    make(tmp_path / "killed", whole)
    assert (tmp_path / "killed" / "dataset" / "rows.jsonl").read_bytes() == expected
    assert app.main(["replay", str(tmp_path / "whole")]) == 0
    assert "the same bytes" in capsys.readouterr().out


def test_a_judge_alone_decides_where_nobody_else_can_tell(tmp_path: Path) -> None:
    rows = make(tmp_path / "run", recipe(tries=2), inspector=Anything())
    looks = SketchInspector(hold_out=False)
    blobs = open_rows(tmp_path / "run")
    for row in rows:
        pixels = [
            np.asarray(open_image(blobs.read(name)))
            for name in (*row.input_image, row.output_image)
        ]
        if row.is_edit:
            looks.check_edit(pixels[0], row.input_prompt, pixels[1])
        else:
            looks.check_caption(row.input_prompt, pixels[0])


def test_limits_that_nothing_passes_stop_the_run_and_other_limits_are_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("janus4o.synth.runner.MAX_BARREN", 12)
    with pytest.raises(Refused, match=r"came to nothing .*realism"):
        make(tmp_path / "run", recipe(limits={"realism": 6}))
    told = status(tmp_path / "run")
    assert told.reasons["rejected: realism"] >= 6
    assert "5 of 5, at least 6 wanted" in told.examples["rejected: realism"]
    with pytest.raises(RecipeChanged, match=r"checks.limits.realism: 6.0 → 3"):
        make(tmp_path / "run", recipe())
    with pytest.raises(RecipeError, match="nobody is there to rewrite"):
        recipe(judge=None, rewrite=True)


def test_a_good_picture_of_something_else_gets_its_own_words(tmp_path: Path) -> None:
    rows = make(tmp_path / "run", recipe(rewrite=True))
    anew = [row for row in rows if made_of(row).rewritten]
    assert {row.is_edit for row in anew} == {True, False}
    looks = SketchInspector(hold_out=False)
    blobs = open_rows(tmp_path / "run")
    for row in anew:
        told = made_of(row).rewritten
        assert told.asked != row.input_prompt
        assert told.writer == "sketch-1"
        assert told.why.startswith(("shows_prompt", "does_edit"))
        pixels = [
            np.asarray(open_image(blobs.read(name)))
            for name in (*row.input_image, row.output_image)
        ]
        check: Callable[..., None] = looks.check_edit if row.is_edit else looks.check_caption
        check(*pixels[:-1], row.input_prompt, pixels[-1])
        assert "rewrite_edit" in made_of(row).templates or not row.is_edit
    assert all(made_of(row).checks["following"]["figure"] == 5 for row in rows)


def test_the_edit_between_two_scenes_is_found() -> None:
    rng = np.random.default_rng(0)
    found = 0
    tasks = ("inpainting_replacement", "element_manipulation", "background_modification",
             "attribute_manipulation", "style_medium")  # fmt: skip
    for number in range(60):
        before = imagine(sample_wanted(rng, World.RICH), rng, World.RICH)
        operation = sample_edit(EditTask(tasks[number % len(tasks)]), before, rng, World.RICH)
        if operation is None:
            continue
        after = apply(operation, before)
        again = operation_between(before, after)
        if before == after:
            assert again is None
            continue
        assert again is not None, (before, operation)
        text = instructions(again)[0]
        assert apply(parse_instruction(text), before) == after
        found += 1
    assert found > 40
    assert operation_between(before, before) is None
