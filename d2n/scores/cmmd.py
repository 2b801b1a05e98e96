"""Squared maximum mean discrepancy with a Gaussian kernel, in the extractor's space.

Jayasumana et al., 2024, "Rethinking FID: Towards a Better Evaluation Metric for Image Generation" (CMMD), equation 3:
the unbiased estimate, times 1000, of normalised features with the bandwidth 10. Theirs are CLIP's; in another space
it is named after that space and compares with no published one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, feature_pair
from d2n.scores.kid import jackknife_variance
from d2n.scores.kinds import Inputs, ScoreKind
from d2n.scores.resampling import half_against_half

if TYPE_CHECKING:
    from d2n.core import Score

_SIGMA, _SCALE = 10.0, 1000.0
_LEAST = 3  # images a side of which one can be left out
_NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def cmmd(x: Any, y: Any, sigma: float = _SIGMA) -> float:
    """1000 times the unbiased MMD² of (N, D) and (M, D) features scaled to length 1, with exp(-|a - b|² / 2 sigma²).

    0 on average between samples of one distribution, so it may be below 0.
    """
    a, b = (_normalised(side) for side in feature_pair(x, y))
    return _SCALE * _unbiased(_kernel(a, a, sigma), _kernel(b, b, sigma), _kernel(a, b, sigma))


def standard_error(x: Any, y: Any, sigma: float = _SIGMA) -> float:
    """Delete-one jackknife standard error over the images of both sides (Efron and Stein, 1981)."""
    a, b = (_normalised(side) for side in feature_pair(x, y, min_images=_LEAST))
    between = _kernel(a, b, sigma)
    variance = jackknife_variance(_kernel(a, a, sigma), between) + jackknife_variance(
        _kernel(b, b, sigma), between.T
    )
    return _SCALE * float(np.sqrt(variance))


def compute(inputs: Inputs) -> list[Score]:
    """One score with its deviation, a 95 % interval and the value of real against real halves."""
    if len(inputs.real) < _LEAST:
        raise ScoreError(
            f"cmmd with its deviation from {len(inputs.real)} images a side, expected at least {_LEAST}"
        )
    value, error = cmmd(inputs.real, inputs.fake), standard_error(inputs.real, inputs.fake)
    interval = (value - _NORMAL_95 * error, value + _NORMAL_95 * error)
    floor = half_against_half(cmmd, inputs.pool, seed=inputs.settings.seed)
    return [inputs.score("cmmd", value, std=error, interval=interval, floor=floor)]


KIND = ScoreKind(
    name="cmmd",
    meaning="squared maximum mean discrepancy with a Gaussian kernel",
    direction="minimize",
    compute=compute,
    needs=("features", "pool"),
    least=_LEAST,
    tells="distance of the two sets without a Gaussian's form; unbiased at few images",
)


def _unbiased(within_a: Array, within_b: Array, between: Array) -> float:
    n, m = between.shape
    a = (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
    b = (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
    return float(a + b - 2 * between.mean())


def _kernel(x: Array, y: Array, sigma: float) -> Array:
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None] - 2 * x @ y.T
    kernel: Array = np.exp(-np.clip(squared, 0, None) / (2 * sigma**2))
    return kernel


def _normalised(x: Array) -> Array:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    unit: Array = np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)
    return unit
