"""Prompt first: attributes → the writer's prompt → the painter's picture."""

from __future__ import annotations

from dataclasses import dataclass

from janus4o.records import Provenance, Row
from janus4o.synth import attributes, writing
from janus4o.synth.attributes import Attributes
from janus4o.synth.calls import Calls, Painted
from janus4o.synth.checks import Pixels, check_not_flat, check_picture
from janus4o.synth.sample import Sample, State
from janus4o.synth.setting import Setting


@dataclass(frozen=True, slots=True)
class Drawn:
    """A prompt and its picture, checked.

    Attributes:
        asked: the exact text sent to the writer.
        prompt: what the painter was sent.
        writer: the model that wrote it.
        pixels: uint8 RGB [H, W, 3].
    """

    attributes: Attributes
    asked: str
    prompt: str
    writer: str
    painted: Painted
    pixels: Pixels

    @property
    def resolution(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


async def make(sample: Sample, calls: Calls, setting: Setting) -> Row:
    """A text-to-image row.

    Raises:
        Rejected, TeacherRefused, CallFailed
    """
    drawn = await draw(asked_attributes(sample, setting), calls, setting)
    calls.reach(State.PAINTED)
    return Row(
        input_prompt=drawn.prompt,
        output_image=drawn.painted.name,
        output_image_resolution=drawn.resolution,
        provenance=Provenance(
            id=sample.id,
            pipeline=sample.pipeline.value,
            task=drawn.attributes.kind,
            attributes=drawn.attributes.to_json(),
            write_prompt=drawn.asked,
            writer=drawn.writer,
            painter=drawn.painted.model,
            seed=sample.seed,
            checks=dict.fromkeys(("decodes", "size", "not_flat", "shows_prompt"), True),
            templates=setting.stamps("prompt_first"),
        ),
    )


def asked_attributes(sample: Sample, setting: Setting) -> Attributes:
    """What the prompt of a sample asks for."""
    if setting.schedule is not None:
        return setting.schedule.prompt(sample)
    return attributes.draw(
        sample.rng("attributes"), setting.taxonomy, setting.text_to_image, setting.max_categories
    )


async def draw(
    asked_for: Attributes, calls: Calls, setting: Setting, prefix: str = "", form: str = ""
) -> Drawn:
    """Has a prompt written for some attributes and a picture painted.

    Args:
        prefix: put before the names of the stages, so that one sample can do this beside others.
        form: words put before the prompt, for a picture that is not plain ("line art of").

    Raises:
        Rejected, TeacherRefused, CallFailed
    """
    setting.inspector.allow(asked_for)
    asked = setting.prompts.prompt_first(asked_for)
    written = await writing.write(calls, setting, f"{prefix}write", asked)
    calls.reach(State.WRITTEN)
    prompt = f"{form} {written.text}" if form else written.text
    painted = await calls.paint(f"{prefix}paint", prompt)
    pixels = check_picture(painted.picture.data, setting.exact_size)
    check_not_flat(pixels)
    setting.inspector.check_caption(prompt, pixels)
    return Drawn(asked_for, asked, prompt, written.model, painted, pixels)
