"""Prompt first: attributes → the writer's prompt → the painter's picture."""

from __future__ import annotations

from dataclasses import dataclass

from janus4o.records import Provenance, Row
from janus4o.synth import attributes, writing
from janus4o.synth.attributes import Attributes
from janus4o.synth.calls import Calls, Painted, Written
from janus4o.synth.checks import Pixels, check_not_flat, check_picture
from janus4o.synth.pipelines import painting
from janus4o.synth.sample import Sample, State
from janus4o.synth.setting import Setting


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture to be edited, checked.

    Attributes:
        prompt: what the painter was sent.
        pixels: uint8 RGB [H, W, 3].
    """

    attributes: Attributes
    prompt: str
    painted: Painted
    pixels: Pixels


async def make(sample: Sample, calls: Calls, setting: Setting) -> Row:
    """A text-to-image row.

    Raises:
        Rejected, TeacherRefused, CallFailed
    """
    asked_for = asked_attributes(sample, setting)
    asked, written = await _write(asked_for, calls, setting)
    passed = ("decodes", "size", "not_flat", "shows_prompt")
    kept = await painting.paint(calls, setting, written.text, looker(setting), passed)
    return Row(
        input_prompt=kept.prompt,
        output_image=kept.painted.name,
        output_image_resolution=kept.resolution,
        provenance=Provenance(
            id=sample.id,
            pipeline=sample.pipeline.value,
            task=asked_for.kind,
            attributes=asked_for.to_json(),
            write_prompt=asked,
            writer=written.model,
            painter=kept.painted.model,
            seed=sample.seed,
            templates={**setting.stamps("prompt_first"), **kept.stamps},
            **kept.told,
        ),
    )


def looker(setting: Setting) -> painting.Inspect:
    """The checks of a picture drawn from a text."""

    def look(text: str, pixels: Pixels) -> None:
        check_not_flat(pixels)
        setting.inspector.check_caption(text, pixels)

    return look


def asked_attributes(sample: Sample, setting: Setting) -> Attributes:
    """What the prompt of a sample asks for."""
    if setting.schedule is not None:
        return setting.schedule.prompt(sample)
    return attributes.draw(
        sample.rng("attributes"), setting.taxonomy, setting.text_to_image, setting.max_categories
    )


async def draw(
    asked_for: Attributes, calls: Calls, setting: Setting, prefix: str, form: str
) -> Drawn:
    """Has a prompt written for some attributes and a picture painted that will be edited.

    Args:
        prefix: put before the names of the stages, so that one sample can do this beside others.
        form: words put before the prompt, for a picture that is not plain ("line art of").

    Raises:
        Rejected, TeacherRefused, CallFailed
    """
    _, written = await _write(asked_for, calls, setting, prefix)
    prompt = f"{form} {written.text}" if form else written.text
    painted = await calls.paint(f"{prefix}paint", prompt)
    pixels = check_picture(painted.picture.data, setting.exact_size)
    looker(setting)(prompt, pixels)
    return Drawn(asked_for, prompt, painted, pixels)


async def _write(
    asked_for: Attributes, calls: Calls, setting: Setting, prefix: str = ""
) -> tuple[str, Written]:
    """The exact text sent to the writer, and the prompt."""
    setting.inspector.allow(asked_for)
    asked = setting.prompts.prompt_first(asked_for)
    written = await writing.write(calls, setting, f"{prefix}write", asked)
    calls.reach(State.WRITTEN)
    return asked, written
