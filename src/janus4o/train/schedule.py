"""How many steps, and the learning rate of each: a linear rise, then a cosine down."""

from __future__ import annotations

import math

from janus4o.train.presets import Settings


def total_steps(settings: Settings, rows: int) -> int:
    """Optimiser steps: as given, or the whole batches in `epochs` passes over `rows` (at least 1)."""
    if settings.steps is not None:
        return settings.steps
    return max(1, math.floor(settings.epochs * rows / settings.batch))


def rate_at(step: int, steps: int, settings: Settings) -> float:
    """The learning rate of update `step` (0-based) of `steps`.

    The rise reaches the peak at its last update and the cosine reaches `min_rate` at the very last
    one. With `warmup_from_zero` both lag one update behind, as in the released script: the first
    update has rate 0 and the last one stops just short of the minimum.
    """
    rise = int(settings.warmup * steps)
    done = step if settings.warmup_from_zero else step + 1
    if done < rise:
        return settings.rate * done / rise
    progress = min(1.0, (done - rise) / max(1, steps - rise))
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return settings.rate * (settings.min_rate + (1.0 - settings.min_rate) * cosine)
