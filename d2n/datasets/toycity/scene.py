"""The toy city's scenes: a street with a random identity (buildings, trees, lamps, ground), painted once.

By day and by night the same layers are lit differently; see light.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from d2n.datasets.toycity.canvas import (
    CLOUD,
    GROUND,
    HAZE,
    HEIGHT,
    KERB,
    LAMP,
    LIGHT_RANGE,
    ROAD,
    SHADE,
    SIGN,
    SKY,
    WIDTH,
    WINDOW,
    Canvas,
    Scene,
)
from d2n.datasets.toycity.colour import Colour, Floats, rgb
from d2n.datasets.toycity.facade import paint_building

_LEAVES: tuple[Colour, ...] = (
    (0.20, 0.38, 0.14), (0.28, 0.46, 0.18), (0.34, 0.40, 0.12), (0.62, 0.40, 0.12), (0.16, 0.32, 0.22),
)  # fmt: skip
_LAMPS: tuple[Colour, ...] = ((1.0, 0.56, 0.20), (1.0, 0.70, 0.36), (0.88, 0.94, 1.0))  # sodium, warm, LED


def paint_scene(rng: np.random.Generator) -> Scene:
    """A street with an identity of its own; the same generator state gives the same scene."""
    canvas = Canvas()
    _paint_sky(canvas, rng)
    _paint_skyline(canvas, rng)
    _paint_ground(canvas, rng)
    for group, (left, right, top) in enumerate(_plots(rng)):
        paint_building(canvas, rng, left, right, top, group + 1)
    _paint_furniture(canvas, rng)
    for x in rng.uniform(8, WIDTH - 8, int(rng.integers(0, 5))):
        _paint_tree(canvas, rng, x)
    _paint_lamps(canvas, rng)
    np.clip(canvas.light, 0, LIGHT_RANGE, out=canvas.light)
    return canvas.finish()


def _plots(rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """Left, right and top of 2 to 5 buildings that fill the street, some with a gap between them."""
    count = int(rng.integers(2, 6))
    shares = rng.uniform(0.8, 1.5, count)  # at least 24 px each
    edges = np.concatenate([[0], np.cumsum(shares) / shares.sum() * WIDTH]).astype(int)
    plots = []
    for left, right in pairwise(edges):
        gap = int(rng.integers(3, 9)) if rng.random() < 0.3 else 0
        plots.append((int(left), int(right) - gap, int(rng.integers(18, 56))))
    return plots


def _paint_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    canvas.plane(SKY)[:GROUND] = 1
    canvas.plane(CLOUD)[:] = _blobs(rng, 5, 9) * 0.65 + _blobs(rng, 12, 17) * 0.35


def _blobs(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """Smooth noise in [0, 1] over the canvas: a coarse grid, interpolated."""
    grid = rng.random((rows, columns))
    y, x = np.linspace(0, rows - 1.001, HEIGHT), np.linspace(0, columns - 1.001, WIDTH)
    i, j = y.astype(int), x.astype(int)
    v, u = (y - i)[:, None], (x - j)[None, :]
    upper = grid[i][:, j] * (1 - u) + grid[i][:, j + 1] * u
    lower = grid[i + 1][:, j] * (1 - u) + grid[i + 1][:, j + 1] * u
    noise: Floats = (upper * (1 - v) + lower * v).astype(np.float32)
    return noise


def _paint_skyline(canvas: Canvas, rng: np.random.Generator) -> None:
    """Far towers, pale by day, with specks of light by night."""
    x = int(rng.integers(-8, 8))
    while x < WIDTH:
        width, top = int(rng.integers(8, 24)), int(rng.integers(30, 78))
        tower = canvas.box(top, GROUND, x, x + width)
        canvas.solid(tower, (0.45, 0.48, 0.54))
        canvas.plane(HAZE)[tower] = 0.55
        for y in range(top + 3, GROUND - 10, 5):
            speck = canvas.box(y, y + 1, x + 2, x + width - 2)
            canvas.shine(speck, canvas.new_glow(WINDOW), 0.5)
        x += width + int(rng.integers(-3, 16))


def _paint_ground(canvas: Canvas, rng: np.random.Generator) -> None:
    grain = 1 + 0.07 * rng.standard_normal((HEIGHT - GROUND, WIDTH, 1), dtype=np.float32)
    pavement, road = rng.uniform(0.5, 0.72), rng.uniform(0.26, 0.38)
    tint = rgb(1.0, rng.uniform(0.94, 1.0), rng.uniform(0.86, 1.02))
    split = KERB - GROUND
    canvas.solid(canvas.box(GROUND, KERB, 0, WIDTH), (pavement * tint * grain[:split]).astype(np.float32))
    canvas.solid(canvas.box(KERB, HEIGHT, 0, WIDTH), (np.float32(road) * grain[split:]).astype(np.float32))
    canvas.plane(ROAD)[KERB + 2 :] = 1
    canvas.albedo[GROUND:KERB, :: int(rng.integers(5, 14))] *= 0.85  # slabs
    canvas.albedo[KERB : KERB + 2] = pavement * 1.15
    canvas.plane(SHADE)[GROUND : GROUND + 2] = 0.5
    _paint_markings(canvas, rng)


def _paint_markings(canvas: Canvas, rng: np.random.Generator) -> None:
    paint = (0.82, 0.80, 0.74) if rng.random() < 0.8 else (0.85, 0.70, 0.25)
    if rng.random() < 0.7:
        dash, start = int(rng.integers(10, 24)), int(rng.integers(0, 20))
        for x in range(start, WIDTH, 2 * dash):
            canvas.albedo[canvas.box(114, 116, x, x + dash)] = paint
    if rng.random() < 0.35:
        left = int(rng.integers(40, 140))
        for x in range(left, left + 30, 6):
            canvas.albedo[canvas.box(KERB + 3, HEIGHT, x, x + 3)] = (0.80, 0.80, 0.80)
    if rng.random() < 0.4:
        canvas.albedo[canvas.box(KERB + 3, KERB + 4, 0, WIDTH)] = paint


def _paint_tree(canvas: Canvas, rng: np.random.Generator, x: float) -> None:
    """A trunk and a crown of overlapping balls, lit from above."""
    leaves = rgb(*_LEAVES[rng.integers(len(_LEAVES))])
    crown, reach = rng.uniform(52, 74), rng.uniform(8, 14)
    canvas.solid(canvas.box(crown, GROUND + 4, x - 1.5, x + 1.5), (0.26, 0.20, 0.15))
    for _ in range(int(rng.integers(5, 9))):
        _paint_ball(
            canvas,
            rng,
            x + rng.normal(0, reach * 0.5),
            crown + rng.normal(0, reach * 0.5),
            reach * 0.65,
            leaves,
        )
    canvas.plane(SHADE)[canvas.box(GROUND + 3, GROUND + 7, x - reach, x + reach)] = 0.8


def _paint_ball(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, radius: float, leaves: Floats
) -> None:
    where = canvas.box(y - radius, y + radius, x - radius, x + radius)
    rows, columns = np.mgrid[where]
    mask = (columns - x) ** 2 + (rows - y) ** 2 < radius**2 * rng.uniform(0.6, 1.1, rows.shape)
    tone = 1.0 - 0.35 * (rows - y) / radius + rng.uniform(-0.25, 0.25, rows.shape)
    canvas.solid_mask(where, mask, (leaves * tone[mask][:, None]).astype(np.float32))


def _paint_furniture(canvas: Canvas, rng: np.random.Generator) -> None:
    """A hedge, a letter box, a lit advertisement at a bus stop."""
    if rng.random() < 0.3:
        x = rng.uniform(10, WIDTH - 60)
        canvas.solid(
            canvas.box(GROUND - 5, GROUND + 1, x, x + rng.uniform(20, 50)),
            _LEAVES[rng.integers(len(_LEAVES))],
        )
    if rng.random() < 0.5:
        x, colour = rng.uniform(30, WIDTH - 30), (0.75, 0.2, 0.15) if rng.random() < 0.5 else (0.8, 0.7, 0.2)
        canvas.solid(canvas.box(GROUND - 3, GROUND + 5, x, x + 4), colour)
    if rng.random() < 0.4:
        x = rng.uniform(30, WIDTH - 50)
        canvas.solid(canvas.box(GROUND - 13, GROUND + 5, x, x + 11), (0.25, 0.26, 0.28))
        board = canvas.box(GROUND - 12, GROUND + 3, x + 1, x + 10)
        poster = rgb(*rng.uniform(0.4, 1.0, 3))
        canvas.solid(board, poster * 0.8)
        canvas.shine(
            board, canvas.new_glow(SIGN, (float(poster[0]), float(poster[1]), float(poster[2]))), 0.6
        )


def _paint_lamps(canvas: Canvas, rng: np.random.Generator) -> None:
    """Street lamps at even steps, and the light they throw on walls and ground."""
    colour, step = _LAMPS[rng.integers(len(_LAMPS))], rng.uniform(56, 90)
    head_y, arm = rng.uniform(50, 66), int(rng.choice([-8, 0, 8]))
    strength = rng.uniform(0.25, 0.62)
    for x in np.arange(rng.uniform(6, step), WIDTH, step):
        _paint_lamp(canvas, float(x), head_y, arm, colour)
        _throw_light(canvas, float(x) + arm, head_y, rgb(*colour) * np.float32(strength))


def _paint_lamp(canvas: Canvas, x: float, head_y: float, arm: int, colour: Colour) -> None:
    iron = (0.17, 0.18, 0.19)
    canvas.solid(canvas.box(head_y, KERB - 2, x - 1, x + 1), iron)
    canvas.solid(canvas.box(head_y, head_y + 1, min(x, x + arm), max(x, x + arm)), iron)
    head = canvas.box(head_y + 1, head_y + 4, x + arm - 3, x + arm + 3)
    canvas.solid(head, (0.85, 0.84, 0.80))
    canvas.shine(head, canvas.new_glow(LAMP, colour))


def _throw_light(canvas: Canvas, x: float, head_y: float, light: Floats) -> None:
    columns, walls, ground = np.arange(WIDTH), np.arange(GROUND), np.arange(GROUND, HEIGHT)
    on_wall = np.exp(-(((walls - head_y - 14) / 22) ** 2))[:, None] * np.exp(-(((columns - x) / 17) ** 2))
    on_ground = np.exp(-(((ground - 103) / 11) ** 2))[:, None] * np.exp(-(((columns - x) / 25) ** 2))
    canvas.light[:GROUND] += on_wall[..., None].astype(np.float32) * light
    canvas.light[GROUND:] += on_ground[..., None].astype(np.float32) * light * 1.3
