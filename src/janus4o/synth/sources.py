"""What the source of an edit shows: a scene its task can be done to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from janus4o.sketch.captions import VIEW_PREFIXES
from janus4o.sketch.edit import LEARNABLE_KINDS, EditTask
from janus4o.sketch.edit_sampling import KINDS, sample_source
from janus4o.sketch.scene import Lighting, Shot, Style
from janus4o.sketch.teacher import source_view
from janus4o.sketch.view import View
from janus4o.sketch.wanted import Wanted, World, wanted_of
from janus4o.synth.attributes import Attributes, Thing


@dataclass(frozen=True, slots=True)
class Source:
    """What a source shows, and how.

    Attributes:
        form: words put before its caption where it is not a plain picture ("line art of").
    """

    attributes: Attributes
    form: str = ""


def draw_source(rng: np.random.Generator, task: str, world: World) -> Source:
    """A source for one editing task."""
    kinds = KINDS[EditTask(task)]
    if world is World.LEARNABLE:
        kinds = tuple(kind for kind in kinds if kind in LEARNABLE_KINDS) or kinds
    scene = sample_source(kinds[int(rng.integers(len(kinds)))], rng, world)
    view = source_view(EditTask(task))
    return Source(
        _attributes_of(wanted_of(scene)), "" if view is View.PLAIN else VIEW_PREFIXES[view]
    )


def _attributes_of(wanted: Wanted) -> Attributes:
    """What is wanted, in the words of the templates; what is plain anyway is not asked for."""
    return Attributes(
        tuple(
            Thing(group.shape.value, group.count, group.colour.value if group.colour else None)
            for group in wanted.groups
        ),
        background=wanted.background.value if wanted.background else None,
        style=wanted.style.value if wanted.style not in (None, Style.FLAT) else None,
        lighting=wanted.lighting.value if wanted.lighting not in (None, Lighting.NEUTRAL) else None,
        camera=wanted.shot.value if wanted.shot not in (None, Shot.MEDIUM) else None,
        composition=(wanted.relation or wanted.slot or None),
    )
