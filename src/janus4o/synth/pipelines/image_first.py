"""Image first: a picture that is there → the writer's sentence about it → the painter's picture.

The paper leaves open whether the pair is the sentence with the picture it describes or with one
painted anew: `keep` says which, and every row says which it is.
"""

from __future__ import annotations

import numpy as np

from janus4o.errors import DataError, ImageError, Refused
from janus4o.images import MEDIA_TYPES, kind_of
from janus4o.records import Provenance, Row
from janus4o.synth import pictures, writing
from janus4o.synth.calls import Calls
from janus4o.synth.checks import check_not_flat, check_picture
from janus4o.synth.forms import SENTENCE
from janus4o.synth.sample import Rejected, Sample, State
from janus4o.synth.setting import Setting

TASK = "describe"


async def make(sample: Sample, calls: Calls, setting: Setting) -> tuple[Row, ...]:
    """A text-to-image row, or with `keep: both` two: painted anew, and the original.

    Raises:
        Rejected, TeacherRefused, CallFailed
        Refused: there is no further picture.
    """
    assert setting.described is not None
    if sample.index >= len(setting.described):
        raise Refused(
            f"all {len(setting.described)} pictures to be described are used",
            "ask for fewer rows of synthesis.image_first, or give more pictures",
        )
    entry = setting.described[sample.index]
    try:
        picture, image = pictures.load(entry.read())
    except (ImageError, DataError) as error:
        raise Rejected(f"original: {entry.name}: {error.message}") from None
    original = np.asarray(image, np.uint8)
    check_not_flat(original)
    asked = setting.prompts.fill("image_first")
    written = await writing.write(calls, setting, "write", asked, (picture,), SENTENCE)
    calls.reach(State.WRITTEN)
    keep = setting.image_first.keep
    attributes = {"picture": entry.name, "keep": keep}

    def row(name: str, size: tuple[int, int], shows: str, painter: str, *checks: str) -> Row:
        return Row(
            input_prompt=written.text,
            output_image=name,
            output_image_resolution=size,
            provenance=Provenance(
                id=sample.id,
                pipeline=sample.pipeline.value,
                task=TASK,
                attributes={**attributes, "shows": shows},
                write_prompt=asked,
                writer=written.model,
                painter=painter,
                seed=sample.seed,
                checks=dict.fromkeys(("decodes", "not_flat", *checks), True),
                templates=setting.prompts.stamps("image_first"),
            ),
        )

    rows = []
    if keep != "original":
        painted = await calls.paint("paint", written.text)
        calls.reach(State.PAINTED)
        pixels = check_picture(painted.picture.data, setting.exact_size)
        check_not_flat(pixels)
        setting.inspector.check_caption(written.text, pixels)
        size = (pixels.shape[1], pixels.shape[0])
        rows.append(
            row(painted.name, size, "regenerated", painted.model, "size", "shows_prompt")
        )
    if keep != "regenerated":
        rows.append(row(calls.keep(picture.data), image.size, "original", ""))
    assert picture.media_type == MEDIA_TYPES[kind_of(picture.data)]
    return tuple(rows)
