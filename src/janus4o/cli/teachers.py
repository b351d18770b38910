"""Who is asked, and who inspects what they made, as a recipe says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from janus4o.exchange import Painter, Writer
    from janus4o.recipe import Recipe
    from janus4o.synth.checks import Inspector


@dataclass(frozen=True, slots=True)
class Staff:
    writer: Writer
    painter: Painter
    inspector: Inspector


def hire(recipe: Recipe) -> Staff:
    """The teachers of a recipe; `sketch` is the only one so far."""
    from janus4o.sketch.teacher import SketchPainter, SketchWriter
    from janus4o.synth.inspection import SketchInspector

    world, hold_out = recipe.synthesis.world, recipe.synthesis.hold_out
    return Staff(
        SketchWriter(world, hold_out), SketchPainter(world, hold_out), SketchInspector(hold_out)
    )
