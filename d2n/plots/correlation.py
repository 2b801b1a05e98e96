"""Rank correlation of a score and mAP over few points, with an interval that says how little they tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from d2n.errors import D2NError

MIN_POINTS = 5  # of fewer points a bootstrap draws mostly the same ones: no interval is given


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho with a 95 % bootstrap interval over the points."""

    rho: float  # in [-1, 1]; NaN where a side is constant or fewer than 2 points are left
    interval: tuple[float, float] | None  # None below MIN_POINTS
    num_points: int

    def describe(self) -> str:
        """One line for people."""
        if np.isnan(self.rho):
            return f"not defined over {self.num_points} points: a side is constant or too few are left"
        if self.interval is None:
            few = f"too few for an interval ({MIN_POINTS} needed)"
            return f"{self.rho:+.2f} over {self.num_points} points: {few}"
        low, high = self.interval
        sign = "its sign is not settled" if low <= 0 <= high else "its sign holds"
        return f"{self.rho:+.2f} (95 % [{low:+.2f}, {high:+.2f}]) over {self.num_points} points: {sign}"


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties at their mean rank (Spearman 1904).

    NaN for fewer than 2 points or a constant side. D2NError for sides of different length.
    """
    a, b = _pairs(x, y)
    return float(_row_correlations(a[None], b[None])[0])


def rank_correlation(
    x: Sequence[float], y: Sequence[float], *, num_bootstrap: int = 2000, seed: int = 0
) -> RankCorrelation:
    """Spearman's rho and its percentile bootstrap interval; pairs with a non-finite side are left out.

    Resamples in which a side is constant have no rho and do not count. Percentile intervals of few points are
    too narrow rather than too wide: an interval that contains 0 settles nothing, one that does not is weak.
    """
    a, b = _pairs(x, y)
    rho = float(_row_correlations(a[None], b[None])[0])
    if len(a) < MIN_POINTS or np.isnan(rho):
        return RankCorrelation(rho, None, len(a))
    draws = np.random.default_rng(seed).integers(0, len(a), (num_bootstrap, len(a)))
    rhos = _row_correlations(a[draws], b[draws])
    low, high = np.quantile(rhos[~np.isnan(rhos)], [0.025, 0.975])
    return RankCorrelation(rho, (float(low), float(high)), len(a))


def _pairs(x: Sequence[float], y: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise D2NError(f"rank correlation of {a.shape} and {b.shape} values; expected two rows of one length")
    finite = np.isfinite(a) & np.isfinite(b)
    return a[finite], b[finite]


def _row_correlations(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    # (rows, points) each → (rows,)
    if x.shape[1] < 2:
        return np.full(len(x), np.nan)
    a, b = (_centred(rankdata(side, axis=1)) for side in (x, y))
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    rho = np.full(len(x), np.nan)
    np.divide((a * b).sum(axis=1), norm, out=rho, where=norm > 0)
    return np.asarray(np.clip(rho, -1.0, 1.0), dtype=np.float64)


def _centred(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ranks - ranks.mean(axis=1, keepdims=True), dtype=np.float64)
