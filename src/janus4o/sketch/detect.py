"""Finds the scene in a picture, from its pixels alone, by analysis by synthesis.

1. The edge of the canvas, which no object reaches, says which background and which light.
2. In every slot, every object that could be there (shape × colour × style × shot) is compared with
   the pixels. Slots that do not overlap share no pixels, so the best scene is exactly the set of
   such slots with the least squared error; all sets are tried.
3. The scene found is drawn, and every pixel has to be explained by it: no tile of the picture may
   differ visibly, and no quarter of an object may look more like another object.

The pictures may be JPEGs, noisy, or decoded by a picture tokenizer (a little blurred and off in
colour). A picture that shows no scene gives `Detection.scene = None` and says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from janus4o.sketch.render import (
    COLOUR_RGB,
    LIGHT_GAIN,
    RADIUS,
    SHOT_SCALE,
    Pixels,
    ground,
    mask,
    rim,
    rim_rgb,
)
from janus4o.sketch.scene import (
    SLOT_CENTRES,
    Background,
    Colour,
    Item,
    Lighting,
    Scene,
    Shape,
    Shot,
    Slot,
    Style,
    in_reading_order,
    overlap,
)
from janus4o.sketch.view import CLASS_RGB, INK_RGB, MOSAIC, PAPER_RGB, VOID_RGB, View

Floats = NDArray[np.float32]

SIZE = 64
"""Side in pixels at which pictures are compared."""
_WINDOW = SIZE // 2
_EDGE = 2
_TILE = 4

EDGE_LIMIT = 0.08
"""Largest error of the canvas edge (root mean square, colours 0–1)."""
TILE_LIMIT = 0.22
"""Largest error of a tile's mean colour where an object is."""
GROUND_LIMIT = 0.11
"""Largest error of a tile's mean colour where no object is."""
QUARTER_LIMIT = 0.35
"""How much worse than the best explanation of a quarter the object found may be, as a fraction of
what separates the object from that explanation there."""
MARGIN_LIMIT = 0.2
"""Least confidence of a detection."""
MOSAIC_LIMIT = 0.12
"""Largest standard deviation of the colour within a tile of a pixelated picture."""
OBJECT_COST = 1.0
"""Squared error an object has to explain before it is believed."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found.

    Attributes:
        scene: None when the picture shows no scene.
        reason: why not, in one line; empty when a scene was found.
        residual: worst error of a tile's mean colour, 0–1; 0 is a perfect match.
        confidence: 0–1: how far the second-best reading of the least certain object is behind, as a
            fraction of the error it would make on a perfect picture, capped at 1.
    """

    scene: Scene | None
    reason: str
    residual: float
    confidence: float

    @property
    def items(self) -> tuple[Item, ...]:
        return self.scene.items if self.scene else ()


@dataclass(frozen=True)
class _Bank:
    """Everything a picture is compared with under one view.

    M numbers the masks, C the colours, q the quarters of a window, p its 256 pixels each.

    Attributes:
        kinds: (style, shot, shape) of each mask.
        body_qpM, rim_qpM: coverage by the object's colour and by its rim.
        rgb_MC3, rim_C3: colours 0–1 before lighting.
        slots: slots an object may be in; sets_SN: which of them (N) each possible set (S) holds.
        known: pixels that the view shows, bool [SIZE, SIZE].
        grounds: each background and light, with its canvas 0–1 [SIZE, SIZE, 3].
        edge: known pixels that no object reaches, bool [SIZE, SIZE].
        rimmed: numbers of the masks that have a rim.
    """

    view: View
    kinds: tuple[tuple[Style, Shot, Shape], ...]
    colours: tuple[Colour, ...]
    body_qpM: Floats
    rim_qpM: Floats
    rgb_MC3: Floats
    rim_C3: Floats
    slots: tuple[Slot, ...]
    sets_SN: NDArray[np.float32]
    known: NDArray[np.bool_]
    grounds: tuple[tuple[Background, Lighting, Floats], ...]

    edge: NDArray[np.bool_]
    rimmed: NDArray[np.int64]

    def lit(self, lighting: Lighting) -> tuple[Floats, Floats]:
        """The colours of objects and rims in this light."""
        gain = np.array(LIGHT_GAIN[lighting], np.float32)
        return self.rgb_MC3 * gain, self.rim_C3 * gain


