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


def hire(recipe: Recipe, asking: bool = True) -> Staff:
    """The teachers of a recipe.

    Args:
        asking: False where they will only be reckoned with; no key is needed then.

    Raises:
        Refused: a teacher's key or package is not there, or its model has no such size.
    """
    from janus4o.recipe import PainterServer, WriterServer
    from janus4o.sketch.teacher import SketchPainter, SketchWriter
    from janus4o.synth.inspection import SketchInspector

    world, hold_out = recipe.synthesis.world, recipe.synthesis.hold_out
    writer: Writer = SketchWriter(world, hold_out)
    painter: Painter = SketchPainter(world, hold_out)
    teachers = recipe.teachers
    if isinstance(teachers.writer, WriterServer):
        from janus4o.teachers.openai import OpenAIWriter

        writer = OpenAIWriter(teachers.writer, asking)
    if isinstance(teachers.painter, PainterServer):
        from janus4o.errors import RecipeError
        from janus4o.teachers.openai import OpenAIPainter

        painter = paints = OpenAIPainter(teachers.painter, asking)
        if reason := paints.refuses(teachers.size):
            width, height = teachers.size
            raise RecipeError(
                f"teachers.size: {paints.name!r} does not paint {width}×{height}", reason
            )
    return Staff(writer, painter, SketchInspector(hold_out))
