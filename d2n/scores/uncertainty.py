"""What a FID of few images is worth: the floor of real against real, and a bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from d2n.scores.arrays import Array
from d2n.scores.frechet import FeatureStats, frechet_distance

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Floor:
    """FID of disjoint real samples against each other: what a perfect generator would get."""

    value: float  # at the N asked for
    std: float  # sample standard deviation over the splits; 0 for one
    num_images: int  # a side, of the splits
    extrapolated: bool  # from splits smaller than N


def frechet_floor(reference: Array, num_images: int, num_splits: int = 5, seed: int = 0) -> Floor:
    """Mean FID of ``num_splits`` seeded splits of the (M, D) reference into two samples of ``num_images``.

    FID falls with N, so a floor is only worth something at the score's own N. Where M < 2N it is extrapolated
    from halves of M and from halves of these, as a power of N no steeper than 1 / N. The true floor falls a
    little faster on the way there, so the estimate is rather too high. ValueError for M < 4.
    """
    if len(reference) < 4:
        raise ValueError(f"{len(reference)} images have no two halves of 2")
    n = min(num_images, len(reference) // 2)
    floors = _split_distances(reference, n, num_splits, seed)
    deviation = float(np.std(floors, ddof=1)) if num_splits > 1 else 0.0
    if n == num_images:
        return Floor(float(floors.mean()), deviation, n, extrapolated=False)
    decay = _decay(floors, reference, n, num_images, seed)
    return Floor(float(floors.mean() * decay), deviation * decay, n, extrapolated=True)


def _decay(floors: Array, reference: Array, n: int, num_images: int, seed: int) -> float:
    """What a floor at n shrinks by on the way to num_images."""
    if n < 4:
        return 1.0
    smaller = _split_distances(reference, n // 2, len(floors), seed).mean()
    if smaller <= 0:
        return 1.0
    exponent = np.log(num_images / n) / np.log(n / (n // 2))
    return float(np.clip((floors.mean() / smaller) ** exponent, n / num_images, 1.0))


def _split_distances(reference: Array, n: int, num_splits: int, seed: int) -> Array:
    distances = []
    for split in range(num_splits):
        order = np.random.default_rng([seed, split]).permutation(len(reference))
        halves = reference[order[:n]], reference[order[n : 2 * n]]
        distances.append(frechet_distance(*(FeatureStats.of(half) for half in halves)))
    return np.array(distances)


def frechet_interval(
    real: Array, fake: Array, value: float, num_bootstrap: int, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of the FID ``value``, both sides resampled with replacement.

    A resample repeats images, which raises its FID above that of as many different ones. Its percentiles are
    therefore taken around the resamples' own mean and moved to ``value`` (Efron and Tibshirani, 1993, section
    10.6, on bootstrap bias); the lower end is at least 0.
    """
    resampled = resampler(real, fake)
    values = np.empty(num_bootstrap)
    for b in range(num_bootstrap):
        rng = np.random.default_rng([seed, b])
        values[b] = resampled.frechet(
            rng.integers(len(real), size=len(real)), rng.integers(len(fake), size=len(fake))
        )
    low, high = np.quantile(values - values.mean(), [(1 - level) / 2, (1 + level) / 2])
    return max(0.0, value + float(low)), value + float(high)


def resampler(real: Array, fake: Array) -> _Gram | _Moments:
    """Fréchet distances between rows of (N, D) real and (M, D) fake features, whichever way is cheaper."""
    return _Gram(real, fake) if real.shape[1] >= len(real) else _Moments(real, fake)


class _Gram:
    """Fréchet distances of resamples from inner products alone: no cost in D."""

    def __init__(self, real: Array, fake: Array) -> None:
        centre = real.mean(axis=0)
        x, y = real - centre, fake - centre  # near the origin the sums below keep their digits
        self.xx, self.yy, self.xy = x @ x.T, y @ y.T, x @ y.T

    def frechet(self, i: Rows, j: Rows) -> float:
        """Between rows i of real and j of fake."""
        xx, yy, xy = self.xx[np.ix_(i, i)], self.yy[np.ix_(j, j)], self.xy[np.ix_(i, j)]
        means = xx.mean() + yy.mean() - 2 * xy.mean()
        variance = _variance(xx) + _variance(yy)
        centred = xy - xy.mean(axis=0) - xy.mean(axis=1, keepdims=True) + xy.mean()
        squared = centred @ centred.T if len(i) <= len(j) else centred.T @ centred
        roots = np.sqrt(np.clip(np.linalg.eigvalsh(squared), 0, None))
        return float(means + variance - 2 * roots.sum() / np.sqrt((len(i) - 1) * (len(j) - 1)))


class _Moments:
    """Fréchet distances of resamples from weighted moments: no cost in N but one product."""

    def __init__(self, real: Array, fake: Array) -> None:
        centre = real.mean(axis=0)
        self.x, self.y = real - centre, fake - centre

    def frechet(self, i: Rows, j: Rows) -> float:
        """Between rows i of real and j of fake."""
        (mean_x, s_x), (mean_y, s_y) = _moments(self.x, i), _moments(self.y, j)
        half = _half(s_x)
        roots = np.sqrt(np.clip(np.linalg.eigvalsh(half.T @ s_y @ half), 0, None))
        return float(np.sum((mean_x - mean_y) ** 2) + np.trace(s_x) + np.trace(s_y) - 2 * roots.sum())


def _half(covariance: Array) -> Array:
    """H with H Hᵀ = covariance: its Cholesky factor, or one by eigenvalues where it is singular."""
    try:
        lower: Array = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        return lower
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        scaled: Array = vectors * np.sqrt(np.clip(values, 0, None))
        return scaled


def _moments(x: Array, rows: Rows) -> tuple[Array, Array]:
    """Mean and unbiased covariance of some rows, each as often as it is named."""
    counts = np.bincount(rows, minlength=len(x)).astype(np.float64)
    mean = counts @ x / len(rows)
    return mean, ((x.T * counts) @ x - len(rows) * np.outer(mean, mean)) / (len(rows) - 1)


def _variance(gram: Array) -> float:
    """Trace of the unbiased covariance."""
    n = len(gram)
    return float((np.trace(gram) - n * gram.mean()) / (n - 1))
