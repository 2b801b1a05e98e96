"""The toy city's roofs: what ends a facade against the sky."""

from __future__ import annotations

import numpy as np

from d2n.datasets.toycity.canvas import SHADE, WINDOW, Canvas, Facade
from d2n.datasets.toycity.colour import Colour, jitter

_ROOFS: tuple[Colour, ...] = ((0.30, 0.31, 0.36), (0.50, 0.26, 0.20), (0.36, 0.30, 0.26), (0.28, 0.38, 0.36))


def paint_roof(canvas: Canvas, rng: np.random.Generator, b: Facade) -> None:
    """A gable, a mansard, steps, a dome or a flat roof, and the cornice under it."""
    colour = jitter(rng, _ROOFS[rng.integers(len(_ROOFS))], 0.06)
    kind, height = int(rng.integers(6)), int(rng.integers(7, 17))
    half = (b.right - b.left) / 2
    if kind == 0:  # gable
        _paint_taper(canvas, b, colour, height, half, 1)
    elif kind == 1:  # mansard with dormers
        _paint_taper(canvas, b, colour, height, min(6.0, half / 2), 1)
        _paint_dormers(canvas, rng, b, height)
    elif kind == 2:  # stepped gable, in the wall's colour
        _paint_taper(canvas, b, b.wall, height, half * 0.8, 4)
    elif kind == 3:  # dome
        _paint_dome(canvas, b, colour, min(half, height * 1.4), height)
    else:
        _paint_roof_boxes(canvas, rng, b, colour)
    cornice = int(rng.integers(2, 4))
    canvas.solid(canvas.box(b.top - 1, b.top + cornice - 1, b.left - 1, b.right + 1), b.trim)
    canvas.plane(SHADE)[canvas.box(b.top + cornice - 1, b.top + cornice + 2, b.left, b.right)] = 0.8


def _paint_taper(canvas: Canvas, b: Facade, colour: Colour, height: int, inset: float, step: int) -> None:
    for i in range(height):
        cut = inset * (i // step * step) / height
        tone = 0.85 + 0.15 * ((height - i) % 3 > 0)  # courses of tiles
        row = canvas.box(b.top - 1 - i, b.top - i, b.left + cut, b.right - cut)
        canvas.solid(row, (colour[0] * tone, colour[1] * tone, colour[2] * tone))


def _paint_dome(canvas: Canvas, b: Facade, colour: Colour, radius: float, height: int) -> None:
    middle = (b.left + b.right) / 2
    for i in range(height):
        reach = radius * np.sqrt(1 - (i / height) ** 2)
        canvas.solid(canvas.box(b.top - 1 - i, b.top - i, middle - reach, middle + reach), colour)
    canvas.solid(canvas.box(b.top - height - 5, b.top - height, middle - 1, middle + 1), b.trim)


def _paint_dormers(canvas: Canvas, rng: np.random.Generator, b: Facade, height: int) -> None:
    if height < 9:
        return
    for x in range(b.left + 9, b.right - 13, int(rng.integers(13, 19))):
        canvas.solid(canvas.box(b.top - 9, b.top - 1, x - 1, x + 6), b.trim)
        pane = canvas.box(b.top - 7, b.top - 2, x, x + 5)
        canvas.solid(pane, (0.20, 0.24, 0.30))
        canvas.shine(pane, canvas.new_glow(WINDOW, group=b.group), 0.8)


def _paint_roof_boxes(canvas: Canvas, rng: np.random.Generator, b: Facade, colour: Colour) -> None:
    for _ in range(int(rng.integers(0, 4))):  # chimneys, tanks, machine rooms
        x, width, height = rng.uniform(b.left + 2, b.right - 10), rng.uniform(3, 10), rng.uniform(3, 9)
        canvas.solid(canvas.box(b.top - height, b.top, x, x + width), colour)
        canvas.plane(SHADE)[canvas.box(b.top - height, b.top, x + width - 2, x + width)] = 0.8
    if rng.random() < 0.4:
        x = rng.uniform(b.left + 3, b.right - 3)
        canvas.solid(canvas.box(b.top - 14, b.top, x, x + 1), (0.25, 0.25, 0.27))  # antenna
