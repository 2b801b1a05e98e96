"""Is it as dark as the night is? Statistics of luma of the fakes against those of real nights.

Luma is Rec. 601's, 0.299 R + 0.587 G + 0.114 B. The distance of the two sets' histograms is Wasserstein's of order 1
(Rubner et al., 2000, "The Earth Mover's Distance as a Metric for Image Retrieval": the area between the cumulative
histograms), in shares of the range from black to white.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, as_array
from d2n.scores.kinds import Inputs, ScoreKind, channels_first
from d2n.scores.resampling import half_against_half, interval

if TYPE_CHECKING:
    from d2n.core import Score

_LEVELS = 256
_WEIGHTS = (0.299, 0.587, 0.114)


def luma(images: Any) -> Array:
    """(B, H, W, 3) uint8 to (B, H, W) in [0, 255]."""
    x = channels_first(images)
    grey: Array = np.einsum("bchw,c->bhw", x.astype(np.float64), np.array(_WEIGHTS))
    return grey


def histograms(images: Any) -> Array:
    """(N, 256): the shares of each image's pixels at each rounded level of luma."""
    x = as_array(images)
    if x.ndim != 4 or not x.size:
        raise ScoreError(f"luminance of images {x.shape}, expected (N, H, W, 3) uint8")
    levels = [luma(one[None]).round().astype(np.int64).ravel() for one in x]
    return np.stack([np.bincount(one, minlength=_LEVELS) / len(one) for one in levels])


def distance(real: Array, fake: Array) -> float:
    """Wasserstein's distance in [0, 1] between the mean histograms of (N, 256) and (M, 256)."""
    difference = np.cumsum(real.mean(axis=0) - fake.mean(axis=0))
    return float(np.abs(difference[:-1]).sum() / (_LEVELS - 1))


def mean_gap(real: Array, fake: Array) -> float:
    """Difference of the mean luma, without its sign, in [0, 1]."""
    return abs(float(_means(real).mean() - _means(fake).mean()))


def contrast_gap(real: Array, fake: Array) -> float:
    """Difference of the mean deviation of luma within an image, without its sign, in [0, 1/2]."""
    return abs(float(_deviations(real).mean() - _deviations(fake).mean()))


_PARTS: dict[str, Callable[[Array, Array], float]] = {
    "luminance/distance": distance,
    "luminance/mean_gap": mean_gap,
    "luminance/contrast_gap": contrast_gap,
}


def compute(inputs: Inputs) -> list[Score]:
    """Three scores, each with a bootstrap interval over images and the value of real against real halves."""
    beside, settings = inputs.beside, inputs.settings
    if beside.real_images is None or beside.fake_images is None:
        raise ScoreError(
            "luminance compares outputs with real nights, and no images were given: leave it out"
        )
    real, fake = histograms(beside.real_images), histograms(beside.fake_images)
    pixels = channels_first(beside.fake_images)
    return [
        inputs.pixel_score(
            name,
            function(real, fake),
            pixels,
            interval=interval(function, (real, fake), settings.num_bootstrap, settings.seed),
            floor=half_against_half(function, real, seed=settings.seed),
        )
        for name, function in _PARTS.items()
    ]


KIND = ScoreKind(
    name="luminance",
    meaning="distance of brightness and contrast from real nights",
    direction="minimize",
    compute=compute,
    needs=("images",),
    logs=tuple(_PARTS),
    tells="whether it is as dark as real nights; blind to what is seen",
)


def _means(shares: Array) -> Array:
    means: Array = shares @ np.arange(_LEVELS) / (_LEVELS - 1)
    return means


def _deviations(shares: Array) -> Array:
    levels = np.arange(_LEVELS) / (_LEVELS - 1)
    variance = shares @ levels**2 - (shares @ levels) ** 2
    deviations: Array = np.sqrt(np.clip(variance, 0, None))
    return deviations
