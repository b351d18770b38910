"""What can be asked for: the paper's six dimensions with the values a world offers.

Here stand those of the sketch world; those of the open world come from `vocabulary.yaml`. The sub-dimensions are the paper's (its leaf vocabulary is not public). A sub-dimension without
values here is one the sketch world cannot draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from janus4o.sketch.scene import Background, Lighting, Shot, Style
from janus4o.sketch.wanted import Relation, World

Values = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The six dimensions: sub-dimension → values, all in the words the templates use.

    Attributes:
        objects: categories.
        colours: an attribute of each object; the paper keeps none apart.
        composition: where the first of two objects stands.
        layout: how the whole picture is composed, where that is asked for instead.
        people: the objects that are people; they are asked for one at a time, in no colour.
    """

    objects: Mapping[str, Values]
    colours: Values
    background: Mapping[str, Values]
    style: Mapping[str, Values]
    lighting: Mapping[str, Values]
    camera: Mapping[str, Values]
    composition: Mapping[str, Values]
    layout: Mapping[str, Values] = field(default_factory=dict)
    people: frozenset[str] = frozenset()


def values(dimension: Mapping[str, Values]) -> Values:
    """All values of a dimension, in order."""
    return tuple(value for leaves in dimension.values() for value in leaves)


def of_world(world: World) -> Taxonomy:
    """What the sketch world offers. `learnable` is its named subset for the tiny model."""
    rich = world is World.RICH
    scenery = {
        "abstract & surreal landscapes": (
            Background.GRAY, Background.PINK, Background.TEAL, Background.SUNSET,
            Background.STRIPES, Background.CHECKS,
        ),
        "urban & architectural scenes": (Background.SKYLINE,),
        "interior spaces": (Background.ROOM,),
    }  # fmt: skip
    return Taxonomy(
        objects={"sketch shapes": tuple(shape.value for shape in world.shapes)},
        colours=tuple(colour.value for colour in world.colours),
        background={
            kind: tuple(b.value for b in leaves if b in world.backgrounds)
            for kind, leaves in scenery.items()
        },
        style={
            "cultural & historical aesthetics": (),
            "art movements & periods": (Style.HATCHED.value,) if rich else (),
            "digital & graphic art styles": (
                (Style.FLAT.value, Style.OUTLINE.value, Style.STICKER.value) if rich else ()
            ),
        },
        lighting={
            "light colour temperature": (
                (Lighting.NEUTRAL.value, Lighting.WARM.value, Lighting.COOL.value) if rich else ()
            ),
            "direction": (),
            "intensity & quality": (Lighting.DIM.value,) if rich else (),
        },
        camera={
            "vertical angle": (),
            "horizontal angle": (),
            "shot distance & framing": (Shot.MEDIUM.value, Shot.LONG.value) if rich else (),
        },
        composition={
            "basic division & layout": tuple(relation.value for relation in Relation),
            "balance & symmetry": (),
            "depth & layering": (),
        },
    )
