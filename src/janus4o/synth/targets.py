"""What a recipe asks for in the long run: the law its attributes are drawn from.

Exact, and before anything is left out: combinations kept for the exam, duplicates and refused or
rejected samples make the accepted rows differ from it a little. `report` shows both side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from janus4o.synth import categories
from janus4o.synth.attributes import REPEATS, largest_count
from janus4o.synth.sample import in_turns
from janus4o.synth.setting import Setting
from janus4o.synth.taxonomy import values

LEFT_OPEN = "left open"
"""The value of an attribute that is not asked for."""

Law = dict[str, float]
"""Value → probability; they add up to 1."""


def targets(setting: Setting) -> dict[str, Law]:
    """Attribute → law.

    Of text-to-image prompts: `kind`, `categories` (distinct ones), `objects` (instances),
    `background`, `style`, `lighting`, `camera`, `composition`; of each category in them: `category`,
    `colour`; of edits: `task`, `turn`; of documents: `document`, their type where it is planned; of
    all rows: `pipeline`. An attribute this world has no values for is left out.
    """
    shares, taxonomy = setting.text_to_image, setting.taxonomy
    largest = largest_count(taxonomy, setting.max_categories)
    several = categories.probabilities(shares.category_decay, largest)
    number = {k: float(p) for k, p in enumerate(several, 1)}
    one, two = number[1], number.get(2, 0.0)
    repeated, colour, composition = shares.repeated, shares.colour, shares.composition
    relations = values(taxonomy.composition)
    if not relations:
        composition = 0.0
    objects = {1: one * (1 - repeated)}
    for k, p in number.items():
        if k > 1:
            objects[k] = objects.get(k, 0.0) + p
    for k in REPEATS:
        objects[k] = objects.get(k, 0.0) + one * repeated / len(REPEATS)
    names = values(taxonomy.objects)
    laws = {
        "kind": {
            "single_object": one * (1 - repeated) * (1 - colour),
            "colors": one * (1 - repeated) * colour,
            "counting": one * repeated,
            "two_object": two * (1 - composition) * (1 - colour**2),
            "color_attr": two * (1 - composition) * colour**2,
            "position": two * composition,
            "many_objects": max(0.0, 1 - one - two),
        },
        "categories": {str(k): p for k, p in number.items()},
        "objects": {str(k): objects[k] for k in sorted(objects)},
        "category": {name: 1 / len(names) for name in names},
        "colour": _maybe(colour, taxonomy.colours),
        "composition": _maybe(two * composition, relations),
        **{
            dimension: _maybe(shares.background, values(getattr(taxonomy, dimension)))
            for dimension in ("background", "style", "lighting", "camera", "layout")
        },
    }
    laws["task"] = _law(setting.tasks)
    if setting.document.category == "planned" and setting.document.count:
        laws["document"] = _law(setting.document.types)
    edits = setting.editing.count
    turns = enumerate(in_turns(setting.editing), 1)
    laws["turn"] = _law({str(turn): count for turn, count in turns})
    laws["pipeline"] = _law(
        {
            "prompt_first": setting.text_to_image.count,
            "image_first": setting.image_first.count,
            "document": setting.document.count,
            "editing": edits,
        }
    )
    return {
        name: {value: p for value, p in law.items() if p > 0}
        for name, law in laws.items()
        if len(law) > 1 or (name == "task" and law)
    }


def _law(shares: Mapping[str, float]) -> Law:
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()} if total else {}


def _maybe(share: float, choices: Sequence[str]) -> Law:
    """Asked for with probability `share`, each choice as likely as the others."""
    if not choices:
        return {}
    return {**{choice: share / len(choices) for choice in choices}, LEFT_OPEN: 1 - share}