def scene(pixels: Pixels, view: View = View.PLAIN) -> Detection:
    """Finds the scene a picture shows.

    Args:
        pixels: uint8 RGB [H, W, 3], square, at least 32 pixels wide.
        view: how the scene is shown; LINE_ART and MAP give placeholder colours and background.

    Returns:
        A scene or the reason why there is none. Never raises on pictures of the right type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pictures are uint8 [H, W, 3], not {pixels.dtype} {pixels.shape}")
    if pixels.shape[0] != pixels.shape[1] or pixels.shape[0] < 32:
        return Detection(None, "a sketch picture is square and at least 32 pixels wide", 1.0, 0.0)
    canonical = _canonical(pixels, view)
    if view is View.PIXELATED and not _looks_pixelated(canonical):
        return Detection(None, "the picture is not pixelated", 1.0, 0.0)
    return _Search(canonical, _bank(view)).run()


def is_pixelated(pixels: Pixels) -> bool:
    """Whether a square picture (uint8 [H, W, 3]) consists of flat tiles."""
    return _looks_pixelated(_canonical(pixels, View.PIXELATED))


def _canonical(pixels: Pixels, view: View) -> Floats:
    """float32 [SIZE, SIZE, 3], 0–1."""
    if pixels.shape[0] != SIZE:
        # Tiles must not bleed into one another; everything else is shrunk as the model sees it.
        how = Image.Resampling.BOX if view is View.PIXELATED else Image.Resampling.BICUBIC
        pixels = np.asarray(Image.fromarray(pixels).resize((SIZE, SIZE), how))
    return pixels.astype(np.float32) / np.float32(255)


class _Search:
    """One picture against one bank."""

    def __init__(self, pixels: Floats, bank: _Bank) -> None:
        self.pixels = pixels
        self.bank = bank

    def run(self) -> Detection:
        bank = self.bank
        edge = self.pixels[bank.edge]
        errors = np.sqrt(np.square(_edge_colours(bank.view) - edge).mean((1, 2)))
        best = int(errors.argmin())
        if errors[best] > EDGE_LIMIT:
            return Detection(None, "no known background", float(errors[best]), 0.0)
        background, lighting, canvas = bank.grounds[best]
        cost_qNMC, empty_N = self._costs(best)
        combos = len({(style, shot) for style, shot, _ in bank.kinds})
        shapes, colours = len(bank.kinds) // combos, len(bank.colours)
        total = cost_qNMC.sum(0).reshape(len(bank.slots), combos, shapes * colours)
        gain_NK = total.min(2) - empty_N[:, None] + np.float32(OBJECT_COST)
        score_SK = bank.sets_SN @ gain_NK
        chosen, combo = np.unravel_index(int(score_SK.argmin()), score_SK.shape)
        where = np.flatnonzero(bank.sets_SN[chosen])
        picks = [(int(n), int(total[n, combo].argmin())) for n in where]
        style, shot, _ = bank.kinds[int(combo) * shapes]
        found = [
            (int(n), int(combo) * shapes + pick // colours, pick % colours) for n, pick in picks
        ]
        items = tuple(Item(bank.kinds[m][2], bank.colours[c], bank.slots[n]) for n, m, c in found)
        if not items:
            style, shot = Style.FLAT, Shot.MEDIUM
        result = Scene(in_reading_order(items), background, style, lighting, shot)
        residual, reason = self._unexplained(canvas, lighting, found)
        confidence = 1.0
        for n, m, c in found:
            rivals = slice(int(combo) * shapes, (int(combo) + 1) * shapes)
            here_qMC = cost_qNMC[:, n, rivals]
            mine = m - int(combo) * shapes
            margin, torn = self._margins(here_qMC, mine, c, rivals, canvas, lighting, n)
            confidence = min(confidence, margin)
            if torn and not reason:
                reason = f"the object at the {bank.slots[n].value} is malformed"
        if not reason and confidence < MARGIN_LIMIT:
            reason = "an object could as well be another"
        if reason:
            return Detection(None, reason, residual, confidence)
        return Detection(result, "", residual, confidence)

    def _costs(self, which: int) -> tuple[Floats, Floats]:
        """Squared error of every object in every slot [q, N, M, C], and of no object [N].

        An object's window is G(1 - b - r) + b·C + r·R for background G, colour C, rim R and
        coverages b, r. Multiplied out, all that depends on the picture are products of it with
        the coverages; `_fixed_costs` holds the rest.
        """
        bank = self.bank
        _, lighting, canvas = bank.grounds[which]
        rgb_MC3, rim_C3 = bank.lit(lighting)
        x_qNp3 = _windows(self.pixels - canvas, bank.slots)
        xg_qNp = (x_qNp3 * _windows(canvas, bank.slots)).sum(3)
        q, n, p, _ = x_qNp3.shape
        flat = np.ascontiguousarray(x_qNp3.transpose(0, 1, 3, 2)).reshape(q, n * 3, p)
        empty_qN = np.square(flat).reshape(q, n, -1).sum(2)
        base = empty_qN[..., None] + 2 * (xg_qNp @ (bank.body_qpM + bank.rim_qpM))
        cost = _fixed_costs(bank.view, which) + base[..., None]
        by_body = (flat @ bank.body_qpM).reshape(q, n, 3, -1).transpose(0, 1, 3, 2)
        cost -= 2 * _by_colour(by_body, rgb_MC3)
        rimmed = bank.rimmed
        by_rim = (flat @ bank.rim_qpM[..., rimmed]).reshape(q, n, 3, -1).transpose(0, 1, 3, 2)
        cost[:, :, rimmed] -= 2 * (by_rim @ rim_C3.T)
        return np.asarray(cost, np.float32), np.asarray(empty_qN.sum(0), np.float32)

    def _drawn(self, canvas: Floats, lighting: Lighting, n: int, m: int, c: int) -> Floats:
        """The window of slot n with object (m, c) in it, [q, p, 3]."""
        bank = self.bank
        rgb_MC3, rim_C3 = bank.lit(lighting)
        back = _windows(canvas, bank.slots[n : n + 1])[:, 0]
        body, border = bank.body_qpM[..., m, None], bank.rim_qpM[..., m, None]
        drawn = back * (1 - body - border) + body * rgb_MC3[m, c]
        return np.asarray(drawn + border * rim_C3[c], np.float32)

    def _unexplained(
        self, canvas: Floats, lighting: Lighting, found: list[tuple[int, int, int]]
    ) -> tuple[float, str]:
        """The worst tile's error, and what is wrong with it (empty if it may pass)."""
        expected = canvas.copy()
        occupied = np.zeros((SIZE, SIZE), bool)
        half = _WINDOW // 2
        for n, m, c in found:
            x, y = _centre(self.bank.slots[n])
            window = self._drawn(canvas, lighting, n, m, c)
            area = (slice(y - half, y + half), slice(x - half, x + half))
            expected[area] = _from_quarters(window)
            covered = (self.bank.body_qpM + self.bank.rim_qpM)[..., m, None]
            occupied[area] |= _from_quarters(covered)[..., 0] > 0.05
        off = np.where(self.bank.known[..., None], self.pixels - expected, 0)
        side = SIZE // _TILE
        tiles = np.abs(off.reshape(side, _TILE, side, _TILE, 3).mean((1, 3))).max(2)
        has_object = occupied.reshape(side, _TILE, side, _TILE).any((1, 3))
        worst = float(tiles.max())
        if float(np.where(has_object, 0, tiles).max()) > GROUND_LIMIT:
            return worst, "something in the picture is not an object of the sketch world"
        if float(np.where(has_object, tiles, 0).max()) > TILE_LIMIT:
            return worst, "an object is not drawn as it should be"
        return worst, ""

    def _margins(
        self,
        cost_qMC: Floats,
        mine: int,
        colour: int,
        rivals: slice,
        canvas: Floats,
        lighting: Lighting,
        n: int,
    ) -> tuple[float, bool]:
        """How far the second-best object is behind, and whether a quarter is another object's."""
        cost_qR = cost_qMC.reshape(4, -1)
        me = mine * cost_qMC.shape[2] + colour
        total = cost_qR.sum(0)
        second = int(np.argsort(total)[1]) if len(total) > 1 else me

        def apart(rival: int) -> Floats:
            """Squared difference of the two drawings, by quarter."""
            other = self._drawn(canvas, lighting, n, rivals.start + rival // cost_qMC.shape[2],
                                rival % cost_qMC.shape[2])  # fmt: skip
            return np.asarray(np.square(own - other).sum((1, 2)), np.float32)

        own = self._drawn(canvas, lighting, n, rivals.start + mine, colour)
        margin = float(total[second] - total[me]) / max(float(apart(second).sum()), 1e-6)
        torn = False
        for q in range(4):
            rival = int(cost_qR[q].argmin())
            if rival == me:
                continue
            # With the drawing of `me` exactly, the cost difference would be -distance; of the
            # rival, +distance.
            distance = float(apart(rival)[q])
            ahead = float(cost_qR[q, me] - cost_qR[q, rival])
            torn |= distance > 1.0 and ahead > QUARTER_LIMIT * distance
        return min(max(margin, 0.0), 1.0), torn


