"""What a FID of few images is worth: the floor of real against real, and a bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from d2n.scores.arrays import Array
from d2n.scores.frechet import frechet_from_features

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Floor:
    """FID of disjoint real samples against each other: what a perfect generator would get."""

    value: float  # mean over the splits
    std: float  # sample standard deviation over the splits; 0 for one
    num_images: int  # a side
    score: float  # fake against real with this number of images a side, on the same splits

    @property
    def share(self) -> float:
        """Floor over score, both at num_images."""
        return self.value / self.score if self.score > 0 else 1.0


def frechet_floor(
    reference: Array, fake: Array, num_images: int, num_splits: int = 5, seed: int = 0
) -> Floor:
    """Split halves of the (M, D) reference, ``num_images`` a side where M allows, else M // 2.

    FID falls with N, so a floor is only worth something beside a score at the same N: ``score`` is that of as
    many fakes against one half. ``num_splits`` splits are drawn with the seed.
    """
    n = min(num_images, len(reference) // 2)
    floors, scores = [], []
    for split in range(num_splits):
        rng = np.random.default_rng([seed, split])
        order = rng.permutation(len(reference))
        half, other = reference[order[:n]], reference[order[n : 2 * n]]
        floors.append(frechet_from_features(half, other))
        chosen = rng.choice(len(fake), min(n, len(fake)), replace=False)
        scores.append(frechet_from_features(half, fake[chosen]))
    deviation = float(np.std(floors, ddof=1)) if num_splits > 1 else 0.0
    return Floor(float(np.mean(floors)), deviation, n, float(np.mean(scores)))


def frechet_interval(
    real: Array, fake: Array, value: float, num_bootstrap: int, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of the FID ``value``, both sides resampled with replacement.

    A resample repeats images, which raises its FID above that of as many different ones. Its percentiles are
    therefore taken around the resamples' own mean and moved to ``value`` (Efron and Tibshirani, 1993, section
    10.6, on bootstrap bias); the lower end is at least 0.
    """
    gram = _Gram(real, fake)
    values = np.empty(num_bootstrap)
    for b in range(num_bootstrap):
        rng = np.random.default_rng([seed, b])
        values[b] = gram.frechet(
            rng.integers(len(real), size=len(real)), rng.integers(len(fake), size=len(fake))
        )
    low, high = np.quantile(values - values.mean(), [(1 - level) / 2, (1 + level) / 2])
    return max(0.0, value + float(low)), value + float(high)


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


def _variance(gram: Array) -> float:
    """Trace of the unbiased covariance."""
    n = len(gram)
    return float((np.trace(gram) - n * gram.mean()) / (n - 1))
