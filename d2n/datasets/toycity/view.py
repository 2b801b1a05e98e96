"""The toy city's views: where the camera stands, who stands in the way, and the layers seen from there.

A view is taken at twice the photo's resolution; day and night photos of one view share every outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d2n.datasets.toycity.canvas import (
    ALBEDO,
    HEADLIGHT,
    HEIGHT,
    KERB,
    LIGHT,
    PATTERN,
    SHADE,
    TAILLIGHT,
    WIDTH,
    Scene,
)

IMAGE_SIZE_PX = 64
SAMPLES = 2 * IMAGE_SIZE_PX  # a side

_PAINTS = (
    (0.75, 0.75, 0.76), (0.15, 0.15, 0.17), (0.60, 0.12, 0.12),
    (0.18, 0.28, 0.50), (0.85, 0.83, 0.78), (0.30, 0.40, 0.32),
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """The layers of a scene as the camera sees them."""

    scene: Scene
    layers: NDArray[np.uint8]  # (SAMPLES, SAMPLES, COLUMNS) as in Scene
    glow: NDArray[np.uint16]  # (SAMPLES, SAMPLES)
    rows: NDArray[np.intp]  # (SAMPLES, SAMPLES): the canvas row each sample comes from
    kerb: int  # the photo's row where the road begins, in the middle


def frame(scene: Scene, rng: np.random.Generator) -> View:
    """A view of the scene from a random standpoint, with cars, people or a post in front."""
    width = rng.uniform(98, 124)
    left = (WIDTH - width) / 2 + rng.uniform(-15, 15)
    top = rng.uniform(max(0, KERB + 5 - width), HEIGHT - width)  # some of the road is always seen
    y, x = _look(rng, left, top, width)
    index = y * WIDTH + x
    view = View(scene, scene.layers[index], scene.glow[index], y, round((KERB - top) * IMAGE_SIZE_PX / width))
    _paint_people(view, rng)
    for _ in range(int(rng.choice(3, p=(0.35, 0.4, 0.25)))):
        _paint_car(view, rng, top, width)
    if rng.random() < 0.15:
        x_post, thick = int(rng.integers(SAMPLES)), int(rng.integers(2, 5))
        _cover(view, (slice(0, SAMPLES), slice(x_post, x_post + thick)), (0.15, 0.15, 0.16))
    return view


def _look(
    rng: np.random.Generator, left: float, top: float, width: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Canvas rows and columns seen by every sample: a crop under a mild homography."""
    u = np.linspace(-0.5, 0.5, SAMPLES, dtype=np.float32)[None, :]
    v = u.T
    slant, tilt, roll = rng.uniform(-0.18, 0.18), rng.uniform(-0.08, 0.08), rng.uniform(-0.025, 0.025)
    depth = 1 + slant * u + tilt * v
    x = left + width * (0.5 + (u - roll * v) / depth)
    y = top + width * (0.5 + (v + roll * u) / depth)
    return np.clip(y, 0, HEIGHT - 1).astype(np.intp), np.clip(x, 0, WIDTH - 1).astype(np.intp)


def _cover(
    view: View, where: tuple[slice, slice], colour: object, mask: NDArray[np.bool_] | None = None
) -> None:
    """Put something in front of (the masked part of) a rectangle of samples."""
    layers, glow = view.layers[where], view.glow[where]
    chosen = np.ones(glow.shape, bool) if mask is None else mask
    light = layers[chosen][:, LIGHT]
    layers[chosen] = 0
    pixel = np.zeros((len(light), layers.shape[-1]), np.uint8)
    pixel[:, ALBEDO] = (np.asarray(colour) * 255).astype(np.uint8)
    pixel[:, LIGHT] = light
    layers[chosen] = pixel
    glow[chosen] = 0


