"""Edge agreement: are the day's edges where the fake night's are?

Gradient magnitudes by Sobel's operator (Sobel and Feldman, 1968) of luma, day and its night, correlated over the
pixels of each image (Pearson), so that a darker night with weaker edges in the same places agrees fully.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from d2n.errors import ScoreError
from d2n.scores.arrays import Array
from d2n.scores.kinds import Inputs, ScoreKind, channels_first
from d2n.scores.luminance import luma
from d2n.scores.resampling import mean_interval

if TYPE_CHECKING:
    from d2n.core import Score

SMALLEST_PX = 4  # a side with at least two by two gradients inside


def gradient_magnitude(grey: Array) -> Array:
    """(B, H, W) to (B, H - 2, W - 2): the length of Sobel's gradient inside the image."""
    across = grey[:, :, 2:] - grey[:, :, :-2]
    down = grey[:, 2:] - grey[:, :-2]
    gx = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
    gy = down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]
    magnitude: Array = np.hypot(gx, gy)
    return magnitude


def edge_agreement(day: Any, fake: Any) -> Array:
    """(B,) correlations in [-1, 1] of the edges of (B, H, W, 3) uint8 images; 0 where one of them has no edge."""
    x, y = (gradient_magnitude(luma(images)) for images in (day, fake))
    if x.shape != y.shape or min(x.shape[1:]) < SMALLEST_PX - 2:
        raise ScoreError(
            f"edges of {np.shape(day)} and {np.shape(fake)} images, expected one size of at least {SMALLEST_PX} px"
        )
    x, y = (side - side.mean(axis=(1, 2), keepdims=True) for side in (x, y))
    norm = np.sqrt((x**2).sum(axis=(1, 2)) * (y**2).sum(axis=(1, 2)))
    product = (x * y).sum(axis=(1, 2))
    agreement: Array = np.divide(product, norm, out=np.zeros_like(product), where=norm > 0)
    return agreement


def compute(inputs: Inputs) -> list[Score]:
    """The mean over the day images; its floor is what true nights of aligned pairs have, where there are pairs."""
    beside, settings = inputs.beside, inputs.settings
    if beside.day_images is None or beside.fake_images is None:
        raise ScoreError("edges compares outputs with the day images they were made of, and none were given")
    values = _by_image(beside.day_images, beside.fake_images)
    floor = None
    if beside.paired_images is not None and beside.paired_days is not None:
        floor = float(_by_image(beside.paired_days, beside.paired_images[1]).mean())
    return [
        inputs.pixel_score(
            "edges",
            float(values.mean()),
            channels_first(beside.fake_images),
            asks=True,
            std=float(values.std(ddof=1)) if len(values) > 1 else None,
            interval=mean_interval(values, settings.num_bootstrap, settings.seed),
            floor=floor,
        )
    ]


KIND = ScoreKind(
    name="edges",
    meaning="correlation of the edges of day and its night",
    direction="maximize",
    compute=compute,
    needs=("day",),
    smallest_px=SMALLEST_PX,
    tells="whether edges stay where they are; the untranslated day has 1",
)


def _by_image(day: Any, fake: Any) -> Array:
    """One image at a time: a large set in float64 would not fit."""
    if len(day) != len(fake):
        raise ScoreError(f"edges of {len(fake)} outputs and {len(day)} day images, expected one each")
    return np.array([edge_agreement(a[None], b[None])[0] for a, b in zip(day, fake, strict=True)])
