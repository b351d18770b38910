"""Who is asked, and who inspects what they made, as a recipe says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from janus4o.cluster import Backend, RayPool

if TYPE_CHECKING:
    from janus4o.exchange import Painter, Writer
    from janus4o.generate.teacher import Model
    from janus4o.recipe import Local, PainterServer, Recipe, WriterServer
    from janus4o.synth.checks import Inspector
    from janus4o.teachers.google import GooglePainter, GoogleWriter
    from janus4o.teachers.openai import OpenAIPainter, OpenAIWriter


@dataclass(frozen=True, slots=True)
class Staff:
    writer: Writer
    painter: Painter
    inspector: Inspector
    judge: Writer | None = None
    pool: RayPool[Any, Any] | None = None
    """Where models of our own compute, if not here."""

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()


def shutdowns(recipe: Recipe) -> list[str]:
    """A line for each model of the recipe that is or soon will be switched off."""
    import datetime

    from janus4o.recipe import Server
    from janus4o.teachers.registry import warnings

    named = (recipe.teachers.writer, recipe.teachers.painter, recipe.teachers.judge)
    today = datetime.date.today()
    found = [warnings(server.model, today) for server in named if isinstance(server, Server)]
    return [line for line in found if line]


def hire(recipe: Recipe, asking: bool = True, backend: Backend = Backend.PLAIN) -> Staff:
    """The teachers of a recipe.

    Args:
        asking: False where they will only be reckoned with; no key is needed then.
        backend: where the models of our own compute.

    Raises:
        Refused: a teacher's key or package is not there.
        RecipeError: its model has no such size, or the world or a pipeline needs other teachers.
        CheckpointError: a model of this machine cannot be read.
    """
    on_ray = backend is Backend.RAY and asking and _ours(recipe)
    pool: RayPool[Any, Any] | None = None
    try:
        if on_ray:
            from janus4o.generate.teacher import answerer

            # One for all: two would wait for each other's GPUs.
            pool = RayPool(answerer, heavy=True)
        return replace(_hire(recipe, asking, pool), pool=pool)
    except BaseException:
        if pool is not None:
            pool.close()
        raise


def _ours(recipe: Recipe) -> set[Local]:
    """The models of our own that it asks."""
    from janus4o.recipe import Local

    teachers = recipe.teachers
    return {one for one in (teachers.writer, teachers.painter) if isinstance(one, Local)}


def _hire(recipe: Recipe, asking: bool, pool: RayPool[Any, Any] | None) -> Staff:
    from janus4o.errors import RecipeError
    from janus4o.recipe import Local, PainterServer, WriterServer
    from janus4o.sketch.teacher import SketchPainter, SketchWriter
    from janus4o.synth.checks import Anything
    from janus4o.synth.inspection import SketchInspector

    world, hold_out = recipe.synthesis.world, recipe.synthesis.hold_out
    teachers, is_open = recipe.teachers, recipe.synthesis.world == "open"
    if is_open and "sketch" in (teachers.writer, teachers.painter):
        raise RecipeError(
            "synthesis.world: open asks for things the offline teacher does not know",
            "name a writer and a painter behind an API, or take the world learnable or rich",
        )
    sketched = "learnable" if is_open else world
    writer: Writer = SketchWriter(sketched, hold_out)
    painter: Painter = SketchPainter(sketched, hold_out)
    if ours := _ours(recipe):
        from janus4o.generate.teacher import JanusCaptioner, JanusPainter

        _check_has_pictures(recipe)
        models = _models(ours, pool)
        if asking:
            for model in models.values():
                model.open()  # what cannot be read is said before anything is asked
        if isinstance(teachers.writer, Local):
            writer = JanusCaptioner(models[teachers.writer])
        if isinstance(teachers.painter, Local):
            painter = JanusPainter(models[teachers.painter])
    if isinstance(teachers.writer, WriterServer):
        writer = writer_of(teachers.writer, asking)
    if isinstance(teachers.painter, PainterServer):
        painter = paints = painter_of(teachers.painter, asking)
        if reason := paints.refuses(teachers.size):
            width, height = teachers.size
            raise RecipeError(
                f"teachers.size: {paints.name!r} does not paint {width}×{height}", reason
            )
    if is_open and teachers.judge == "sketch":
        raise RecipeError(
            "synthesis.world: open makes pictures that the offline judge does not know",
            "name a teachers.judge behind an API, or none",
        )
    inspector = Anything() if is_open else SketchInspector(hold_out)
    return Staff(writer, painter, inspector, judge_of(recipe, asking))


def _models(ours: Collection[Local], pool: RayPool[Any, Any] | None) -> dict[Local, Model]:
    from janus4o.generate.teacher import Loaded, OnCluster

    if pool is not None:
        return {one: OnCluster(one.model, one.device, pool) for one in ours}
    return {one: Loaded(one.model, one.device) for one in ours}


def _check_has_pictures(recipe: Recipe) -> None:
    """A Janus writes about a picture it is shown; raises RecipeError where there will be none."""
    from janus4o.errors import RecipeError
    from janus4o.recipe import Local

    synthesis = recipe.synthesis
    blind = {"text_to_image": synthesis.text_to_image.count, "document": synthesis.document.count}
    named = [f"synthesis.{name}" for name, count in blind.items() if count]
    if isinstance(recipe.teachers.writer, Local) and named:
        raise RecipeError(
            f"teachers.writer: a Janus describes pictures, and {' and '.join(named)} "
            "wants texts about none",
            "name another writer, or set the count to 0 and use image_first or editing",
        )


def writer_of(server: WriterServer, asking: bool = True) -> OpenAIWriter | GoogleWriter:
    """The writer behind a server; raises Refused where its key or package is not there."""
    if server.api == "google":
        from janus4o.teachers.google import GoogleWriter

        return GoogleWriter(server, asking)
    from janus4o.teachers.openai import OpenAIWriter

    return OpenAIWriter(server, asking)


def judge_of(recipe: Recipe, asking: bool = True) -> Writer | None:
    """Who scores pictures; None where the recipe names nobody.

    Raises:
        Refused: its key or package is not there.
    """
    from janus4o.recipe import WriterServer
    from janus4o.sketch.scorer import SketchScorer

    judge = recipe.teachers.judge
    if isinstance(judge, WriterServer):
        return writer_of(judge, asking)
    return SketchScorer() if judge else None


def painter_of(server: PainterServer, asking: bool = True) -> OpenAIPainter | GooglePainter:
    """The painter behind a server; raises Refused where its key or package is not there."""
    if server.api == "google":
        from janus4o.teachers.google import GooglePainter

        return GooglePainter(server, asking)
    from janus4o.teachers.openai import OpenAIPainter

    return OpenAIPainter(server, asking)
