"""Editing: a source of its own → a task → the writer's instruction → the painter's edit.

The paper's writer is told that appeal outranks the task, which makes its task labels unreliable.
Here the instruction must do the task, and the edit is checked against it where somebody can tell;
`instruction: descriptive` is the paper's form, and its rows say so.
"""

from __future__ import annotations

from janus4o.records import Provenance, Row
from janus4o.synth import attributes, prompts, writing
from janus4o.synth.calls import Calls
from janus4o.synth.checks import check_changed, check_not_flat, check_picture
from janus4o.synth.pipelines import prompt_first
from janus4o.synth.sample import Sample, State
from janus4o.synth.setting import Setting
from janus4o.synth.sources import Source, draw_source


async def make(sample: Sample, calls: Calls, setting: Setting) -> Row:
    """An edit row.

    Raises:
        Rejected, TeacherRefused, CallFailed
    """
    task = draw_task(sample, setting)
    asked_for = _source(sample, task, setting)
    source = await prompt_first.draw(
        asked_for.attributes, calls, setting, "source.", asked_for.form
    )
    asked = prompts.editing(task, setting.descriptive)
    written = await writing.write(calls, setting, "write", asked, (source.painted.picture,))
    calls.reach(State.WRITTEN)
    painted = await calls.paint("paint", written.text, (source.painted.picture,))
    calls.reach(State.PAINTED)
    pixels = check_picture(painted.picture.data, setting.exact_size)
    if not setting.inspector.exact:  # where it is, an emptied picture is known to be right
        check_not_flat(pixels)
    check_changed(source.pixels, pixels)
    setting.inspector.check_edit(source.pixels, written.text, pixels)
    return Row(
        input_prompt=written.text,
        input_image=(source.painted.name,),
        input_image_resolution=source.resolution,
        output_image=painted.name,
        output_image_resolution=(pixels.shape[1], pixels.shape[0]),
        provenance=Provenance(
            id=sample.id,
            pipeline=sample.pipeline.value,
            task=task,
            attributes={
                "source": source.attributes.to_json(),
                "source_prompt": source.prompt,
                # Such an instruction may leave its task aside: the label says what was suggested.
                **({"tied_to_task": "loosely"} if setting.descriptive else {}),
            },
            write_prompt=asked,
            writer=written.model,
            painter=painted.model,
            seed=sample.seed,
            checks=dict.fromkeys(("decodes", "size", "changed", "does_edit"), True),
        ),
    )


def _source(sample: Sample, task: str, setting: Setting) -> Source:
    """What the picture to be edited shows: in the open world anything a prompt may ask for."""
    rng = sample.rng("source")
    if setting.world is not None:
        return draw_source(rng, task, setting.world)
    drawn = attributes.draw(rng, setting.taxonomy, setting.text_to_image, setting.max_categories)
    return Source(drawn)


def draw_task(sample: Sample, setting: Setting) -> str:
    """One of the recipe's editing tasks, by their shares."""
    tasks, shares = zip(*setting.tasks.items(), strict=True)
    at = sample.rng("task").random() * sum(shares)
    for task, share in zip(tasks, shares, strict=True):
        at -= share
        if at < 0:
            return str(task)
    return str(tasks[-1])
