"""Marks from 1 to 5 for an edit, by rules anybody can check: done, kept, drawn.

A scene has twelve aspects: what stands in each of its nine slots, the background, the lighting, and the
style and shot together. An edit asks some of them to change and all others to stay.
"""

from __future__ import annotations

from dataclasses import dataclass

from janus4o.errors import PromptError
from janus4o.sketch.detect import Detection
from janus4o.sketch.edit import Operation, apply
from janus4o.sketch.scene import Scene, Slot
from janus4o.sketch.view import View

LOWEST, HIGHEST = 1, 5
NOTHING = "nothing"
QUALITY_LIMITS = ((0.05, 5), (0.08, 4), (0.12, 3))
"""Largest error of a tile's mean colour (0–1) against the exact drawing, and the mark up to it; above
all of them the mark is 2."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Marks of one edited picture, `LOWEST` to `HIGHEST`.

    Attributes:
        instruction: 5 when every aspect that should change is as asked, 1 when none is. An object that
            came with the wrong colour or as the wrong shape counts half; what lies between is rounded
            down.
        quality: how exactly the scene found is drawn (`QUALITY_LIMITS`).
        preservation: 5, less one for each other aspect that changed; at least 1.
        reason: what was wrong, in one line; empty when nothing was.
    """

    instruction: int
    quality: int
    preservation: int
    reason: str = ""


def mark_edit(source: Scene, operation: Operation, found: Detection) -> Marks:
    """Marks of what was found in the edited picture; all 1 where it shows no scene.

    Raises:
        PromptError: the operation does not fit the source, or shows its result in another way than
            plainly.
    """
    if operation.target_view is not View.PLAIN:
        raise PromptError(f"no marks for {operation.kind!r}", "judge it with check_edit")
    before, after = _aspects(source), _aspects(apply(operation, source))
    if found.scene is None:
        return Marks(LOWEST, LOWEST, LOWEST, f"no scene: {found.reason}")
    now = _aspects(found.scene)
    if not found.scene.items or not apply(operation, source).items:
        # Without an object there is neither style nor shot to see.
        now["style and shot"] = after["style and shot"]
    asked = [name for name in after if after[name] != before[name]]
    undone = [name for name in asked if now[name] != after[name]]
    wrong = [name for name in undone if now[name] == before[name] or not _alike(now, after, name)]
    spoilt = [name for name in after if name not in asked and now[name] != after[name]]
    most = 2 * len(asked)
    points = most - len(undone) - len(wrong)
    said = [
        f"{name}: {now[name]} instead of {after[name]}" for name in after if name in undone + spoilt
    ]
    return Marks(
        instruction=LOWEST + (HIGHEST - LOWEST) * points // most if most else HIGHEST,
        quality=quality(found),
        preservation=max(LOWEST, HIGHEST - len(spoilt)),
        reason="; ".join(said),
    )


def quality(found: Detection) -> int:
    """How exactly the scene found is drawn; the lowest mark where there is none."""
    if found.scene is None:
        return LOWEST
    return next((mark for limit, mark in QUALITY_LIMITS if found.residual <= limit), 2)


def _alike(now: dict[str, str], after: dict[str, str], name: str) -> bool:
    """Whether a slot holds an object of the colour or of the shape that should be there."""
    if name not in set(Slot):
        return False
    return bool(set(now[name].split()) & set(after[name].split()) - {NOTHING})


def _aspects(scene: Scene) -> dict[str, str]:
    there = {item.slot: f"{item.colour.value} {item.shape.value}" for item in scene.items}
    return {
        **{slot.value: there.get(slot, NOTHING) for slot in Slot},
        "background": scene.background.value,
        "lighting": scene.lighting.value,
        "style and shot": f"{scene.style.value} {scene.shot.value}",
    }
