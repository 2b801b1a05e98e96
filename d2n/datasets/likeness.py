"""Is a photograph like those that something was trained on? Told by light, colour, layout and edges alone.

It finds a night among days, a drawing, another season or another kind of scene by its look; it knows nothing of what
is in the picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

_SIDE_PX, _FINE_PX, _CELLS, _ORIENTATIONS = 32, 64, 4, 8
_NEIGHBOURS = 3
_USUAL = 0.95  # of the training images lie nearer to their neighbours than the bound
_MARGIN = 1.3  # times the bound: beyond it an image is unlike
FEWEST = 2 * _NEIGHBOURS + 2  # training images that a judgement takes


@dataclass(frozen=True)
class Likeness:
    """Training images as points, each feature in its own deviations; nearly all lie within a bound of their nearest."""

    points: np.ndarray  # (N, D) float64
    mean: np.ndarray
    scale: np.ndarray
    bound: float

    @classmethod
    def of(cls, images: Iterable[np.ndarray]) -> Likeness:
        """From (H, W, 3) uint8 images, FEWEST or more; ValueError where there are fewer."""
        looks = [look(image) for image in images]
        if len(looks) < FEWEST:
            raise ValueError(f"{len(looks)} images, expected {FEWEST} at least")
        known = np.stack(looks)
        mean, scale = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-2)
        points = (known - mean) / scale
        between = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
        nearest = np.sort(between, axis=1)[:, 1 : 1 + _NEIGHBOURS].mean(axis=1)  # the first is itself
        return cls(points, mean, scale, float(np.quantile(nearest, _USUAL)))

    def oddness(self, image: np.ndarray) -> float:
        """Distance to the nearest training images, the bound of the training images being 1."""
        point = (look(image) - self.mean) / self.scale
        away = np.sort(np.sqrt(((self.points - point) ** 2).sum(axis=1)))[:_NEIGHBOURS].mean()
        return float(away / max(self.bound, 1e-9))

    def is_unlike(self, image: np.ndarray) -> bool:
        """Whether it lies clearly beyond nearly every training image."""
        return self.oddness(image) > _MARGIN


def look(image: np.ndarray) -> np.ndarray:
    """(D,) float64 of an (H, W, 3) uint8 image: colours, light and its layout, edges by direction."""
    small = Image.fromarray(image).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)
    pixels = np.asarray(small, np.float64) / 255
    light = pixels @ np.array([0.299, 0.587, 0.114])
    cell = _SIDE_PX // _CELLS
    layout = light.reshape(_CELLS, cell, _CELLS, cell).mean(axis=(1, 3)).ravel()
    dy, dx = np.gradient(light)
    strength = np.hypot(dx, dy)
    direction = ((np.arctan2(dy, dx) % np.pi) / np.pi * _ORIENTATIONS).astype(int) % _ORIENTATIONS
    edges = np.bincount(direction.ravel(), strength.ravel(), _ORIENTATIONS) / strength.size
    larger = Image.fromarray(image).convert("L").resize((_FINE_PX, _FINE_PX), Image.Resampling.BOX)
    fine = np.abs(np.diff(np.asarray(larger, np.float64) / 255, axis=1)).mean()
    colours = np.concatenate([pixels.mean(axis=(0, 1)), pixels.std(axis=(0, 1))])
    opponent = [(pixels[..., 0] - pixels[..., 1]).mean(), (pixels[..., 2] - light).mean()]
    return np.concatenate([colours, opponent, layout, np.sqrt(edges), [np.sqrt(fine)]])
