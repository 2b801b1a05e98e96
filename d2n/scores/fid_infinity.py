"""FID extrapolated to infinitely many images: without the bias that depends on their number.

Chong and Forsyth, 2020, "Effectively Unbiased FID and Inception Score and where to find them", section 4: FID is
about FID_inf + slope / N, so a line through FIDs of several N, against 1 / N, meets the axis at FID_inf. They draw
5000 to 50,000 generated images against one set of real statistics; here both sides are few, and both are drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from d2n.errors import ScoreError
from d2n.scores.arrays import Array
from d2n.scores.kinds import Inputs, ScoreKind

if TYPE_CHECKING:
    from d2n.core import Score

_LEAST = 8  # images a side: sizes from 4 on
_NUM_SIZES, _NUM_GROUPS = 15, 10
_NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def fid_infinity(x: Array, y: Array, num_sizes: int = _NUM_SIZES, seed: int = 0) -> float:
    """The intercept at 1 / N = 0 of a least-squares line through FIDs of (N, D) and (M, D) features.

    Sizes are evenly spaced from half of the smaller side to all of it, drawn without replacement. May be below 0.
    ScoreError for fewer than 8 images a side.
    """
    from d2n.scores.frechet import FeatureStats, frechet_distance

    n = min(len(x), len(y))
    if n < _LEAST:
        raise ScoreError(f"FID at infinity from {n} images a side, expected at least {_LEAST}")
    rng = np.random.default_rng(seed)
    sizes = np.unique(np.linspace(n // 2, n, num_sizes).round().astype(int))
    values = [
        frechet_distance(*(FeatureStats.of(side[rng.permutation(len(side))[:size]]) for side in (x, y)))
        for size in sizes
    ]
    intercept = np.polyfit(1 / sizes, values, 1)[1]
    return float(intercept)


def standard_error(x: Array, y: Array, num_groups: int = _NUM_GROUPS, seed: int = 0) -> float:
    """Delete-a-group jackknife (Shao and Tu, 1995, section 2.3): each tenth of both sides is left out once."""
    n = min(len(x), len(y))
    groups = np.random.default_rng(seed).permutation(n) % num_groups
    left = np.array(
        [
            fid_infinity(x[:n][groups != g], y[:n][groups != g], num_sizes=5, seed=seed)
            for g in range(num_groups)
        ]
    )
    return float(np.sqrt((num_groups - 1) / num_groups * np.sum((left - left.mean()) ** 2)))


def compute(inputs: Inputs) -> list[Score]:
    """One score, with an interval of the normal distribution and the value of real against real halves."""
    from d2n.scores.resampling import half_against_half

    settings = inputs.settings
    value = fid_infinity(inputs.real, inputs.fake, seed=settings.seed)
    error = interval = None
    if settings.num_bootstrap and len(inputs.real) >= 2 * _LEAST:
        error = standard_error(inputs.real, inputs.fake, seed=settings.seed)
        interval = (value - _NORMAL_95 * error, value + _NORMAL_95 * error)
    floor = None
    if len(inputs.pool) >= 2 * _LEAST:
        floor = half_against_half(fid_infinity, inputs.pool, seed=settings.seed)
    return [inputs.score("fid_infinity", value, std=error, interval=interval, floor=floor)]


KIND = ScoreKind(
    name="fid_infinity",
    meaning="Fréchet Inception distance extrapolated to infinitely many images",
    direction="minimize",
    compute=compute,
    needs=("features", "pool"),
    least=_LEAST,
    tells="as FID with less of its bias at few images, and a wider interval",
)
