"""The toy city's buildings: wall, windows, ground floor and lights of one facade."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from d2n.datasets.toycity.canvas import GROUND, PATTERN, SHADE, SHOP, SIGN, WINDOW, Canvas, Facade
from d2n.datasets.toycity.colour import Colour, Floats, jitter, mix, rgb
from d2n.datasets.toycity.roof import paint_roof

_WALLS: tuple[Colour, ...] = (
    (0.62, 0.32, 0.24), (0.50, 0.27, 0.22), (0.78, 0.70, 0.56), (0.84, 0.80, 0.72), (0.60, 0.60, 0.60),
    (0.45, 0.50, 0.58), (0.80, 0.64, 0.36), (0.74, 0.52, 0.46), (0.52, 0.58, 0.44), (0.66, 0.58, 0.48),
    (0.40, 0.36, 0.34), (0.56, 0.64, 0.70),
)  # fmt: skip
_SIGNS: tuple[Colour, ...] = (
    (1.0, 0.22, 0.20), (0.20, 0.75, 1.0), (1.0, 0.85, 0.30),
    (0.35, 1.0, 0.50), (1.0, 0.40, 0.85), (0.95, 0.95, 1.0),
)  # fmt: skip

Ints = NDArray[np.int64]


def paint_building(
    canvas: Canvas, rng: np.random.Generator, left: int, right: int, top: int, group: int
) -> None:
    """One building from canvas column left to right, its wall from top down to the ground."""
    wall = jitter(rng, _WALLS[rng.integers(len(_WALLS))], 0.10)
    trim = mix(wall, (0.95, 0.93, 0.88) if rng.random() < 0.7 else (0.2, 0.2, 0.22), rng.uniform(0.4, 0.9))
    building = Facade(left, right, top, wall, trim, group)
    _paint_wall(canvas, rng, building)
    paint_roof(canvas, rng, building)
    floor_top = GROUND - int(rng.integers(13, 18))
    _paint_windows(canvas, rng, building, floor_top)
    _paint_ground_floor(canvas, rng, building, floor_top)
    _paint_floodlight(canvas, rng, building)
    _paint_wall_sign(canvas, rng, building, floor_top)


def _paint_wall(canvas: Canvas, rng: np.random.Generator, b: Facade) -> None:
    where = canvas.box(b.top, GROUND, b.left, b.right)
    height, width = GROUND - b.top, b.right - b.left
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    grain = 1 + 0.06 * rng.standard_normal((height, width), dtype=np.float32)
    canvas.solid(where, (rgb(*b.wall) * (grain * _masonry(rng, y, x))[..., None]).astype(np.float32))
    canvas.plane(SHADE)[where] = np.clip(0.5 - x / 4, 0, 1)  # the neighbour's edge
    canvas.albedo[where] *= (0.9 + 0.1 * (1 - y / height))[..., None]  # dirt towards the ground


def _masonry(rng: np.random.Generator, y: Ints, x: Ints) -> Floats:
    """Relative brightness of bricks, stone blocks, bands, pilasters or plain plaster."""
    kind, depth = int(rng.integers(5)), rng.uniform(0.12, 0.3)
    row, column = int(rng.integers(3, 7)), int(rng.integers(6, 12))
    if kind == 0:
        joints = (y % row == 0) | ((x + (y // row % 2) * (column // 2)) % column == 0)
    elif kind == 1:
        joints = (y % (2 * row) < 2) | (x < 0)
    elif kind == 2:
        joints = (x % (column + 4) < 2) | (y < 0)
    elif kind == 3:
        joints = (y % (3 * row) < row) | (x < 0)
    else:
        joints = np.zeros(np.broadcast_shapes(y.shape, x.shape), bool)
    tone: Floats = (1 - depth * joints).astype(np.float32)
    return tone


def _paint_windows(canvas: Canvas, rng: np.random.Generator, b: Facade, floor_top: int) -> None:
    width, height = int(rng.integers(4, 9)), int(rng.integers(6, 11))
    gap_x, gap_y = int(rng.integers(3, 8)), int(rng.integers(4, 8))
    if rng.random() < 0.12:  # office front: ribbons of glass
        width, gap_x, gap_y = int(rng.integers(8, 14)), 1, int(rng.integers(3, 5))
    columns = max(1, (b.right - b.left - 4 + gap_x) // (width + gap_x))
    rows = max(0, (floor_top - b.top - 6 + gap_y) // (height + gap_y))
    start_x = b.left + (b.right - b.left - columns * (width + gap_x) + gap_x) // 2
    tile = _window_tile(rng, width, height, b.trim)
    for row in range(rows):
        for column in range(columns):
            _paint_window(
                canvas, rng, b, tile, b.top + 5 + row * (height + gap_y), start_x + column * (width + gap_x)
            )


@dataclass(frozen=True)
class _Tile:
    albedo: Floats  # (H, W, 3)
    opening: NDArray[np.bool_]  # (H, W): glass and frame; outside it the wall stays
    pane: Floats  # (H, W): 1 glass, 0 frame
    shutter: Colour | None
    sill: bool
    balcony: bool


def _window_tile(rng: np.random.Generator, width: int, height: int, trim: Colour) -> _Tile:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    middle = (width - 1) / 2
    pane = np.ones((height, width), np.float32)
    bars = int(rng.integers(4))
    if bars in (1, 3) and width > 4:
        pane[:, int(middle)] = 0
    if bars in (2, 3):
        pane[int(height * rng.uniform(0.25, 0.55))] = 0
    opening = np.ones((height, width), bool)
    if rng.random() < 0.3:  # round arch
        opening = (y >= middle) | ((x - middle) ** 2 + (y - middle) ** 2 <= (middle + 0.4) ** 2)
    if rng.random() < 0.5:
        pane[0], pane[-1], pane[:, 0], pane[:, -1] = 0, 0, 0, 0
    glass = rgb(*jitter(rng, (0.20, 0.25, 0.32), 0.05)) * (1.35 - 0.6 * y / height)[..., None]
    albedo = np.where(pane[..., None] > 0, glass, rgb(*trim))
    shutter = jitter(rng, (0.30, 0.36, 0.34), 0.2) if rng.random() < 0.25 else None
    return _Tile(albedo.astype(np.float32), opening, pane, shutter, rng.random() < 0.6, rng.random() < 0.15)


def _paint_window(
    canvas: Canvas, rng: np.random.Generator, b: Facade, tile: _Tile, top: int, left: int
) -> None:
    height, width = tile.pane.shape
    where = canvas.box(top, top + height, left, left + width)
    if tile.shutter is not None:
        canvas.solid(canvas.box(top, top + height, left - 2, left + width + 2), tile.shutter)
    number = canvas.new_glow(WINDOW, group=b.group)
    canvas.albedo[where][tile.opening] = tile.albedo[tile.opening]
    canvas.glow[where][tile.opening] = number
    canvas.plane(PATTERN)[where] = tile.pane * _curtain(rng, height, width)
    canvas.plane(SHADE)[canvas.box(top, top + 2, left, left + width)] = 0.9  # the reveal's shadow
    if tile.sill:
        canvas.albedo[canvas.box(top + height, top + height + 1, left - 1, left + width + 1)] = b.trim
    if tile.balcony:
        canvas.solid(
            canvas.box(top + height - 2, top + height, left - 2, left + width + 2), (0.16, 0.16, 0.18)
        )


def _curtain(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Relative brightness of a lit window: bare, half curtained from a side, or a blind partly down."""
    light = np.full((height, width), rng.uniform(0.75, 1.0), np.float32)
    kind = rng.random()
    if kind < 0.25:
        light[:, : width // 2] *= 0.45
    elif kind < 0.5:
        light[: int(height * rng.uniform(0.2, 0.7))] *= 0.4
    return light


def _paint_ground_floor(canvas: Canvas, rng: np.random.Generator, b: Facade, floor_top: int) -> None:
    if rng.random() < 0.4:
        _paint_door(canvas, rng, b, floor_top)
        return
    base = mix(b.wall, jitter(rng, (0.3, 0.3, 0.3), 0.2), 0.6)
    canvas.solid(canvas.box(floor_top, GROUND, b.left, b.right), base)
    shops = max(1, (b.right - b.left) // int(rng.integers(26, 44)))
    edges = np.linspace(b.left, b.right, shops + 1)
    for left, right in pairwise(edges):
        _paint_shop(canvas, rng, b, floor_top, int(left) + 2, int(right) - 2)


def _paint_door(canvas: Canvas, rng: np.random.Generator, b: Facade, floor_top: int) -> None:
    canvas.solid(canvas.box(GROUND - 3, GROUND, b.left, b.right), mix(b.wall, (0.3, 0.3, 0.3), 0.5))  # plinth
    door = rng.uniform(b.left + 4, b.right - 10)
    canvas.solid(canvas.box(floor_top + 2, GROUND, door - 1, door + 7), b.trim)
    canvas.solid(canvas.box(floor_top + 4, GROUND, door, door + 6), jitter(rng, (0.35, 0.25, 0.2), 0.2))
    fan = canvas.box(floor_top + 2, floor_top + 4, door, door + 6)
    canvas.shine(fan, canvas.new_glow(SHOP, (1.0, 0.8, 0.5), b.group), 0.6)
    for x in range(b.left + 4, b.right - 8, 11):
        if not door - 8 < x < door + 9:
            pane = canvas.box(floor_top + 3, GROUND - 5, x, x + 5)
            canvas.solid(pane, (0.22, 0.26, 0.32), 0.3)
            canvas.shine(pane, canvas.new_glow(WINDOW, group=b.group), 0.8)


def _paint_shop(canvas: Canvas, rng: np.random.Generator, b: Facade, top: int, left: int, right: int) -> None:
    pane = canvas.box(top + 5, GROUND - 2, left, right)
    height, width = pane[0].stop - pane[0].start, pane[1].stop - pane[1].start
    goods = rng.uniform(0.35, 1.0, (1, max(width, 1))).astype(np.float32) ** 0.5  # what stands in the window
    canvas.solid(pane, (0.24, 0.27, 0.31), 0.4)
    canvas.albedo[pane] *= (0.7 + 0.6 * goods * np.ones((height, 1), np.float32))[..., None]
    colour = jitter(rng, (1.0, 0.86, 0.62) if rng.random() < 0.7 else (0.85, 0.95, 1.0), 0.05)
    canvas.shine(pane, canvas.new_glow(SHOP, colour, b.group), goods)
    if rng.random() < 0.7:
        _paint_shop_sign(canvas, rng, b, top, left, right)
    if rng.random() < 0.45:
        _paint_awning(canvas, rng, top + 5, left, right)


def _paint_shop_sign(
    canvas: Canvas, rng: np.random.Generator, b: Facade, top: int, left: int, right: int
) -> None:
    board = canvas.box(top, top + 5, left, right)
    colour = _SIGNS[rng.integers(len(_SIGNS))]
    width = board[1].stop - board[1].start
    letters = (rng.random((5, max(width, 1))) < 0.6).astype(np.float32)
    letters[[0, -1]] = 0
    canvas.solid(board, mix(colour, (0.15, 0.15, 0.15), 0.55))
    canvas.albedo[board] += 0.35 * letters[..., None]
    canvas.shine(board, canvas.new_glow(SIGN, colour, b.group), 0.25 + 0.75 * letters)


def _paint_awning(canvas: Canvas, rng: np.random.Generator, top: int, left: int, right: int) -> None:
    where = canvas.box(top, top + 4, left - 1, right + 1)
    x = np.arange(where[1].start, where[1].stop)
    cloth = rgb(*jitter(rng, (0.6, 0.35, 0.3), 0.3))
    stripes = np.where((x // 3 % 2 == 0)[None, :, None], cloth, np.float32(0.85))
    canvas.solid(where, np.broadcast_to(stripes, (4, len(x), 3)).astype(np.float32))
    canvas.plane(SHADE)[canvas.box(top + 4, top + 8, left, right)] = 0.9


def _paint_floodlight(canvas: Canvas, rng: np.random.Generator, b: Facade) -> None:
    """Facades lit from their foot: brightest below, in beams or even."""
    if rng.random() > 0.35:
        return
    where = canvas.box(b.top, GROUND, b.left, b.right)
    y, x = np.arange(b.top, GROUND)[:, None], np.arange(b.left, b.right)[None, :]
    beams = 0.6 + 0.4 * np.cos((x - b.left) * 2 * np.pi / rng.uniform(10, 24)) if rng.random() < 0.6 else 1.0
    strength = rng.uniform(0.25, 0.7) * np.exp((y - GROUND) / rng.uniform(20, 60)) * beams
    canvas.light[where] += (strength[..., None] * rgb(*jitter(rng, (1.0, 0.78, 0.5), 0.2))).astype(np.float32)


def _paint_wall_sign(canvas: Canvas, rng: np.random.Generator, b: Facade, floor_top: int) -> None:
    """A vertical sign standing off the wall."""
    if rng.random() > 0.3 or floor_top - b.top < 30:
        return
    x, top = rng.uniform(b.left + 1, b.right - 6), rng.uniform(b.top + 6, floor_top - 24)
    board = canvas.box(top, top + rng.uniform(14, 24), x, x + 5)
    colour = _SIGNS[rng.integers(len(_SIGNS))]
    canvas.solid(board, mix(colour, (0.2, 0.2, 0.2), 0.4))
    letters = (np.arange(board[0].stop - board[0].start) % 4 > 0).astype(np.float32)[:, None]
    canvas.shine(board, canvas.new_glow(SIGN, colour, b.group), 0.3 + 0.7 * letters)
