"""What a recipe would do, reckoned without asking anybody anything."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from janus4o.exchange import Painter, PaintRequest, Picture, Writer, WriteRequest
from janus4o.images import save_png
from janus4o.ledger.prices import Price, Priced, price_of
from janus4o.recipe import Local, Pictures, Recipe, Server
from janus4o.synth import attributes, categories, prompts
from janus4o.synth.checks import Anything, Inspector
from janus4o.synth.judging import request_of
from janus4o.synth.pipelines import editing, prompt_first
from janus4o.synth.runner import wanted_rows
from janus4o.synth.sample import TURNS, Pipeline, Rejected, attempts, name_samples
from janus4o.synth.setting import Setting, setting_of

DRAWS = 2000
"""Samples drawn to estimate shares; they are the run's own first samples."""
BYTES_PER_PIXEL = 0.15
"""Of a sketch PNG: about 2.4 kB at 128×128."""
SERVED_BYTES_PER_PIXEL = 1.5
"""Of a photographic PNG: about 1.5 MB at 1024×1024."""
WRITE_SECONDS, PAINT_SECONDS = 5.0, 40.0
"""What a call to a server, or to a Janus here, is reckoned to take; image models need tens of seconds."""
BATCH_SECONDS = 24 * 3600.0
"""The most a batch may take; many take far less."""
SKETCH_SECONDS = 0.003
"""What a call to the offline teachers takes on one core."""


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
        write_calls, paint_calls, judge_calls: at least; refused and rejected samples are made up for.
        cost_usd: at most, for those calls; `likely_usd` what they will cost as far as one can
            tell. None where a price is unknown; `prices_wanted` are then the lines of the recipe
            that say it.
        seconds: roughly, from the latency a server usually has and the recipe's limits.
        budget_usd: the recipe's.
        pictures: kept; `disk_bytes` is what they take, roughly.
        pictures_wanted: keys of the recipe whose pictures are not there, or are not fetched yet.
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
    judge_calls: int
    cost_usd: float | None
    likely_usd: float | None
    prices_wanted: list[str]
    seconds: float
    budget_usd: float | None
    pictures: int
    disk_bytes: int
    pictures_wanted: list[str]

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def plan(
    recipe: Recipe,
    writer: Writer,
    painter: Painter,
    inspector: Inspector | None = None,
    judge: Writer | None = None,
) -> Plan:
    """Reckons a recipe; makes no call.

    Raises:
        RecipeError: the recipe asks for an editing task that does not exist.
    """
    bare, pictures_wanted = _without_pictures(recipe)
    setting = setting_of(bare, painter, inspector or Anything())
    setting = replace(setting, editing=recipe.synthesis.editing)
    names, wanted = name_samples(bare), wanted_rows(recipe)
    kinds: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    prompts_of, edits_of = (
        [names.sample(one, slot * attempts(recipe, one)) for slot in range(DRAWS)]
        for one in (Pipeline.PROMPT_FIRST, Pipeline.EDITING)
    )
    for sample in prompts_of:
        drawn = prompt_first.asked_attributes(sample, setting)
        try:
            setting.inspector.allow(drawn)
        except Rejected:
            continue
        kinds[drawn.kind] += 1
    if setting.tasks:
        tasks.update(editing.asked_task(sample, setting).name for sample in edits_of)
    decay = recipe.synthesis.text_to_image.category_decay
    largest = attributes.largest_count(setting.taxonomy, setting.max_categories)
    writes, paints = (sum(counts) for counts in zip(*_calls(setting, wanted).values(), strict=True))
    width, height = setting.size
    most, likely = cost(recipe, setting, writer, painter, judge)
    judged = sum(_judged(setting, wanted)) if judge is not None else 0
    served = isinstance(painter, Priced)
    return Plan(
        rows={pipeline.value: count for pipeline, count in wanted.items()},
        kinds=_shares(kinds),
        tasks=_shares(tasks),
        mean_categories=categories.mean(decay, largest),
        full_mean_categories=categories.mean(decay),
        max_categories=largest,
        mass_cut=categories.mass_cut(decay, largest),
        kept_out=1 - kinds.total() / DRAWS,
        write_calls=writes,
        paint_calls=paints,
        judge_calls=judged,
        cost_usd=most,
        likely_usd=likely,
        prices_wanted=[
            line
            for role, teacher in (("writer", writer), ("painter", painter), ("judge", judge))
            if teacher is not None and (line := _price_line(role, teacher, setting))
        ],
        seconds=_seconds(recipe, writes, paints, judged),
        budget_usd=recipe.synthesis.budget_usd,
        pictures=paints,
        disk_bytes=round(
            paints * width * height * (SERVED_BYTES_PER_PIXEL if served else BYTES_PER_PIXEL)
        ),
        pictures_wanted=pictures_wanted,
    )


