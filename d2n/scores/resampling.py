"""Bootstrap intervals of means and of other statistics of images or queries.

Efron and Tibshirani, 1993, "An Introduction to the Bootstrap", section 13.3: percentiles of the resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from d2n.errors import ScoreError
from d2n.scores.arrays import Array

_LEVEL = 0.95


def mean_interval(values: Array, num_bootstrap: int, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the mean of (N,) values; None without resamples, or of fewer than two values."""
    if num_bootstrap < 1 or len(values) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(values), size=(num_bootstrap, len(values)))
    return _percentiles(values[drawn].mean(axis=1))


def paired_difference(
    ours: Array, theirs: Array, num_bootstrap: int = 2000, seed: int = 0
) -> tuple[float, tuple[float, float] | None]:
    """Mean of (S, Q) minus that of (T, Q) over the same queries, and its 95 % interval over queries.

    Seeds are averaged a query; queries that are NaN on a side are left out. The interval says what other queries
    would change, not what other seeds would; None of fewer than two queries.
    """
    if ours.shape[1] != theirs.shape[1]:
        raise ScoreError(
            f"{ours.shape[1]} and {theirs.shape[1]} queries are not the same ones; measure both on one benchmark"
        )
    gained = ours.mean(axis=0) - theirs.mean(axis=0)
    gained = gained[np.isfinite(gained)]
    value = float(gained.mean()) if len(gained) else float("nan")
    return value, mean_interval(gained, num_bootstrap, seed)


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
