"""Fréchet distance between Gaussians fitted to features (FID when the features are Inception's).

Heusel et al., 2017, "GANs Trained by a Two Time-Scale Update Rule", equation 6; thesis equation 4.6.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import torch

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, as_array, feature_array, feature_pair

# Shares of the score and of the variance that eigenvalues may be off by before singular values are taken.
_RELATIVE_ERROR = 1e-10
_VARIANCE_ERROR = 1e-14


class FeatureStats:
    """Mean and unbiased covariance of (N, D) features: all that the Fréchet distance needs to know of them.

    ``mean`` is (D,), ``covariance`` (D, D), ``num_images`` N or None when unknown. The distance
    works with ``factor``, (R, D) with covariance = factorᵀ factor: it keeps the digits that a covariance of
    fewer images than dimensions loses.
    """

    def __init__(
        self,
        mean: Array,
        *,
        factor: Array | None = None,
        covariance: Array | None = None,
        num_images: int | None,
    ) -> None:
        if (factor is None) == (covariance is None):
            raise ValueError("exactly one of factor and covariance")
        self.mean = mean
        self.num_images = num_images
        self._rows = factor
        self._covariance = covariance

    @classmethod
    def from_features(cls, x: Any) -> FeatureStats:
        """Of (N, D) features, an array or a tensor; ScoreError for N < 2, NaN, inf or N identical rows."""
        return cls.of(feature_array(x, "the"))

    @classmethod
    def from_moments(cls, mean: Any, covariance: Any, num_images: int | None = None) -> FeatureStats:
        """Of a mean (D,) and a symmetric covariance (D, D), such as an .npz file holds."""
        mean, covariance = as_array(mean).astype(np.float64), as_array(covariance).astype(np.float64)
        if mean.ndim != 1 or covariance.shape != (mean.size, mean.size):
            raise ScoreError(f"mean {mean.shape} and covariance {covariance.shape}, expected (D,) and (D, D)")
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise ScoreError(
                "the mean or the covariance holds NaN or infinite values, expected finite numbers"
            )
        return cls(mean, covariance=(covariance + covariance.T) / 2, num_images=num_images)

    @classmethod
    def of(cls, x: Array) -> FeatureStats:
        """Of (N, D) float64 features that were checked before; N identical rows are let through."""
        mean = x.mean(axis=0)
        return cls(mean, factor=(x - mean) / np.sqrt(len(x) - 1), num_images=len(x))

    @property
    def dim(self) -> int:
        """D."""
        return int(self.mean.size)

    @cached_property
    def variance(self) -> float:
        """Trace of the covariance."""
        rows = self._rows
        return float(np.trace(self.covariance) if rows is None else np.einsum("nd,nd->", rows, rows))

    @cached_property
    def covariance(self) -> Array:
        """(D, D), unbiased."""
        return self._rows.T @ self._rows if self._rows is not None else self._given_covariance

    @cached_property
    def factor(self) -> Array:
        """(R, D) with R <= D and factorᵀ factor = covariance: centred features, or their QR triangle."""
        if self._rows is None:
            return _square_root(self._given_covariance)
        return self._rows if len(self._rows) <= self.dim else _triangle(self._rows)

    @property
    def may_have_full_rank(self) -> bool:
        """Whether there were more images than dimensions, as far as is known."""
        return self._rows is None or len(self._rows) > self.dim

    @property
    def _given_covariance(self) -> Array:
        assert self._covariance is not None  # noqa: S101 - the constructor saw to it
        return self._covariance


def frechet_from_features(x: Any, y: Any) -> float:
    """Fréchet distance between Gaussians fitted to (N, D) and (M, D) features, in squared feature units.

    Symmetric, at least 0. ScoreError for fewer than 2 rows, differing D, NaN, inf or constant features.
    """
    a, b = feature_pair(x, y)
    return frechet_distance(FeatureStats.of(a), FeatureStats.of(b))


def frechet_distance(a: FeatureStats, b: FeatureStats) -> float:
    """|mean_a - mean_b|² + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), by singular values: no matrix root.

    tr (S_a S_b)^(1/2) is the nuclear norm of A Bᵀ for any factors S_a = AᵀA, S_b = BᵀB. Singular values
    keep their digits on singular covariances (N <= D), where eigenvalues of S_a S_b lose half of them. Where
    both covariances are well conditioned the eigenvalues of LᵀS_b L (S_a = L Lᵀ) are as good and faster;
    their error is bounded afterwards, and singular values are taken when the bound is too large.
    """
    if a.dim != b.dim:
        raise ScoreError(
            f"statistics of {a.dim} and of {b.dim} dimensions, expected the same: use one extractor"
        )
    difference = float(np.sum((a.mean - b.mean) ** 2))
    total = a.variance + b.variance
    if a.may_have_full_rank and b.may_have_full_rank:
        fast = _by_eigenvalues(a.covariance, b.covariance)
        if fast is not None:
            root, error = fast
            distance = difference + total - 2 * root
            if 2 * error <= max(_RELATIVE_ERROR * distance, _VARIANCE_ERROR * total):
                return distance
    return max(0.0, difference + total - 2 * _nuclear_norm(a.factor @ b.factor.T))


def _by_eigenvalues(s_a: Array, s_b: Array) -> tuple[float, float] | None:
    """tr (S_a S_b)^(1/2) and a bound on its rounding error; None where a covariance is near singular."""
    lower = _cholesky(s_a)
    if lower is None or _cholesky(s_b) is None:
        return None
    values = np.linalg.eigvalsh(lower.T @ s_b @ lower)
    if values[0] <= 0:
        return None
    roots = np.sqrt(values)
    # An eigenvalue is off by a few eps of the largest; its root by that over twice the root.
    error = 4 * np.finfo(np.float64).eps * values[-1] / 2 * float(np.sum(1 / roots))
    return float(roots.sum()), error


def _cholesky(s: Array) -> Array | None:
    """The lower factor, or None where its condition is beyond what eigenvalues in float64 resolve."""
    lower, info = scipy.linalg.lapack.dpotrf(s, lower=1, clean=1)
    if info != 0:
        return None
    reciprocal, _ = scipy.linalg.lapack.dpocon(lower, np.abs(s).sum(axis=0).max(), uplo="L")
    return lower if reciprocal > 1e-10 else None


def _triangle(rows: Array) -> Array:
    """R of the QR decomposition: (min(N, D), D) with the same RᵀR."""
    triangle: Array = torch.linalg.qr(torch.from_numpy(rows), mode="r").R.numpy()
    return triangle


def _nuclear_norm(product: Array) -> float:
    return float(torch.linalg.svdvals(torch.from_numpy(product)).sum())


def _square_root(covariance: Array) -> Array:
    """(R, D) factor of a given covariance; directions within its rounding noise are left out."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    return np.ascontiguousarray((vectors[:, kept] * np.sqrt(values[kept])).T)
