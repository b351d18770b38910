"""Editing: a source of its own → a task → the writer's instruction → the painter's edit.

In later turns the source is the result of an edit, and the row names it as its parent.

The paper's writer is told that appeal outranks the task, which makes its task labels unreliable.
Here the instruction must do the task, and the edit is checked against it where somebody can tell;
`instruction: descriptive` is the paper's form, and its rows say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from janus4o.exchange import Picture
from janus4o.images import save_png
from janus4o.records import Provenance, Row
from janus4o.synth import attributes, conditions, writing
from janus4o.synth.attributes import draw_share
from janus4o.synth.calls import Calls
from janus4o.synth.checks import (
    Pixels,
    check_changed,
    check_not_flat,
    check_original,
)
from janus4o.synth.forms import SENTENCE, TEXT
from janus4o.synth.pipelines import painting, prompt_first
from janus4o.synth.sample import TURNS, Pipeline, Rejected, Sample, State
from janus4o.synth.schedule import Task
from janus4o.synth.setting import Setting
from janus4o.synth.sources import Source, draw_source


@dataclass(frozen=True, slots=True)
class Original:
    """A picture to be edited.

    Attributes:
        name: of its blob; empty while it is not kept.
        told: what provenance says of it.
    """

    picture: Picture
    pixels: Pixels
    name: str
    told: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Brief:
    """What is asked for, and with which pictures.

    Attributes:
        shown: to the writer.
        sources: given to the painter, and to who trains on the row.
        told: what provenance says besides.
    """

    template: str
    words: Mapping[str, str]
    shown: tuple[Picture, ...]
    sources: tuple[Original, ...]
    told: Mapping[str, Any]


async def make(sample: Sample, calls: Calls, setting: Setting) -> Row:
    """An edit row.

    Raises:
        Rejected, TeacherRefused, CallFailed
    """
    task, turn = asked_task(sample, setting), TURNS.index(sample.pipeline) + 1
    brief = await _brief(sample, task, calls, setting)
    asked = setting.prompts.editing(task.name, brief.template, **brief.words)
    form = SENTENCE if brief.template == "editing_descriptive" else TEXT
    written = await writing.write(calls, setting, "write", asked, brief.shown, form)
    calls.reach(State.WRITTEN)
    given = tuple(source.picture for source in brief.sources)
    source = brief.sources[0]

    def look(text: str, pixels: Pixels) -> None:
        if not setting.inspector.exact:  # where it is, an emptied picture is known to be right
            check_not_flat(pixels)
        check_changed(source.pixels, pixels)
        setting.inspector.check_edit(source.pixels, text, pixels)

    passed = ("decodes", "size", "changed", "does_edit")
    kept = await painting.paint(calls, setting, written.text, look, passed, given)
    return Row(
        input_prompt=kept.prompt,
        input_image=tuple(one.name or calls.keep(one.picture.data) for one in brief.sources),
        input_image_resolution=(source.pixels.shape[1], source.pixels.shape[0]),
        output_image=kept.painted.name,
        output_image_resolution=kept.resolution,
        provenance=Provenance(
            id=sample.id,
            pipeline=Pipeline.EDITING.value,
            task=task.name,
            attributes={**brief.told, **({"turn": turn} if turn > 1 else {})},
            write_prompt=asked,
            writer=written.model,
            painter=kept.painted.model,
            seed=sample.seed,
            templates={**setting.stamps(brief.template), **kept.stamps},
            **kept.told,
        ),
    )


async def _brief(sample: Sample, task: Task, calls: Calls, setting: Setting) -> Brief:
    """What this edit starts from and how its instruction is asked for."""
    original = await _original(sample, task.name, calls, setting, "source")
    if task.condition:
        return _conditioned(original, task.condition)
    if task.two_sources:
        second = await _original(sample, task.name, calls, setting, "second")
        pair = (original, second)
        shown, told = tuple(one.picture for one in pair), {**original.told, "second": second.told}
        return Brief("editing_two_sources", {}, shown, pair, told)
    template, told = "editing", dict(original.told)
    if setting.descriptive:
        # Such an instruction may leave its task aside: the label says what was suggested.
        template, told["tied_to_task"] = "editing_descriptive", "loosely"
    return Brief(template, {}, (original.picture,), (original,), told)


def _conditioned(original: Original, kind: str) -> Brief:
    """The writer sees the picture and what a tool made of it, the painter the latter alone."""
    tool = conditions.tool_of(kind)
    made = tool.make(Image.fromarray(original.pixels))
    pixels = np.asarray(made, np.uint8)
    check_not_flat(pixels)
    told = {**original.told, "condition": {"kind": kind, "tool": tool.name}}
    map_ = Original(Picture(save_png(made)), pixels, "", {})
    shown = (original.picture, map_.picture)
    return Brief("editing_condition", {"condition": tool.words}, shown, (map_,), told)


async def _original(
    sample: Sample, task: str, calls: Calls, setting: Setting, part: str
) -> Original:
    """The picture to be edited (`part` "source") or one to take something from ("second")."""
    first = sample.pipeline is Pipeline.EDITING
    if first and setting.editing.sources == "drawn":
        asked_for = _source(sample, task, setting, part)
        drawn = await prompt_first.draw(
            asked_for.attributes, calls, setting, f"{part}.", asked_for.form
        )
        told = {"source": drawn.attributes.to_json(), "source_prompt": drawn.prompt}
        return Original(drawn.painted.picture, drawn.pixels, drawn.painted.name, told)
    edited = setting.edited if first else None
    among: int = len(setting.rows if edited is None else edited)
    if not among:
        raise Rejected("original: there is no picture to edit")
    # One after the other, so that all are used alike; a second one is any other.
    at = (sample.index if setting.schedule is None else setting.schedule.turn(sample)) % among
    if part == "second":
        if among < 2:
            raise Rejected("original: there is no second picture")
        at = (at + 1 + int(sample.rng(part).integers(among - 1))) % among
    if edited is None:
        parent = setting.rows[at]
        picture, pixels = calls.picture(parent.picture)
        told = {"source_row": parent.picture, "parent": parent.id}
        return Original(picture, pixels, parent.picture, told)
    entry = edited[at]
    picture, pixels = check_original(entry)
    return Original(picture, pixels, "", {"source_picture": entry.name})


def _source(sample: Sample, task: str, setting: Setting, part: str) -> Source:
    """What the picture to be edited shows: in the open world anything a prompt may ask for."""
    rng = sample.rng(part)
    if setting.world is not None:
        return draw_source(rng, task, setting.world)
    drawn = attributes.draw(rng, setting.taxonomy, setting.text_to_image, setting.max_categories)
    return Source(drawn)


def asked_task(sample: Sample, setting: Setting) -> Task:
    """What an edit is to be."""
    if setting.schedule is not None:
        return setting.schedule.edit(sample)
    name, rng = draw_share(sample.rng("task"), setting.tasks), sample.rng("brief")
    if setting.world is None and name in conditions.KINDS:
        kinds = conditions.choices(name, setting.editing.conditions)
        return Task(name, False, draw_share(rng, kinds))
    return Task(name, bool(rng.random() < setting.editing.two_sources), "")
