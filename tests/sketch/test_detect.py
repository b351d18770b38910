"""The detector gives back the scene that was drawn, and nothing that was not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from janus4o.sketch import detect, judge
from janus4o.sketch.edit import apply
from janus4o.sketch.edit_sampling import KINDS, sample_kind, sample_source
from janus4o.sketch.render import Pixels, draw
from janus4o.sketch.scene import (
    LEARNABLE_BACKGROUNDS,
    LEARNABLE_COLOURS,
    LEARNABLE_SHAPES,
    SLOT_CENTRES,
    Item,
    Scene,
    Slot,
)
from janus4o.sketch.view import View, show
from janus4o.sketch.wanted import World, wanted_of

from .scenes import as_jpeg, near_miss, noisy, one, random_scene

ALL_KINDS = [kind for kinds in KINDS.values() for kind in kinds]


@pytest.mark.parametrize("pictures", [2000, pytest.param(10_000, marks=pytest.mark.stress)])
def test_every_scene_and_every_edit_is_recovered(pictures: int) -> None:
    """Scenes of both worlds, and results of edits of every kind."""
    rng = np.random.default_rng(1)
    for n in range(pictures):
        world = World.LEARNABLE if n % 2 else World.RICH
        if n % 10 < 5:
            scene = random_scene(rng, world)
        else:
            kind = ALL_KINDS[n // 10 % len(ALL_KINDS)]
            source = sample_source(kind, rng, world)
            operation = sample_kind(kind, source, rng, world)
            assert operation is not None
            scene = apply(operation, source)
        found = detect.scene(draw(scene, 64)).scene
        if not scene.items:
            scene = replace(scene, style=Scene(()).style)
        assert found == scene


def _shrunk(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC))


def _decoded(pixels: Pixels) -> Pixels:
    """Blurred a little and off in colour, as a picture tokenizer leaves it."""
    blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.6))
    return np.asarray(np.asarray(blurred, np.int16).__add__(5).clip(0, 255), np.uint8)


@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("damage", ["none", "jpeg", "noise", "shrunk", "decoded"])
def test_learnable_scenes_survive_damage(damage: str, size: int) -> None:
    rng = np.random.default_rng(2)
    ways: dict[str, Callable[[Pixels], Pixels]] = {
        "none": lambda pixels: pixels,
        "jpeg": as_jpeg,
        "noise": lambda pixels: noisy(pixels, rng),
        "shrunk": _shrunk,
        "decoded": _decoded,
    }
    for _ in range(100):
        scene = random_scene(rng, World.LEARNABLE)
        assert detect.scene(ways[damage](draw(scene, size))).scene == scene


@pytest.mark.parametrize("damage", ["jpeg", "noise"])
def test_rich_scenes_survive_damage_at_the_size_they_are_painted(damage: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        scene = random_scene(rng, World.RICH)
        pixels = draw(scene, 128)
        hurt = as_jpeg(pixels) if damage == "jpeg" else noisy(pixels, rng)
        assert detect.scene(hurt).scene == scene


def test_slots_passed_over_could_not_have_won() -> None:
    """The set of slots found is the best of all sets, however damaged the picture is."""
    rng = np.random.default_rng(8)
    for n in range(120):
        pixels = draw(random_scene(rng, World.RICH if n % 2 else World.LEARNABLE), 64)
        strength = (0, 4, 20, 60)[n % 4]
        pixels = (pixels + rng.normal(0, strength, pixels.shape)).clip(0, 255).astype(np.uint8)
        bank = detect._bank(View.PLAIN)
        search = detect._Search(detect._canonical(pixels, View.PLAIN), bank, int(rng.integers(4)))
        chosen, combo = search._best_set()
        slots = list(range(len(bank.slots)))
        search._look_at(slots)
        cost = np.stack([search.costs[n].sum(0).reshape(bank.combos, -1).min(1) for n in slots])
        gain = cost - search.empty[bank.blocks_qN].sum(0)[:, None] + detect.OBJECT_COST
        scores = bank.sets_SN @ gain
        own = scores[(bank.sets_SN == np.isin(slots, chosen)).all(1), combo]
        assert own == pytest.approx(scores.min(), abs=detect.ROUNDING)


@pytest.mark.parametrize("world", list(World))
def test_near_misses_are_not_accepted(world: World) -> None:
    """At most 1 % of pictures with one attribute off pass, as JPEGs too."""
    rng = np.random.default_rng(4)
    passed, rounds = 0, 400
    for n in range(rounds):
        scene = random_scene(rng, world, least=1)
        wrong = near_miss(scene, rng, world)
        pixels = draw(wrong, 128)
        if n % 2:
            pixels = as_jpeg(pixels)
        passed += judge.check_caption(pixels, wanted_of(scene)).passed
    assert passed <= rounds // 100


def test_objects_glued_from_two_are_rejected() -> None:
    """One quarter of an object replaced by that of another, where one can see it."""
    rng = np.random.default_rng(5)
    accepted = seen = 0
    while seen < 400:
        slot, ground = one(rng, tuple(Slot)), one(rng, LEARNABLE_BACKGROUNDS)
        a, b = (
            Item(one(rng, LEARNABLE_SHAPES), one(rng, LEARNABLE_COLOURS), slot) for _ in range(2)
        )
        b = one(rng, (b, replace(b, colour=a.colour), replace(b, shape=a.shape)))
        whole, other = (draw(Scene((item,), ground), 64) for item in (a, b))
        x, y = (round(c * 64) for c in SLOT_CENTRES[slot])
        top, left = y - 16 * int(rng.integers(2)), x - 16 * int(rng.integers(2))
        glued = whole.copy()
        glued[top : top + 16, left : left + 16] = other[top : top + 16, left : left + 16]
        off = np.abs(glued.astype(int) - whole).max(2) > 60
        if off.sum() <= 12:
            continue
        seen += 1
        accepted += detect.scene(glued).scene is not None
    assert accepted <= seen // 100


def test_what_is_no_scene_is_rejected() -> None:
    rng = np.random.default_rng(6)
    static = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert detect.scene(static).scene is None
    spotted = draw(Scene((Item(LEARNABLE_SHAPES[0], LEARNABLE_COLOURS[0], Slot.LEFT),)), 64)
    spotted[28:36, 44:52] = (222, 45, 38)
    assert detect.scene(spotted).scene is None
    assert detect.scene(np.zeros((64, 32, 3), np.uint8)).scene is None
    faint = draw(Scene((Item(LEARNABLE_SHAPES[0], LEARNABLE_COLOURS[0], Slot.LEFT),)), 64)
    ground = draw(Scene(()), 64)
    half = ((faint.astype(int) + ground) // 2).astype(np.uint8)
    assert detect.scene(half).scene is None


@pytest.mark.parametrize("view", [View.LINE_ART, View.MAP, View.PIXELATED, View.LEFT_HALF])
def test_sources_shown_otherwise_are_read(view: View) -> None:
    kind = {
        View.LINE_ART: "colour_in",
        View.MAP: "fill_map",
        View.PIXELATED: "sharpen",
        View.LEFT_HALF: "extend",
    }[view]
    rng = np.random.default_rng(7)
    for n in range(100):
        scene = sample_source(kind, rng, World.RICH)
        pixels = show(scene, view, 128)
        found = detect.scene(as_jpeg(pixels) if n % 2 else pixels, view).scene
        assert found is not None
        assert [(i.shape, i.slot) for i in found.items] == [(i.shape, i.slot) for i in scene.items]
        if view in (View.PIXELATED, View.LEFT_HALF):
            assert found == scene
    assert detect.scene(draw(sample_source(kind, rng), 128), view).scene is None
