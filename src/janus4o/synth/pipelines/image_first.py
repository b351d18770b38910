"""Image first: a picture that is there → the writer's sentence about it → the painter's picture.

The paper leaves open whether the pair is the sentence with the picture it describes or with one
painted anew: `keep` says which, and every row says which it is.
"""

from __future__ import annotations

from typing import Any

from janus4o.errors import Refused
from janus4o.records import Provenance, Row
from janus4o.synth import writing
from janus4o.synth.calls import Calls
from janus4o.synth.checks import check_original
from janus4o.synth.forms import SENTENCE
from janus4o.synth.pipelines import painting, prompt_first
from janus4o.synth.sample import Sample, State
from janus4o.synth.setting import Setting

TASK = "describe"


async def make(sample: Sample, calls: Calls, setting: Setting) -> Row:
    """A text-to-image row. With `keep: both` samples of even number are painted anew, and the next
    one keeps the original of the same picture.

    Raises:
        Rejected, TeacherRefused, CallFailed
        Refused: there is no further picture.
    """
    both = setting.image_first.keep == "both"
    number = sample.index // 2 if both else sample.index
    regenerates = sample.index % 2 == 0 if both else setting.image_first.keep == "regenerated"
    found = setting.described or ()
    if number >= len(found):
        raise Refused(
            f"all {len(found)} pictures to be described are used",
            "see `janus4o status` for those that came to nothing; then ask for fewer rows of "
            "synthesis.image_first, or give more pictures",
        )
    entry = found[number]
    picture, pixels = check_original(entry)
    asked = setting.prompts.fill("image_first")
    written = await writing.write(calls, setting, "write", asked, (picture,), SENTENCE)
    calls.reach(State.WRITTEN)
    passed: tuple[str, ...] = ("decodes", "not_flat")
    told: dict[str, Any] = {"checks": dict.fromkeys(passed, True)}
    prompt, stamps = written.text, setting.prompts.stamps("image_first")
    if regenerates:
        passed = (*passed, "size", "shows_prompt")
        look = prompt_first.looker(setting)
        kept = await painting.paint(calls, setting, prompt, look, passed)
        prompt, name, painter = kept.prompt, kept.painted.name, kept.painted.model
        pixels, told, stamps = kept.pixels, kept.told, {**stamps, **kept.stamps}
    else:
        name, painter = calls.keep(picture.data), ""
    return Row(
        input_prompt=prompt,
        output_image=name,
        output_image_resolution=(pixels.shape[1], pixels.shape[0]),
        provenance=Provenance(
            id=sample.id,
            pipeline=sample.pipeline.value,
            task=TASK,
            attributes={
                "picture": entry.name,
                "shows": "regenerated" if regenerates else "original",
            },
            write_prompt=asked,
            writer=written.model,
            painter=painter,
            seed=sample.seed,
            templates=stamps,
            **told,
        ),
    )
