"""Prompt first: attributes → the writer's prompt → the painter's picture."""

from __future__ import annotations

from dataclasses import dataclass

from janus4o.records import Provenance, Row
from janus4o.synth import attributes, prompts
from janus4o.synth.attributes import Attributes
from janus4o.synth.calls import Calls, Painted, Written
from janus4o.synth.checks import Pixels, check_not_flat, check_picture
from janus4o.synth.sample import Sample, State
from janus4o.synth.setting import Setting


@dataclass(frozen=True, slots=True)
class Drawn:
    """A prompt and its picture, checked.

    Attributes:
        asked: the exact text sent to the writer.
        pixels: uint8 RGB [H, W, 3].
    """

    attributes: Attributes
    asked: str
    written: Written
    painted: Painted
    pixels: Pixels

    @property
    def resolution(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


async def make(sample: Sample, calls: Calls, setting: Setting) -> Row:
    """A text-to-image row."""
    drawn = await draw(sample, calls, setting)
    calls.reach(State.PAINTED)
    return Row(
        input_prompt=drawn.written.text,
        output_image=drawn.painted.name,
        output_image_resolution=drawn.resolution,
        provenance=Provenance(
            id=sample.id,
            pipeline=sample.pipeline.value,
            task=drawn.attributes.kind,
            attributes=drawn.attributes.to_json(),
            write_prompt=drawn.asked,
            writer=drawn.written.model,
            painter=drawn.painted.model,
            seed=sample.seed,
            checks=dict.fromkeys(("decodes", "size", "not_flat", "shows_prompt"), True),
        ),
    )


async def draw(sample: Sample, calls: Calls, setting: Setting, prefix: str = "") -> Drawn:
    """Draws attributes, has a prompt written and a picture painted.

    Args:
        prefix: put before the names of the stages, so that one sample can do this beside others.

    Raises:
        Rejected, TeacherRefused, CallFailed
    """
    shares = setting.text_to_image
    drawn = attributes.draw(
        sample.rng(f"{prefix}attributes"), setting.taxonomy, shares, setting.max_categories
    )
    setting.inspector.allow(drawn)
    asked = prompts.prompt_first(drawn)
    written = await calls.write(f"{prefix}write", asked)
    calls.reach(State.WRITTEN)
    painted = await calls.paint(f"{prefix}paint", written.text)
    pixels = check_picture(painted.picture.data, setting.size)
    check_not_flat(pixels)
    setting.inspector.check_caption(written.text, pixels)
    return Drawn(drawn, asked, written, painted, pixels)
