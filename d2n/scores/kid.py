"""Kernel Inception Distance: the unbiased squared MMD of features under a cubic kernel.

Bińkowski et al., 2018, "Demystifying MMD GANs", equation 4 and section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, feature_pair
from d2n.scores.kinds import Inputs, ScoreKind

if TYPE_CHECKING:
    from d2n.core import Score

_NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution
_LEAST = 3  # images a side of which one can be left out
_BLOCK_ROWS = 1024  # bounds the kernel blocks held at once


def kid(
    x: Any, y: Any, subset_size: int | None = None, num_subsets: int = 100, seed: int = 0
) -> tuple[float, float]:
    """Mean and population standard deviation of the unbiased MMD² over random subsets of (N, D) and (M, D).

    The kernel is (x·y / D + 1)³. ``subset_size`` None is min(N, M, 1000); it is never more than the smaller
    side. Subsets are drawn without replacement. With subset_size = N and num_subsets = 1 this is the plain
    unbiased estimate, which may be negative. Subsets that hold every image have the deviation 0, which says
    nothing: kid_standard_error gives one for every N.
    """
    a, b = feature_pair(x, y)
    smaller = min(len(a), len(b))
    size = min(smaller, 1000 if subset_size is None else subset_size)
    if size < 2 or num_subsets < 1:
        raise ScoreError(
            f"KID over {num_subsets} subsets of {size} images, expected at least 1 of 2: raise subset_size"
        )
    rng = np.random.default_rng(seed)
    num_subsets = 1 if size == len(a) == len(b) else num_subsets  # each would hold the same images
    chosen_a = _indicators(rng, num_subsets, len(a), size)
    chosen_b = _indicators(rng, num_subsets, len(b), size)
    estimates = _subset_estimates(a, b, chosen_a, chosen_b, size)
    return float(estimates.mean()), float(estimates.std())


def kid_standard_error(x: Any, y: Any) -> float:
    """Delete-one jackknife standard error of the plain unbiased estimate over all images of both sides.

    Efron and Stein, 1981; the two samples' jackknife variances are added.
    """
    a, b = feature_pair(x, y, min_images=3)
    within_a, within_b = _kernel(a, a), _kernel(b, b)
    between = _kernel(a, b)
    return float(np.sqrt(jackknife_variance(within_a, between) + jackknife_variance(within_b, between.T)))


def compute(inputs: Inputs) -> list[Score]:
    """One score with its deviation and a 95 % interval of the normal distribution."""
    if len(inputs.real) < _LEAST:
        raise ScoreError(
            f"KID with its deviation from {len(inputs.real)} images a side, expected at least {_LEAST}"
        )
    value, _ = kid(inputs.real, inputs.fake, seed=inputs.settings.seed)
    error = kid_standard_error(inputs.real, inputs.fake)
    margin = _NORMAL_95 * error
    return [inputs.score("kid", value, std=error, interval=(value - margin, value + margin))]


KIND = ScoreKind(
    name="kid",
    meaning="kernel Inception distance",
    direction="minimize",
    compute=compute,
    least=_LEAST,
    columns={"kid": "kid"},
    tells="as FID without its bias at few images; read it where the FID floor is high",
)


def _indicators(rng: np.random.Generator, num_subsets: int, n: int, size: int) -> Array:
    """(num_subsets, n) of 0 and 1, ``size`` ones a row."""
    chosen = np.zeros((num_subsets, n))
    for row in chosen:
        row[rng.choice(n, size, replace=False)] = 1
    return chosen


def _subset_estimates(a: Array, b: Array, chosen_a: Array, chosen_b: Array, size: int) -> Array:
    """One unbiased MMD² a subset."""
    if len(chosen_a) * size**2 < len(a) * len(b):  # cheaper than one kernel over all images
        terms = [
            (
                _quadratic(a[i], a[i], 1, 1, True),
                _quadratic(b[j], b[j], 1, 1, True),
                _quadratic(a[i], b[j], 1, 1),
            )
            for i, j in zip(chosen_a > 0, chosen_b > 0, strict=True)
        ]
        aa, bb, ab = (np.concatenate(part) for part in zip(*terms, strict=True))
    else:
        aa = _quadratic(a, a, chosen_a, chosen_a, True)
        bb = _quadratic(b, b, chosen_b, chosen_b, True)
        ab = _quadratic(a, b, chosen_a, chosen_b)
    pairs = size * (size - 1)
    return aa / pairs + bb / pairs - 2 * ab / size**2


def _quadratic(
    x: Array, y: Array, left: Array | int, right: Array | int, without_diagonal: bool = False
) -> Array:
    """lᵀ K(x, y) r for each pair of rows of (S, N) ``left`` and (S, M) ``right``: a subset's kernel sum."""
    left = np.ones((1, len(x))) if isinstance(left, int) else left
    right = np.ones((1, len(y))) if isinstance(right, int) else right
    sums = np.zeros(len(left))
    for start in range(0, len(x), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        block = _kernel(x[rows], y)
        if without_diagonal:
            index = np.arange(len(block))
            block[index, start + index] = 0
        sums += np.einsum("sm,sm->s", left[:, rows] @ block, right)
    return sums


def _kernel(x: Array, y: Array) -> Array:
    product = x @ y.T
    product /= x.shape[1]
    product += 1
    return product * product * product


def jackknife_variance(within: Array, between: Array) -> float:
    """Variance from leaving out each row once; (n, n) kernel inside, (n, m) to the other side."""
    n, m = between.shape
    rows = within.sum(axis=1) - np.diag(within)  # off-diagonal row sums
    left_out = (rows.sum() - 2 * rows) / ((n - 1) * (n - 2)) - 2 * (between.sum() - between.sum(axis=1)) / (
        (n - 1) * m
    )
    return float((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2))