def _centre(slot: Slot) -> tuple[int, int]:
    x, y = SLOT_CENTRES[slot]
    return round(x * SIZE), round(y * SIZE)


def _windows(image: Floats, slots: tuple[Slot, ...]) -> Floats:
    """The windows of the slots by quarters, [4, N, 256, channels]."""
    half = _WINDOW // 2
    cut = []
    for slot in slots:
        x, y = _centre(slot)
        cut.append(image[y - half : y + half, x - half : x + half])
    stack = np.stack(cut)
    n, _, _, k = stack.shape
    split = stack.reshape(n, 2, half, 2, half, k).transpose(1, 3, 0, 2, 4, 5)
    return np.ascontiguousarray(split.reshape(4, n, half * half, k))


def _from_quarters(quarters_qpk: Floats) -> Floats:
    """[4, 256, k] → [32, 32, k]."""
    half = _WINDOW // 2
    k = quarters_qpk.shape[2]
    return np.asarray(
        quarters_qpk.reshape(2, 2, half, half, k).transpose(0, 2, 1, 3, 4).reshape(
            _WINDOW, _WINDOW, k
        ),
        np.float32,
    )  # fmt: skip


@lru_cache(maxsize=8)
def _bank(view: View) -> _Bank:
    known = np.ones((SIZE, SIZE), bool)
    slots: tuple[Slot, ...] = tuple(Slot)
    styles, shots = tuple(Style), tuple(Shot)
    colours = tuple(Colour)
    grounds: list[tuple[Background, Lighting, Floats]]
    match view:
        case View.LINE_ART:
            styles, colours = (Style.OUTLINE,), (Colour.BLACK,)
            grounds = [(Background.GRAY, Lighting.NEUTRAL, _sheet(PAPER_RGB))]
        case View.MAP:
            styles, colours = (Style.FLAT,), (Colour.BLACK,)
            grounds = [(Background.GRAY, Lighting.NEUTRAL, _sheet(VOID_RGB))]
        case View.PLAIN | View.PIXELATED | View.LEFT_HALF:
            grounds = [
                (b, x, ground(b, SIZE) / np.float32(255) * np.array(LIGHT_GAIN[x], np.float32))
                for b in Background
                for x in Lighting
            ]
        case _:
            raise ValueError(f"no scene can be found in a {view.value} picture")
    if view is View.LEFT_HALF:
        known[:, SIZE // 2 - 2 : SIZE // 2 + 2] = False  # where shrinking mixes the halves
        grounds = [(b, x, _half_blank(g)) for b, x, g in grounds]
        slots = (Slot.LEFT, Slot.TOP_LEFT, Slot.BOTTOM_LEFT)
    if view is View.PIXELATED:
        styles, shots = (Style.FLAT,), (Shot.MEDIUM,)
        grounds = [(b, x, _tiled(g)) for b, x, g in grounds]
    kinds = tuple((style, shot, shape) for style in styles for shot in shots for shape in Shape)
    bodies: list[Floats] = []
    rims: list[Floats] = []
    for style, shot, shape in kinds:
        radius = RADIUS * SIZE * SHOT_SCALE[shot]
        border = rim(shape, radius, style)
        body = mask(shape, radius, style)
        for out, one in ((bodies, body), (rims, np.zeros_like(body) if border is None else border)):
            padded = np.pad(one, (_WINDOW - one.shape[0]) // 2)
            out.append(_tiled(padded[..., None])[..., 0] if view is View.PIXELATED else padded)
    rgb = np.array(
        [[_object_rgb(view, shape, colour) for colour in colours] for _, _, shape in kinds],
        np.float32,
    )
    edge = known.copy()
    edge[_EDGE:-_EDGE, _EDGE:-_EDGE] = False
    rim_C3 = np.array([rim_rgb(colour) for colour in colours], np.float32)
    return _Bank(
        view,
        kinds,
        colours,
        _quartered(bodies),
        _quartered(rims),
        rgb / np.float32(255),
        rim_C3 / np.float32(255),
        slots,
        _possible_sets(slots),
        known,
        tuple(grounds),
        edge,
        np.array([m for m, one in enumerate(rims) if one.any()], np.int64),
    )


def _object_rgb(view: View, shape: Shape, colour: Colour) -> tuple[int, int, int]:
    if view is View.MAP:
        return CLASS_RGB[shape]
    return INK_RGB if view is View.LINE_ART else COLOUR_RGB[colour]


def _sheet(rgb: tuple[int, int, int]) -> Floats:
    sheet = np.broadcast_to(np.array(rgb, np.float32) / np.float32(255), (SIZE, SIZE, 3))
    return np.ascontiguousarray(sheet)


def _tiled(image: Floats) -> Floats:
    """Averages the tiles of a mosaic, [h, w, k]."""
    tile = SIZE // MOSAIC
    h, w, k = image.shape
    means = image.reshape(h // tile, tile, w // tile, tile, k).mean((1, 3))
    return np.asarray(means.repeat(tile, 0).repeat(tile, 1), np.float32)


def _looks_pixelated(image: Floats) -> bool:
    tile = SIZE // MOSAIC
    off = (image - _tiled(image)).reshape(MOSAIC, tile, MOSAIC, tile, 3)
    return float(np.sqrt(np.square(off).mean((1, 3))).max()) < MOSAIC_LIMIT


def _half_blank(image: Floats) -> Floats:
    half = image.copy()
    half[:, SIZE // 2 :] = np.array(PAPER_RGB, np.float32) / np.float32(255)
    return half


def _quartered(masks: list[Floats]) -> Floats:
    """M masks [32, 32] → [4, 256, M]."""
    half = _WINDOW // 2
    stack = np.stack(masks, -1)
    split = stack.reshape(2, half, 2, half, len(masks)).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(split.reshape(4, half * half, len(masks)), np.float32)


def _possible_sets(slots: tuple[Slot, ...]) -> NDArray[np.float32]:
    """Every set of slots that do not overlap, the empty one included, float32 0 or 1 [S, N]."""
    rows = []
    for count in range(5):
        for chosen in combinations(range(len(slots)), count):
            if not any(overlap(slots[a], slots[b]) for a, b in combinations(chosen, 2)):
                rows.append([float(n in chosen) for n in range(len(slots))])
    return np.array(rows, np.float32)


@lru_cache(maxsize=8)
def _edge_colours(view: View) -> Floats:
    """The edge pixels of every background and light, [grounds, pixels, 3]."""
    bank = _bank(view)
    return np.stack([canvas[bank.edge] for _, _, canvas in bank.grounds])


@lru_cache(maxsize=128)
def _fixed_costs(view: View, which: int) -> Floats:
    """The part of the squared error that does not depend on the picture, [q, N, M, C]."""
    bank = _bank(view)
    _, lighting, canvas = bank.grounds[which]
    rgb_MC3, rim_C3 = bank.lit(lighting)
    body, border = bank.body_qpM, bank.rim_qpM
    covered = body + border
    back_qNp3 = _windows(canvas, bank.slots)
    q, n, p, _ = back_qNp3.shape
    flat = np.ascontiguousarray(back_qNp3.transpose(0, 1, 3, 2)).reshape(q, n * 3, p)
    by_body = (flat @ (covered * body)).reshape(q, n, 3, -1).transpose(0, 1, 3, 2)
    by_rim = (flat @ (covered * border)).reshape(q, n, 3, -1).transpose(0, 1, 3, 2)
    objects_qMC = (
        np.square(rgb_MC3).sum(2) * np.square(body).sum(1)[..., None]
        + np.square(rim_C3).sum(1) * np.square(border).sum(1)[..., None]
        + 2 * (rgb_MC3 * rim_C3).sum(2) * (body * border).sum(1)[..., None]
    )
    grounds_qNM = np.square(back_qNp3).sum(3) @ np.square(covered)
    both = _by_colour(by_body, rgb_MC3) + by_rim @ rim_C3.T
    return np.asarray(objects_qMC[:, None] + grounds_qNM[..., None] - 2 * both, np.float32)


def _by_colour(sums_qNM3: Floats, rgb_MC3: Floats) -> Floats:
    """Dot products with the colours, [q, N, M, C]."""
    if rgb_MC3.shape[1] == 1:  # each mask has a colour of its own
        return np.asarray((sums_qNM3 * rgb_MC3[:, 0]).sum(3, keepdims=True), np.float32)
    return np.asarray(sums_qNM3 @ rgb_MC3[0].T, np.float32)
