"""What every sample of a run is made under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from janus4o.errors import RecipeError
from janus4o.exchange import Painter
from janus4o.recipe import Document, Editing, ImageFirst, Recipe, TextToImage
from janus4o.sketch.edit import EditTask
from janus4o.sketch.wanted import World
from janus4o.synth import conditions, documents, pictures, prompts, taxonomy, vocabulary
from janus4o.synth.attributes import Attributes
from janus4o.synth.checks import Inspector
from janus4o.synth.documents import DocumentWords
from janus4o.synth.pictures import Pictures
from janus4o.synth.prompts import Prompts
from janus4o.synth.sample import ATTEMPTS, Rejected, limits_of
from janus4o.synth.schedule import Plans, Schedule
from janus4o.synth.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class Made:
    """A picture of this run: the id of its sample and its name."""

    id: str
    picture: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What does not change from sample to sample.

    Attributes:
        text_to_image, image_first, document, editing: of the recipe.
        world: of the sketch; None is the open world, of which nobody can tell exactly what a
            picture shows or how large it must be.
        tasks: relative share of each editing task.
        max_categories: the most categories a prompt may ask for.
        size: (width, height) in pixels asked for.
        described: pictures the image-first pipeline writes about.
        edited: pictures that are edited; None where sources are drawn, or are rows of the run.
        schedule: what each row is to be; None where every sample draws that for itself.
        rows: this run's own pictures that are edited, once they are all there.
        scores: least scores of a judge with which a picture passes; None where nobody judges.
        tries: pictures painted from one prompt until one passes.
        rewrite: whether a prompt may be written anew for a good picture of something else.
    """

    world: World | None
    taxonomy: Taxonomy
    text_to_image: TextToImage
    image_first: ImageFirst
    document: Document
    editing: Editing
    tasks: Mapping[str, float]
    max_categories: int
    size: tuple[int, int]
    inspector: Inspector
    prompts: Prompts
    documents: DocumentWords
    described: Pictures | None = None
    edited: Pictures | None = None
    schedule: Schedule | None = None
    rows: tuple[Made, ...] = ()
    scores: Mapping[str, float] | None = None
    tries: int = 1
    rewrite: bool = False

    @property
    def exact_size(self) -> tuple[int, int] | None:
        """The size pictures must have; None where the painter may choose."""
        return None if self.world is None else self.size

    @property
    def descriptive(self) -> bool:
        """Instructions take the paper's form, in which the task is optional."""
        return self.editing.instruction == "descriptive"

    def stamps(self, *names: str) -> dict[str, str]:
        """Versions and hashes of templates, for provenance.

        Rows of the sketch world say nothing of the shipped ones: its writer reads one line of them.
        """
        told = self.world is None or self.prompts.own
        return self.prompts.stamps(*names) if told else {}


def setting_of(recipe: Recipe, painter: Painter, inspector: Inspector) -> Setting:
    """What a recipe means for this painter.

    Raises:
        RecipeError: an editing task is not one of the 14 or has no exact operation or no tool, all
            shares are zero, or files that the recipe names cannot be used.
    """
    synthesis = recipe.synthesis
    world = None if synthesis.world == "open" else World(synthesis.world)
    editing, described = synthesis.editing, synthesis.image_first.pictures
    _check_tasks(editing, world)
    _check_editing(recipe, world)
    if synthesis.image_first.count and described is None:
        raise RecipeError(
            "synthesis.image_first.pictures is missing", "say which pictures are to be described"
        )
    _check_types(synthesis.document)
    words = vocabulary.read(synthesis.vocabulary) if world is None else taxonomy.of_world(world)
    tasks = _positive(editing.tasks)
    most = min(painter.max_categories, recipe.teachers.max_categories or painter.max_categories)
    pages = documents.read(synthesis.document.vocabulary)

    def allowed(attributes: Attributes) -> bool:
        try:
            inspector.allow(attributes)
        except Rejected:
            return False
        return True

    schedule = Schedule(
        recipe.seed,
        ATTEMPTS,
        lambda rng: Plans(words, synthesis.text_to_image, most, allowed, rng),
        _positive(synthesis.document.types),
        pages.themes,
        pages.fonts,
        tasks,
        editing,
        tools=world is None,
    )
    return Setting(
        world,
        words,
        synthesis.text_to_image,
        synthesis.image_first,
        synthesis.document,
        editing,
        tasks,
        most,
        recipe.teachers.size,
        inspector,
        prompts.read(synthesis.prompts),
        pages,
        pictures.open_pictures(described, recipe.seed)
        if synthesis.image_first.count and described is not None
        else None,
        pictures.open_pictures(editing.pictures, recipe.seed)
        if editing.count and editing.sources == "pictures" and editing.pictures is not None
        else None,
        schedule if synthesis.planned else None,
        scores=limits_of(recipe) if recipe.teachers.judge is not None else None,
        tries=recipe.checks.tries,
        rewrite=recipe.checks.rewrite,
    )


