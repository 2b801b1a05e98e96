"""Bootstrap intervals of means and of other statistics of images or queries.

Efron and Tibshirani, 1993, "An Introduction to the Bootstrap", section 13.3: percentiles of the resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from d2n.scores.arrays import Array

_LEVEL = 0.95


def mean_interval(values: Array, num_bootstrap: int, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the mean of (N,) values; None without resamples, or of fewer than two values."""
    if num_bootstrap < 1 or len(values) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(values), size=(num_bootstrap, len(values)))
    return _percentiles(values[drawn].mean(axis=1))


def interval(
    statistic: Callable[..., float], samples: Sequence[Array], num_bootstrap: int, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of ``statistic(*samples)``, the rows of each sample drawn anew; None without resamples."""
    if num_bootstrap < 1 or min(map(len, samples)) < 2:
        return None
    rng = np.random.default_rng(seed)
    values = np.array(
        [
            statistic(*(sample[rng.integers(len(sample), size=len(sample))] for sample in samples))
            for _ in range(num_bootstrap)
        ]
    )
    return _percentiles(values)


def half_against_half(
    statistic: Callable[[Array, Array], float], sample: Array, num_splits: int = 5, seed: int = 0
) -> float | None:
    """Mean of ``statistic`` between seeded disjoint halves of the rows: the floor of real against real.

    None of fewer than four rows.
    """
    half = len(sample) // 2
    if half < 2:
        return None
    orders = [np.random.default_rng([seed, split]).permutation(len(sample)) for split in range(num_splits)]
    found = [statistic(sample[order[:half]], sample[order[half : 2 * half]]) for order in orders]
    return float(np.mean(found))


def _percentiles(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
