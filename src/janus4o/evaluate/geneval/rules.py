"""GenEval's verdict, to the letter, out of boxes and a way to ask for their colours.

Everything is computed in the precision the published evaluator uses (float32 boxes; float64 sums in
the overlap), since thresholds are compared strictly. Two things are pinned where the original leaves
them to chance: of equal scores the box listed last comes first, and relations are named in a fixed
order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from janus4o.errors import DataError
from janus4o.evaluate.geneval.classes import CLASSES, COLOURS, RELATIONS
from janus4o.evaluate.geneval.prompts import Metadata, Wanted

Boxes: TypeAlias = NDArray[np.float32]
"""[n, 5]: x1, y1, x2, y2 in pixels, score."""

AskColours: TypeAlias = Callable[[str, Sequence[int]], Sequence[str]]
"""(class, raw box indices) → one colour a box."""

COUNTING = "counting"


@dataclass(frozen=True, slots=True)
class Options:
    """The official options and their defaults.

    Attributes:
        threshold: a box is kept if its score is above it.
        counting_threshold: the same, for every class of a prompt of the tag "counting".
        max_objects: best boxes of a class that are looked at, cut before suppression.
        max_overlap: IoU from which the worse of two boxes is suppressed; 1 switches this off.
        position_threshold: share of both sizes that an offset must exceed to count.
    """

    threshold: float = 0.3
    counting_threshold: float = 0.9
    max_objects: int = 16
    max_overlap: float = 1.0
    position_threshold: float = 0.1

    @classmethod
    def parse(cls, data: Any) -> Options:
        """Reads overrides; raises DataError for unknown names and for values that are no numbers."""
        if not isinstance(data, Mapping):
            raise DataError("'options' is not a JSON object", "leave it out for the defaults")
        known = [field.name for field in fields(cls)]
        values: dict[str, Any] = {}
        for name, value in data.items():
            if name not in known:
                raise DataError(f"unknown option {name!r}", f"known are {', '.join(known)}")
            whole = name == "max_objects"
            try:
                values[name] = int(value) if whole else float(value)
            except (TypeError, ValueError, OverflowError):
                raise DataError(f"option {name} is {value!r}, not a number", "") from None
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evaluator says about one picture.

    Attributes:
        reason: what is wrong, one clause a line; empty when correct.
        details: class → kept boxes [x1, y1, x2, y2, score], best first, in class order.
        colour_calls: (class, raw box indices) in the order the colours were asked for.
    """

    correct: bool
    reason: str
    details: dict[str, list[list[float]]]
    colour_calls: tuple[tuple[str, tuple[int, ...]], ...] = ()


def judge(
    metadata: Metadata,
    detections: Mapping[str, Boxes],
    ask_colours: AskColours,
    options: Options = Options(),
) -> Verdict:
    """Applies the rules to one picture.

    Include clauses must all be met, no exclude clause may be. A clause that fails in one way is not
    looked at further.

    Args:
        detections: class → raw boxes as the detector gave them; absent means none.
        ask_colours: asked only for boxes whose colour matters.
    """
    kept = {
        name: indices
        for name in _in_class_order(detections)
        if (indices := keep(detections[name], metadata.tag, options))
    }
    calls: list[tuple[str, tuple[int, ...]]] = []

    def colours_of(name: str, indices: Sequence[int]) -> Sequence[str]:
        calls.append((name, tuple(indices)))
        return ask_colours(name, indices) if indices else ()

    reasons: list[str] = []
    groups: list[list[Boxes] | None] = []
    for clause in metadata.include:
        best = kept.get(clause.name, [])[: clause.count]
        boxes = [detections[clause.name][index] for index in best]
        reason = _check_count(clause, boxes)
        if not reason and clause.colour is not None:
            reason = _check_colour(clause, colours_of(clause.name, best))
        if not reason and clause.position is not None:
            relation, target = clause.position
            reason = _check_position(clause, relation, boxes, groups[target], options)
        groups.append(None if reason else boxes)
        if reason:
            reasons.append(reason)
    for unwanted in metadata.exclude:
        found = len(kept.get(unwanted.name, []))
        if found >= unwanted.count:
            reasons.append(f"expected {unwanted.name}<{unwanted.count}, found {found}")
    details = {
        name: [detections[name][index].tolist() for index in indices]
        for name, indices in kept.items()
    }
    return Verdict(not reasons, "\n".join(reasons), details, tuple(calls))


