"""Finds the scene in a picture, from its pixels alone, by analysis by synthesis.

1. The edge of the canvas, which no object reaches, says which background and which light.
2. In every slot, every object that could be there (shape × colour × style × shot) is compared with
   the pixels. Slots that do not overlap share no pixels, so the best scene is exactly the set of
   such slots with the least squared error. Sets that could not be the best even if their objects
   fitted perfectly are passed over.
3. The scene found is drawn, and every pixel has to be explained by it: no tile of the picture may
   differ visibly, and no quarter of an object may look more like another object.

The pictures may be JPEGs, noisy, or decoded by a picture tokenizer (a little blurred and off in
colour). A picture that shows no scene gives `Detection.scene = None` and says why.
"""

from __future__ import annotations

import hashlib
import math
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
_BLOCK = _WINDOW // 2
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
ROUNDING = 0.05
"""More than float32 can be off in the squared error of a picture."""
REMEMBERED = 8192
"""Pictures whose detection is kept, by hash: one is asked about by its painter, its editor, its judge and
the evaluation suites."""


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

    Pictures and windows are cut into blocks of 16 × 16 pixels: a picture has 4 × 4 of them, and the
    window of a slot consists of four (its quarters). M numbers the masks, R those of them that have
    a rim, C the colours, N the slots, q the quarters of a window, p the 256 pixels of a block.

    Attributes:
        kinds: (style, shot, shape) of each mask, those of one style and shot side by side.
        combos: how many pairs of style and shot there are.
        body_Mqp, rim_Mqp: coverage by the object's colour and by its rim.
        masks_qpX: the same as one matrix, the bodies and then the rims that are not empty.
        tiles_Mqt: tiles of a quarter (4 × 4, row by row) where something is drawn, bool.
        rgb_MC3, rim_C3: colours 0–1 before lighting.
        slots: slots an object may be in; sets_SN: which of them (N) each possible set (S) holds.
        blocks_qN: which of the picture's 16 blocks each quarter of each window is.
        known: pixels that the view shows, float32 [16, 1, p], 0 or 1; None where it shows all.
        grounds: each background and light.
        canvases: the canvas of each of them, 0–1 [16, 3, p].
        edge: numbers of the known pixels that no object reaches, row by row.
        edges: their colours on each canvas, float32 [grounds, 3 · pixels].
        rimmed_R: numbers of the masks that have a rim.
    """

    view: View
    kinds: tuple[tuple[Style, Shot, Shape], ...]
    combos: int
    colours: tuple[Colour, ...]
    body_Mqp: Floats
    rim_Mqp: Floats
    masks_qpX: Floats
    tiles_Mqt: NDArray[np.bool_]
    rgb_MC3: Floats
    rim_C3: Floats
    slots: tuple[Slot, ...]
    sets_SN: Floats
    blocks_qN: NDArray[np.int64]
    known: Floats | None
    grounds: tuple[tuple[Background, Lighting], ...]
    canvases: tuple[Floats, ...]
    edge: NDArray[np.int64]
    edges: Floats
    rimmed_R: NDArray[np.int64]


@dataclass(frozen=True)
class _Scenery:
    """What follows from the bank once background and light are known; letters as in `_Bank`.

    Attributes:
        canvas: 0–1 [16, 3, p].
        rgb_MC3, rim_C3: lit colours.
        fixed_NqMC: the part of the squared error that does not depend on the picture.
        weights_M4C, rim_weights_R4C: what the part that does is multiplied with.
    """

    canvas: Floats
    rgb_MC3: Floats
    rim_C3: Floats
    fixed_NqMC: Floats
    weights_M4C: Floats
    rim_weights_R4C: Floats


def scene(pixels: Pixels, view: View = View.PLAIN) -> Detection:
    """Finds the scene a picture shows. The last pictures seen are remembered.

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
    key = hashlib.sha256(pixels.tobytes()).digest(), pixels.shape[0], view
    found = _seen.get(key)
    if found is None:
        found = _look(pixels, view)
        if len(_seen) >= REMEMBERED:
            _seen.clear()
        _seen[key] = found
    return found