def _positive(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: share for name, share in sorted(shares.items()) if share > 0}


def _check_types(document: Document) -> None:
    known = documents.CATEGORIES
    for kind in document.types:
        if kind not in known:
            raise RecipeError(
                f"synthesis.document.types: unknown type {kind!r}", f"known: {', '.join(known)}"
            )
    if document.count and not _positive(document.types):
        raise RecipeError("synthesis.document.types: all shares are zero", "name a type")


def _check_tasks(editing: Editing, world: World | None) -> None:
    for task, share in editing.tasks.items():
        if task not in prompts.TASK_MEANINGS:
            known = ", ".join(prompts.TASK_MEANINGS)
            raise RecipeError(f"synthesis.editing.tasks: unknown task {task!r}", f"known: {known}")
        if share < 0:
            raise RecipeError(f"synthesis.editing.tasks.{task} = {share}", "shares are 0 or more")
        if share and world is not None and EditTask(task).refused:
            reason = EditTask(task).refused
            raise RecipeError(f"synthesis.editing.tasks: {task}: {reason}", "remove this task")
        if share and world is None and task in conditions.KINDS and editing.turns > 1:
            raise RecipeError(
                f"synthesis.editing.turns: {task} starts from a picture made for it, not from an edit",
                "take turns: 1, or remove this task",
            )
        if share and world is None and task in conditions.KINDS:
            conditions.choices(task, editing.conditions)
    if editing.count and not sum(editing.tasks.values()) > 0:
        raise RecipeError("synthesis.editing.tasks: all shares are zero", "name a task to ask for")


def _check_editing(recipe: Recipe, world: World | None) -> None:
    editing, key = recipe.synthesis.editing, "synthesis.editing"
    if world is not None:
        if editing.instruction == "descriptive":
            raise RecipeError(
                f"{key}.instruction: the offline teacher writes imperative instructions only",
                "take `imperative`, or the open world with teachers behind an API",
            )
        if editing.two_sources:
            raise RecipeError(
                f"{key}.two_sources: the offline teacher edits one picture at a time",
                "take 0, or the open world with teachers behind an API",
            )
        shown = [task for task, share in editing.tasks.items() if share and task in VIEWED]
        if shown and (editing.sources != "drawn" or editing.turns > 1):
            raise RecipeError(
                f"{key}: {shown[0]} starts from a picture drawn for it in the sketch world",
                "take `sources: drawn` and one turn, or remove this task",
            )
    if editing.sources == "pictures" and editing.pictures is None:
        raise RecipeError(f"{key}.pictures is missing", "say which pictures are to be edited")
    if editing.sources == "rows" and editing.count and not _text_rows(recipe):
        raise RecipeError(
            f"{key}.sources: rows, but no text-to-image row is asked for",
            "ask for some, or take `drawn` or `pictures`",
        )


VIEWED = frozenset({"detail_enhancement", "image_extension", "from_line_art", "from_condition_map"})
"""Tasks whose sources the sketch world shows in a view of their own."""


def _text_rows(recipe: Recipe) -> int:
    synthesis = recipe.synthesis
    return synthesis.text_to_image.count + synthesis.image_first.count + synthesis.document.count