def keep(boxes: Boxes, tag: str, options: Options) -> list[int]:
    """Raw indices of the boxes that count, best first."""
    if len(boxes) == 0:
        return []
    threshold = options.counting_threshold if tag == COUNTING else options.threshold
    scores = boxes[:, 4]
    order = np.argsort(scores, kind="stable")[::-1]
    left = order[scores[order] > np.float32(threshold)][: options.max_objects].tolist()
    if options.max_overlap == 1:
        return list(left)
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if overlap(boxes[best], boxes[i]) < options.max_overlap]
    return kept


def overlap(a: Boxes, b: Boxes) -> float:
    """Intersection over union of two boxes whose last pixel belongs to them."""
    shared = _area(*np.maximum(a[:2], b[:2]), *np.minimum(a[2:4], b[2:4]))
    union = _area(*a[:4]) + _area(*b[:4]) - shared
    return shared / union if union else 0.0


def relations(a: Boxes, b: Boxes, threshold: float) -> list[str]:
    """Where `a` lies as seen from `b`: none, one or two of the four relations."""
    corners = np.stack([a[:4], b[:4]]).astype(np.float32).reshape(2, 2, 2)  # box, corner, x and y
    centre_a, centre_b = corners.mean(axis=1)
    size_a, size_b = np.abs(corners[:, 1] - corners[:, 0])
    offset = centre_a - centre_b
    # What is left of the offset once both boxes are allowed for ...
    rest = np.maximum(np.abs(offset) - np.float32(threshold) * (size_a + size_b), 0)
    rest *= np.sign(offset)
    if np.all(np.abs(rest) < np.float32(1e-3)):
        return []
    # ... is measured against the whole of it: this is no unit vector, and is not meant to be.
    x, y = rest / np.linalg.norm(offset)
    holds = (x < -0.5, x > 0.5, y < -0.5, y > 0.5)
    return [name for name, true in zip(RELATIONS, holds, strict=True) if true]


def _check_count(clause: Wanted, boxes: Sequence[Boxes]) -> str:
    if len(boxes) >= clause.count:
        return ""
    return f"expected {clause.name}>={clause.count}, found {len(boxes)}"


def _check_colour(clause: Wanted, colours: Sequence[str]) -> str:
    colours = list(colours)
    found = colours.count(clause.colour or "")
    if found >= clause.count:
        return ""
    seen = ", ".join(f"{colours.count(colour)} {colour}" for colour in COLOURS if colour in colours)
    return (
        f"expected {clause.colour} {clause.name}>={clause.count}, "
        f"found {found} {clause.colour}; and {seen}"
    )


def _check_position(
    clause: Wanted,
    relation: str,
    boxes: Sequence[Boxes],
    targets: Sequence[Boxes] | None,
    options: Options,
) -> str:
    if targets is None:
        return f"no target for {clause.name} to be {relation}"
    for box in boxes:
        for target in targets:
            true = relations(box, target, options.position_threshold)
            if relation not in true:
                return (
                    f"expected {clause.name} {relation} target, found {' and '.join(true)} target"
                )
    return ""


def _in_class_order(detections: Mapping[str, Boxes]) -> list[str]:
    official = [name for name in CLASSES if name in detections]
    return official + [name for name in detections if name not in _KNOWN]


_KNOWN = frozenset(CLASSES)


def _area(x1: np.float32, y1: np.float32, x2: np.float32, y2: np.float32) -> float:
    # The difference is a float32; all after it is float64, as NumPy 1 has it.
    return max(float(x2 - x1) + 1, 0) * max(float(y2 - y1) + 1, 0)