_seen: dict[tuple[bytes, int, View], Detection] = {}


def _look(pixels: Pixels, view: View) -> Detection:
    canonical = _canonical(pixels, view)
    if view is View.PIXELATED and not _looks_pixelated(canonical):
        return Detection(None, "the picture is not pixelated", 1.0, 0.0)
    bank = _bank(view)
    off = bank.edges - canonical.reshape(-1, 3)[bank.edge].reshape(-1)
    squares = np.einsum("gk,gk->g", off, off)
    best = int(squares.argmin())
    error = math.sqrt(float(squares[best]) / off.shape[1])
    if error > EDGE_LIMIT:
        return Detection(None, "no known background", error, 0.0)
    return _Search(canonical, bank, best).run()


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


@dataclass(frozen=True)
class _Found:
    """An object: the numbers of its slot, mask and colour, and how it is drawn [q, 3, p]."""

    n: int
    m: int
    c: int
    drawn: Floats


class _Search:
    """One picture against one bank, its background and light known.

    Args:
        pixels: float32 [SIZE, SIZE, 3], 0–1.
        which: number of the background and light.
    """

    def __init__(self, pixels: Floats, bank: _Bank, which: int) -> None:
        self.bank = bank
        self.ground = bank.grounds[which]
        self.scenery = _scenery(bank.view, which)
        self.off = _blocks(pixels) - self.scenery.canvas
        self.empty = np.einsum("bkp,bkp->b", self.off, self.off)
        self.costs: dict[int, Floats] = {}
        """Squared error of every object [q, M, C] in each slot looked at so far."""

    def run(self) -> Detection:
        bank = self.bank
        background, lighting = self.ground
        combos, colours = bank.combos, len(bank.colours)
        shapes = len(bank.kinds) // combos
        chosen, combo = self._best_set()
        found = []
        for n in chosen:
            total = self.costs[n].sum(0).reshape(combos, shapes * colours)[combo]
            pick = int(total.argmin())
            m, c = combo * shapes + pick // colours, pick % colours
            found.append(_Found(n, m, c, self._drawn(n, m, c)))
        style, shot, _ = bank.kinds[combo * shapes] if found else (Style.FLAT, Shot.MEDIUM, None)
        items = tuple(Item(bank.kinds[f.m][2], bank.colours[f.c], bank.slots[f.n]) for f in found)
        residual, reason = self._unexplained(found)
        confidence = 1.0
        for one in found:
            margin, torn = self._margins(one, slice(combo * shapes, (combo + 1) * shapes))
            confidence = min(confidence, margin)
            if torn and not reason:
                reason = f"the object at the {bank.slots[one.n].value} is malformed"
        if not reason and confidence < MARGIN_LIMIT:
            reason = "an object could as well be another"
        if reason:
            return Detection(None, reason, residual, confidence)
        result = Scene(in_reading_order(items), background, style, lighting, shot)
        return Detection(result, "", residual, confidence)

    def _best_set(self) -> tuple[list[int], int]:
        """The slots of the set with the least squared error, and its style and shot's number.

        What an object gains is at most what is in its slot, so most slots need no look: first the
        set that would explain most if its objects fitted perfectly, then whatever might beat it.
        """
        sets_SN, combos = self.bank.sets_SN, self.bank.combos
        empty_N = self.empty[self.bank.blocks_qN].sum(0)
        gain_NK = np.repeat(np.float32(OBJECT_COST) - empty_N[:, None], combos, 1)

        def look(slots: NDArray[np.int64]) -> None:
            new = [int(n) for n in slots if int(n) not in self.costs]
            if new:
                self._look_at(new)
                total = np.stack([self.costs[n].sum(0) for n in new])
                gain_NK[new] += total.reshape(len(new), combos, -1).min(2)

        first = int((sets_SN @ gain_NK[:, 0]).argmin())
        look(np.flatnonzero(sets_SN[first]))
        limit = float((sets_SN[first] @ gain_NK).min()) + ROUNDING
        hopeful = np.flatnonzero((sets_SN @ gain_NK.min(1)) <= limit)
        if len(hopeful) > 1:
            look(np.flatnonzero(sets_SN[hopeful].any(0)))
        score_SK = sets_SN[hopeful] @ gain_NK
        best, combo = np.unravel_index(int(score_SK.argmin()), score_SK.shape)
        return [int(n) for n in np.flatnonzero(sets_SN[hopeful[best]])], int(combo)

    def _look_at(self, slots: list[int]) -> None:
        """Adds the costs of some slots.

        A window with an object is G(1 - b - r) + b·C + r·R for background G, colour C, rim R and
        coverages b, r. Multiplied out, all that depends on the picture are products of it with
        the coverages; `_Scenery.fixed_NqMC` holds the rest.
        """
        bank, scenery = self.bank, self.scenery
        at_qn = bank.blocks_qN[:, slots]
        off_qn3p = self.off[at_qn]
        # The fourth row is for what the object hides of the background.
        rows_qn4p = np.concatenate(
            [off_qn3p, (off_qn3p * scenery.canvas[at_qn]).sum(2, keepdims=True)], 2
        )
        q, n, _, p = rows_qn4p.shape
        sums = (rows_qn4p.reshape(q, n * 4, p) @ bank.masks_qpX).reshape(q, n, 4, -1)
        sums_nqX4 = np.ascontiguousarray(sums.transpose(1, 0, 3, 2))
        masks = len(bank.kinds)
        cost_nqMC = scenery.fixed_NqMC[slots]
        cost_nqMC += self.empty[at_qn].T[..., None, None]
        cost_nqMC += _products(sums_nqX4[:, :, :masks], scenery.weights_M4C)
        if len(bank.rimmed_R):
            rims_nqR4 = sums_nqX4[:, :, masks:]
            cost_nqMC[:, :, bank.rimmed_R] += _products(rims_nqR4, scenery.rim_weights_R4C)
        self.costs.update(zip(slots, cost_nqMC, strict=True))

    def _drawn(self, n: int, m: int, c: int) -> Floats:
        """The window of slot n with object (m, c) in it, [q, 3, p]."""
        scenery = self.scenery
        back = scenery.canvas[self.bank.blocks_qN[:, n]]
        body, border = self.bank.body_Mqp[m, :, None], self.bank.rim_Mqp[m, :, None]
        drawn = back + body * (scenery.rgb_MC3[m, c, :, None] - back)
        if self.bank.kinds[m][0] is Style.STICKER:
            drawn += border * (scenery.rim_C3[c, :, None] - back)
        return np.asarray(drawn, np.float32)

    def _unexplained(self, found: list[_Found]) -> tuple[float, str]:
        """The worst tile's error, and what is wrong with it (empty if it may pass)."""
        bank, canvas = self.bank, self.scenery.canvas
        off = self.off.copy()
        has_object = np.zeros((len(off), bank.tiles_Mqt.shape[2]), bool)
        for one in found:
            at = bank.blocks_qN[:, one.n]
            off[at] -= one.drawn - canvas[at]
            has_object[at] = bank.tiles_Mqt[one.m]
        if bank.known is not None:
            off *= bank.known
        tiles = np.abs(off @ _tile_means()).max(1)
        worst = float(tiles.max())
        if float(np.where(has_object, 0, tiles).max()) > GROUND_LIMIT:
            return worst, "something in the picture is not an object of the sketch world"
        if float(np.where(has_object, tiles, 0).max()) > TILE_LIMIT:
            return worst, "an object is not drawn as it should be"
        return worst, ""

    def _margins(self, one: _Found, rivals: slice) -> tuple[float, bool]:
        """How far the second-best object is behind, and whether a quarter is another object's."""
        colours = len(self.bank.colours)
        cost_qR = self.costs[one.n][:, rivals].reshape(4, -1)
        me = (one.m - rivals.start) * colours + one.c
        total = cost_qR.sum(0)
        second = int(np.argpartition(total, 1)[1]) if len(total) > 1 else me

        def apart(rival: int) -> Floats:
            """Squared difference of the two drawings, by quarter."""
            other = self._drawn(one.n, rivals.start + rival // colours, rival % colours)
            other -= one.drawn
            return np.asarray(np.einsum("qkp,qkp->q", other, other), np.float32)

        margin = float(total[second] - total[me]) / max(float(apart(second).sum()), 1e-6)
        torn = False
        for q in range(4):
            rival = int(cost_qR[q].argmin())
            if rival == me:
                continue
            ahead = float(cost_qR[q, me] - cost_qR[q, rival])
            if ahead <= QUARTER_LIMIT:
                continue  # whatever the distance, it would have to be more
            # With the drawing of `me` exactly, the cost difference would be -distance; of the
            # rival, +distance.
            distance = float(apart(rival)[q])
            torn |= distance > 1.0 and ahead > QUARTER_LIMIT * distance
        return min(max(margin, 0.0), 1.0), torn


@lru_cache(maxsize=1)
def _tile_means() -> Floats:
    """Takes the pixels of a block to the means of its tiles, [256, 16]."""
    side = _BLOCK // _TILE
    rows, columns = np.indices((_BLOCK, _BLOCK)) // _TILE
    tile_p = (rows * side + columns).reshape(-1)
    return np.asarray(np.eye(side * side)[tile_p] / _TILE**2, np.float32)


def _centre(slot: Slot) -> tuple[int, int]:
    x, y = SLOT_CENTRES[slot]
    return round(x * SIZE), round(y * SIZE)


def _blocks(image: Floats) -> Floats:
    """[SIZE, SIZE, channels] → [16, channels, 256]."""
    side, k = SIZE // _BLOCK, image.shape[2]
    cut = image.reshape(side, _BLOCK, side, _BLOCK, k).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(cut).reshape(side * side, k, _BLOCK * _BLOCK)


def _blocks_of(slot: Slot) -> list[int]:
    """The blocks of a slot's window, row by row."""
    x, y = _centre(slot)
    row, column = y // _BLOCK, x // _BLOCK
    return [r * (SIZE // _BLOCK) + c for r in (row - 1, row) for c in (column - 1, column)]


@lru_cache(maxsize=8)
def _bank(view: View) -> _Bank:
    known = np.ones((SIZE, SIZE), bool)
    slots: tuple[Slot, ...] = tuple(Slot)
    styles, shots = tuple(Style), tuple(Shot)
    colours = tuple(Colour)
    grounds: list[tuple[Background, Lighting, Floats]]  # and the canvas [SIZE, SIZE, 3]
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
    body_Mqp, rim_Mqp = _quartered(bodies), _quartered(rims)
    rimmed_R = np.flatnonzero(rim_Mqp.any((1, 2)))
    masks_Xqp = np.concatenate([body_Mqp, rim_Mqp[rimmed_R]])
    side = _BLOCK // _TILE
    drawn = (body_Mqp + rim_Mqp > 0.05).reshape(-1, 4, side, _TILE, side, _TILE)
    return _Bank(
        view,
        kinds,
        len(styles) * len(shots),
        colours,
        body_Mqp,
        rim_Mqp,
        np.ascontiguousarray(masks_Xqp.transpose(1, 2, 0)),
        drawn.any((3, 5)).reshape(-1, 4, side * side),
        rgb / np.float32(255),
        rim_C3 / np.float32(255),
        slots,
        _possible_sets(slots),
        np.array([_blocks_of(slot) for slot in slots]).T,
        None if known.all() else _blocks(known[..., None].astype(np.float32)),
        tuple((background, lighting) for background, lighting, _ in grounds),
        tuple(_blocks(canvas) for _, _, canvas in grounds),
        np.flatnonzero(edge),
        np.stack([canvas[edge].reshape(-1) for _, _, canvas in grounds]),
        rimmed_R,
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
    """M masks [32, 32] → [M, 4, 256]."""
    stack = np.stack(masks).reshape(-1, 2, _BLOCK, 2, _BLOCK).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(stack, np.float32).reshape(len(masks), 4, _BLOCK * _BLOCK)


def _possible_sets(slots: tuple[Slot, ...]) -> NDArray[np.float32]:
    """Every set of slots that do not overlap, the empty one included, float32 0 or 1 [S, N]."""
    rows = []
    for count in range(5):
        for chosen in combinations(range(len(slots)), count):
            if not any(overlap(slots[a], slots[b]) for a, b in combinations(chosen, 2)):
                rows.append([float(n in chosen) for n in range(len(slots))])
    return np.array(rows, np.float32)


@lru_cache(maxsize=128)
def _scenery(view: View, which: int) -> _Scenery:
    """Prepares one background and light of a view."""
    bank = _bank(view)
    gain = np.array(LIGHT_GAIN[bank.grounds[which][1]], np.float32)
    canvas, rgb_MC3, rim_C3 = bank.canvases[which], bank.rgb_MC3 * gain, bank.rim_C3 * gain
    body, border = bank.body_Mqp, bank.rim_Mqp
    covered = body + border
    back_qN3p = canvas[bank.blocks_qN]

    def hidden(part: Floats, rgb_MC3: Floats) -> Floats:
        """What is hidden of the background, times the part of the object that hides it."""
        sums = back_qN3p.transpose(1, 0, 2, 3) @ (covered * part).transpose(1, 2, 0)
        return _products(sums.transpose(0, 1, 3, 2), rgb_MC3.transpose(0, 2, 1))

    rims_MC3 = np.broadcast_to(rim_C3, (len(body), *rim_C3.shape))
    objects_MqC = (
        np.square(body).sum(2)[..., None] * np.square(rgb_MC3).sum(2)[:, None]
        + np.square(border).sum(2)[..., None] * np.square(rim_C3).sum(1)
        + 2 * (body * border).sum(2)[..., None] * (rgb_MC3 * rim_C3).sum(2)[:, None]
    )
    squares = np.square(back_qN3p).sum(2).transpose(1, 0, 2)[:, :, None]
    grounds_NqM = (squares @ np.square(covered).transpose(1, 2, 0))[:, :, 0]
    both = hidden(body, rgb_MC3) + hidden(border, rims_MC3)
    return _Scenery(
        canvas,
        rgb_MC3,
        rim_C3,
        np.asarray(objects_MqC.transpose(1, 0, 2) + grounds_NqM[..., None] - 2 * both, np.float32),
        _weights(rgb_MC3),
        _weights(rims_MC3[bank.rimmed_R]),
    )


def _weights(rgb_MC3: Floats) -> Floats:
    """What the four sums of `_Search._look_at` count in the costs, [M, 4, C]."""
    twos = np.full((*rgb_MC3.shape[:2], 1), 2, np.float32)
    return np.concatenate([-2 * rgb_MC3, twos], 2).transpose(0, 2, 1)


def _products(sums_nqMk: Floats, weights_MkC: Floats) -> Floats:
    """The sums weighted, for each mask and colour: [n, q, M, C]."""
    if weights_MkC.shape[2] == 1:  # each mask has a colour of its own
        return np.asarray((sums_nqMk * weights_MkC[..., 0]).sum(3, keepdims=True), np.float32)
    return np.asarray(sums_nqMk @ weights_MkC[0], np.float32)
