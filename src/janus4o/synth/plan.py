"""What a recipe would do, reckoned without asking anybody anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from janus4o.exchange import Painter, Writer
from janus4o.ledger.prices import Price, price_of
from janus4o.recipe import Recipe
from janus4o.synth import attributes, categories
from janus4o.synth.checks import Anything, Inspector
from janus4o.synth.pipelines import editing
from janus4o.synth.runner import wanted_rows
from janus4o.synth.sample import Pipeline, Rejected, name_samples
from janus4o.synth.setting import setting_of

DRAWS = 2000
"""Samples drawn to estimate shares; they are the run's own first samples."""
BYTES_PER_PIXEL = 0.15
"""Of a sketch PNG: about 2.4 kB at 128×128."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe asks for, calls, costs, needs and takes.

    Attributes:
        rows: wanted, by pipeline.
        kinds: share of each kind among text-to-image prompts that may be asked for, 0–1.
        tasks: share of each editing task, 0–1.
        mean_categories: expected distinct categories a prompt, after the cut.
        full_mean_categories: the same for the law over 1..100.
        max_categories: the most the painter, the recipe and the taxonomy allow.
        mass_cut: probability of the law over 1..100 that lies above `max_categories`.
        kept_out: share of draws that are kept for the exam, 0–1; they cost no call.
        write_calls, paint_calls: at least; refused and rejected samples are made up for.
        cost_usd: at most, for those calls; None where a price is unknown.
        budget_usd: the recipe's.
        pictures: kept; `disk_bytes` is what they take, roughly.
    """

    rows: dict[str, int]
    kinds: dict[str, float]
    tasks: dict[str, float]
    mean_categories: float
    full_mean_categories: float
    max_categories: int
    mass_cut: float
    kept_out: float
    write_calls: int
    paint_calls: int
    cost_usd: float | None
    budget_usd: float | None
    pictures: int
    disk_bytes: int

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def plan(
    recipe: Recipe, writer: Writer, painter: Painter, inspector: Inspector | None = None
) -> Plan:
    """Reckons a recipe; makes no call.

    Raises:
        RecipeError: the recipe asks for an editing task that does not exist.
    """
    setting = setting_of(recipe, painter, inspector or Anything())
    names, wanted = name_samples(recipe), wanted_rows(recipe)
    kinds: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    for index in range(DRAWS):
        sample = names.sample(Pipeline.PROMPT_FIRST, index)
        drawn = attributes.draw(
            sample.rng("attributes"),
            setting.taxonomy,
            setting.text_to_image,
            setting.max_categories,
        )
        try:
            setting.inspector.allow(drawn)
        except Rejected:
            continue
        kinds[drawn.kind] += 1
    if setting.tasks:
        for index in range(DRAWS):
            tasks[editing.draw_task(names.sample(Pipeline.EDITING, index), setting)] += 1
    decay = recipe.synthesis.text_to_image.category_decay
    largest = attributes.largest_count(setting.taxonomy, setting.max_categories)
    t2i, edits = wanted[Pipeline.PROMPT_FIRST], wanted[Pipeline.EDITING]
    calls = t2i + 2 * edits
    width, height = setting.size
    return Plan(
        rows={pipeline.value: count for pipeline, count in wanted.items()},
        kinds=_shares(kinds),
        tasks=_shares(tasks),
        mean_categories=categories.mean(decay, largest),
        full_mean_categories=categories.mean(decay),
        max_categories=largest,
        mass_cut=categories.mass_cut(decay, largest),
        kept_out=1 - kinds.total() / DRAWS,
        write_calls=calls,
        paint_calls=calls,
        cost_usd=_cost([(calls, price_of(writer.name)), (calls, price_of(painter.name))]),
        budget_usd=recipe.synthesis.budget_usd,
        pictures=calls,
        disk_bytes=round(calls * width * height * BYTES_PER_PIXEL),
    )


def _shares(counts: Counter[str]) -> dict[str, float]:
    return {name: count / counts.total() for name, count in counts.most_common()}


def _cost(calls: list[tuple[int, Price | None]]) -> float | None:
    total = 0.0
    for count, price in calls:
        if price is None:
            return None
        total += count * price.call_usd
    return total