def _paint_people(view: View, rng: np.random.Generator) -> None:
    foot = 2 * view.kerb - 3
    for _ in range(int(rng.integers(0, 4))):
        x, height = int(rng.integers(2, SAMPLES - 6)), int(rng.integers(11, 14))
        y, coat = foot - int(rng.integers(0, 8)), rng.uniform(0.1, 0.6, 3)
        _cover(view, _box(y - height + 3, y - 4, x, x + 4), coat)
        _cover(view, _box(y - 4, y, x + 1, x + 3), (0.14, 0.14, 0.18))
        _cover(view, _box(y - height, y - height + 3, x + 1, x + 3), (0.65, 0.48, 0.38))


def _box(top: int, bottom: int, left: int, right: int) -> tuple[slice, slice]:
    top, bottom, left, right = (min(max(edge, 0), SAMPLES) for edge in (top, bottom, left, right))
    return slice(top, bottom), slice(left, right)


def _paint_car(view: View, rng: np.random.Generator, top: float, width: float) -> None:
    """A car from the side; by night its lights are on, or it is parked."""
    length = int(rng.uniform(36, 54))
    tall = int(length * rng.uniform(0.33, 0.42))
    left = int(rng.integers(-length // 2, SAMPLES - length // 2))
    bottom = int((rng.uniform(KERB + 4, KERB + 14) - top) * SAMPLES / width)
    where = _box(bottom - tall, bottom, left, left + length)
    paint, driving, rightward = _PAINTS[rng.integers(len(_PAINTS))], rng.random() < 0.65, rng.random() < 0.5
    y, x = np.mgrid[where].astype(np.float32)
    up, along = (bottom - y - 0.5) / tall, (x - left + 0.5) / length * 2 - 1  # 0 to 1, -1 to 1
    along = along if rightward else -along  # +1 is the front
    _paint_car_body(view, where, up, along, paint)
    if driving:
        _paint_car_lights(view, where, up, along, bottom, left + length if rightward else left, rightward)


def _paint_car_body(
    view: View, where: tuple[slice, slice], up: NDArray[np.float32], along: NDArray[np.float32], paint: object
) -> None:
    wheels = ((np.abs(along) - 0.58) / 0.15) ** 2 + ((up - 0.17) / 0.19) ** 2 < 1
    body = (up > 0.14) & (up < 0.6 - 0.08 * along**2) & (np.abs(along) < 0.98)
    slope = 0.62 - 0.34 * (up - 0.55) / 0.45
    cabin = (up >= 0.52) & (up < 0.97) & (np.abs(along + 0.08) < slope)
    panes = (up > 0.6) & (up < 0.9) & (np.abs(along + 0.08) < slope - 0.09) & (np.abs(along + 0.08) > 0.035)
    _cover(view, where, paint, body | cabin)
    _cover(view, where, (0.16, 0.19, 0.23), panes)
    _cover(view, where, (0.06, 0.06, 0.07), wheels)
    view.layers[where][body & (up < 0.32), SHADE] = 150
    ground = up < 0.1
    view.layers[where][ground & ~wheels, SHADE] = 230  # the car's own shadow


def _paint_car_lights(
    view: View,
    where: tuple[slice, slice],
    up: NDArray[np.float32],
    along: NDArray[np.float32],
    bottom: int,
    front: int,
    rightward: bool,
) -> None:
    low = (up > 0.36) & (up < 0.54)
    for number, lamp in (
        (HEADLIGHT, low & (along > 0.88) & (along < 0.99)),
        (TAILLIGHT, low & (along < -0.9)),
    ):
        view.glow[where][lamp] = number
        view.layers[where][lamp, PATTERN] = 255
    beam = _box(bottom - 8, bottom + 5, *((front, front + 40) if rightward else (front - 40, front)))
    y, x = np.mgrid[beam].astype(np.float32)
    reach = np.abs(x - front) / 40
    strength = (1 - reach) * np.exp(-(((y - bottom) / (3 + 5 * reach)) ** 2)) * 200
    pool = view.layers[beam][..., LIGHT]
    np.maximum(pool, strength[..., None].astype(np.uint8), out=pool)