def _without_pictures(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """A recipe of the same prompts that needs none of the pictures that are not there, and the keys
    that name those.
    """
    synthesis, wanted = recipe.synthesis, list[str]()
    described, edited = synthesis.image_first, synthesis.editing
    if described.count and not _is_there(described.pictures):
        wanted.append("synthesis.image_first.pictures")
        described = described.model_copy(update={"count": 0})
    if edited.count and edited.sources == "pictures" and not _is_there(edited.pictures):
        wanted.append("synthesis.editing.pictures")
        edited = edited.model_copy(update={"sources": "drawn", "pictures": None})
    bare = synthesis.model_copy(update={"image_first": described, "editing": edited})
    return recipe.model_copy(update={"synthesis": bare}), wanted


def _is_there(pictures: Pictures | None) -> bool:
    """Whether they can be looked at; the hub is not asked, and what names none is left to the check."""
    return pictures is None or (pictures.format != "hub" and Path(pictures.path).exists())


def _shares(counts: Counter[str]) -> dict[str, float]:
    return {name: count / counts.total() for name, count in counts.most_common()}


def cost(
    recipe: Recipe,
    setting: Setting,
    writer: Writer,
    painter: Painter,
    judge: Writer | None = None,
) -> tuple[float | None, float | None]:
    """US dollars: at most, and likely; refused and rejected samples, made up for, come on top."""
    most = likely = 0.0
    calls, requests = _calls(setting, wanted_rows(recipe)), _requests(setting)
    asked: list[tuple[int, Writer | Painter, WriteRequest | PaintRequest]] = []
    if judge is not None:
        source = Picture(save_png(Image.new("RGB", setting.size)))
        for count, shown in zip(_judged(setting, wanted_rows(recipe)), (1, 2), strict=True):
            question = request_of(setting.prompts, "some words " * 40, (source,) * shown)
            asked.append((count, judge, question))
    for count, teacher, request in (
        *asked,
        (calls["text"][0], writer, requests[0]),
        (calls["picture"][0], writer, requests[1]),
        (calls["text"][1], painter, requests[2]),
        (calls["picture"][1], painter, requests[3]),
    ):
        price = _price(teacher, request)
        if price is None:
            return None, None
        most += count * price.call_usd
        likely += count * price.low_usd
    return most, likely


def _calls(setting: Setting, wanted: Mapping[Pipeline, int]) -> dict[str, tuple[int, int]]:
    """Calls to write and to paint, at least: those about text alone, and those with pictures."""
    prompts, edits = wanted[Pipeline.PROMPT_FIRST], wanted[Pipeline.EDITING]
    described, documents = wanted.get(Pipeline.IMAGE_FIRST, 0), wanted.get(Pipeline.DOCUMENT, 0)
    kept = {"regenerated": 0, "original": described, "both": described // 2}
    drawn = edits if setting.editing.sources == "drawn" else 0
    seconds = round(drawn * setting.editing.two_sources)
    later = sum(wanted.get(turn, 0) for turn in TURNS[1:])
    return {
        "text": (
            prompts + 2 * documents + drawn + seconds,
            prompts + documents + described - kept[setting.image_first.keep] + drawn + seconds,
        ),
        "picture": (described + edits + later, edits + later),
    }


def _judged(setting: Setting, wanted: Mapping[Pipeline, int]) -> tuple[int, int]:
    """Calls to judge, at least: pictures, and edits."""
    described, shown = wanted.get(Pipeline.IMAGE_FIRST, 0), setting.image_first.keep
    kept = {"regenerated": 0, "original": described, "both": described // 2}[shown]
    edits = sum(wanted.get(turn, 0) for turn in TURNS)
    return sum(wanted.values()) - edits - kept, edits


def _requests(setting: Setting) -> tuple[WriteRequest, WriteRequest, PaintRequest, PaintRequest]:
    """Requests as long as they come: a prompt, an instruction, a picture, an edit."""
    things = tuple(attributes.Thing("a long name of it", 4, "light blue") for _ in range(5))
    texts = setting.prompts
    asked = max(
        texts.prompt_first(attributes.Attributes(things, *["some long words"] * 5)),
        texts.templates["document_template"].text if setting.document.count else "",
        key=len,
    )
    instructed = max((texts.editing(task) for task in prompts.TASK_MEANINGS), key=len)
    source = Picture(save_png(Image.new("RGB", setting.size)))
    written = "some words of a prompt " * 20
    return (
        WriteRequest(asked),
        WriteRequest(instructed, (source,)),
        PaintRequest(written, (), setting.size),
        PaintRequest(written, (source,), setting.size),
    )


def _price(teacher: Writer | Painter, request: WriteRequest | PaintRequest) -> Price | None:
    return teacher.price(request) if isinstance(teacher, Priced) else price_of(teacher.name)


def _price_line(role: str, teacher: Writer | Painter, setting: Setting) -> str:
    """The line of the recipe that says what a teacher costs; empty where that is known."""
    writes, _, paints, _ = _requests(setting)
    if _price(teacher, paints if role == "painter" else writes) is not None:
        return ""
    if role != "painter":
        return f"teachers.{role}.price: {{input: ?, output: ?}}"
    return f"teachers.{role}.price: {{input: ?, image_input: ?, output: ?, picture: {{any: ?}}}}"


def _seconds(recipe: Recipe, writes: int, paints: int, judged: int) -> float:
    """At the recipe's concurrency, or as fast as its limits a minute allow if that is slower."""
    busy, bound = 0.0, 0.0
    for server, each, calls in (
        (recipe.teachers.writer, WRITE_SECONDS, writes),
        (recipe.teachers.painter, PAINT_SECONDS, paints),
        (recipe.teachers.judge, WRITE_SECONDS, judged),
    ):
        if not isinstance(server, Server):  # computed here, one by one, whatever the concurrency
            bound += calls * (each if isinstance(server, Local) else SKETCH_SECONDS)
            continue
        if server.batch:  # edits are asked one by one, but at the same time as others wait
            busy += math.ceil(calls / recipe.synthesis.concurrency) * BATCH_SECONDS
            continue
        busy += calls * each / recipe.synthesis.concurrency
        allowed = [server.limits.requests]
        if each == PAINT_SECONDS:
            allowed.append(server.limits.images)
        bound = max([bound, *(60.0 * calls / limit for limit in allowed if limit)])
    return max(busy, bound)
