"""What every sample of a run is made under."""

from __future__ import annotations

from dataclasses import dataclass

from janus4o.errors import RecipeError
from janus4o.exchange import Painter
from janus4o.recipe import Recipe, TextToImage
from janus4o.sketch.edit import EditTask
from janus4o.sketch.wanted import World
from janus4o.synth import prompts, taxonomy, vocabulary
from janus4o.synth.checks import Inspector
from janus4o.synth.taxonomy import Taxonomy

NO_TOOL = {
    "from_line_art": "there is no tool yet that makes line art of a picture of the open world",
    "from_condition_map": "there is no tool yet that makes pose, depth or segmentation maps",
}
"""Editing tasks of the open world that cannot be done, and why."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What does not change from sample to sample.

    Attributes:
        text_to_image: shares of what prompts ask for.
        world: of the sketch; None is the open world, of which nobody can tell exactly what a
            picture shows or how large it must be.
        tasks: relative share of each editing task.
        max_categories: the most categories a prompt may ask for.
        size: (width, height) in pixels asked for.
        descriptive: instructions take the paper's form, in which the task is optional.
    """

    world: World | None
    taxonomy: Taxonomy
    text_to_image: TextToImage
    tasks: dict[str, float]
    max_categories: int
    size: tuple[int, int]
    inspector: Inspector
    descriptive: bool = False

    @property
    def exact_size(self) -> tuple[int, int] | None:
        """The size pictures must have; None where the painter may choose."""
        return None if self.world is None else self.size


def setting_of(recipe: Recipe, painter: Painter, inspector: Inspector) -> Setting:
    """What a recipe means for this painter.

    Raises:
        RecipeError: an editing task is not one of the 14 or has no exact operation, or all shares
            are zero.
    """
    name = recipe.synthesis.world
    world = None if name == "open" else World(name)
    editing = recipe.synthesis.editing
    for task, share in editing.tasks.items():
        if task not in prompts.TASK_MEANINGS:
            known = ", ".join(prompts.TASK_MEANINGS)
            raise RecipeError(f"synthesis.editing.tasks: unknown task {task!r}", f"known: {known}")
        if share < 0:
            raise RecipeError(f"synthesis.editing.tasks.{task} = {share}", "shares are 0 or more")
        reason = NO_TOOL.get(task, "") if world is None else EditTask(task).refused
        if share and reason:
            raise RecipeError(f"synthesis.editing.tasks: {task}: {reason}", "remove this task")
    if world is not None and editing.instruction == "descriptive":
        raise RecipeError(
            "synthesis.editing.instruction: the offline teacher writes imperative instructions only",
            "take `imperative`, or the open world with teachers behind an API",
        )
    if editing.count and not sum(editing.tasks.values()) > 0:
        raise RecipeError("synthesis.editing.tasks: all shares are zero", "name a task to ask for")
    return Setting(
        world,
        vocabulary.read(recipe.synthesis.vocabulary) if world is None else taxonomy.of_world(world),
        recipe.synthesis.text_to_image,
        {task: share for task, share in sorted(editing.tasks.items()) if share > 0},
        min(painter.max_categories, recipe.teachers.max_categories or painter.max_categories),
        recipe.teachers.size,
        inspector,
        editing.instruction == "descriptive",
    )
