"""Whitening of descriptors: learned from matching pairs, or PCA.

Source: Mikolajczyk and Matas, "Improving Descriptors for Fast Tree Matching by Optimal Linear Projection",
ICCV 2007, as used by Radenović et al., TPAMI 2019, section 3.4.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import LinAlgError, cholesky, eigh, solve_triangular

from d2n.errors import RetrievalError

logger = logging.getLogger(__name__)

_CHUNK_ROWS = 65536  # bounds the float64 copy while whitening many descriptors


@dataclass(frozen=True)
class Whitening:
    """y = projection (x - mean): rows of the projection stand in descending order of importance."""

    mean: NDArray[np.float64]  # (D,)
    projection: NDArray[np.float64]  # (R, D), R <= D


def learn_whitening(
    x: ArrayLike, query_idx: Sequence[int] | ArrayLike, positive_idx: Sequence[int] | ArrayLike
) -> Whitening:
    """Discriminative whitening from matching pairs.

    x: (N, D) descriptors; pair i matches x[query_idx[i]] with x[positive_idx[i]]. The mean is that of the
    query vectors; S = mean (x_q - x_p)(x_q - x_p)^T is whitened by P0 = inv(chol(S + alpha I)), alpha the first
    of 0, 1e-10, 1e-9, … that makes it positive definite; then all vectors are rotated onto the eigenvectors of
    their scatter, largest first. Computed in float64.
    Raises RetrievalError without pairs, with numbers that are not finite, or an index outside x.
    """
    x = _checked(x)
    queries, positives = _checked_pairs(len(x), query_idx, positive_idx)
    mean = x[queries].mean(axis=0)
    differences = x[queries] - x[positives]
    scatter = differences.T @ differences / len(differences)
    whiten = _inverse_cholesky(scatter)  # P0: (D, D)
    spread = whiten @ (x - mean).T  # (D, N)
    _, vectors = eigh(spread @ spread.T)  # ascending
    return Whitening(mean=mean, projection=vectors[:, ::-1].T @ whiten)


def learn_pca_whitening(x: ArrayLike) -> Whitening:
    """PCA whitening of x: (N, D): unit variance along each principal direction, largest first.

    Directions without variance (fewer images than dimensions) are dropped, so R <= min(D, N - 1).
    """
    x = _checked(x)
    mean = x.mean(axis=0)
    centred = x - mean
    values, vectors = eigh(centred.T @ centred / len(x))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > max(x.shape) * np.finfo(np.float64).eps * max(float(values[0]), 0.0)
    if not kept.any():
        raise RetrievalError(
            f"PCA whitening: all {len(x)} descriptors are equal, expected at least two that differ"
        )
    return Whitening(mean=mean, projection=vectors[:, kept].T / np.sqrt(values[kept])[:, None])


def apply_whitening(
    x: ArrayLike, whitening: Whitening, dim: int | None = None, eps: float = 1e-6
) -> NDArray[np.floating]:
    """y = projection[:dim] (x - mean), then y / (||y|| + eps). (N, D) to (N, dim), floating dtype kept.

    Raises RetrievalError when dim or the width of x does not fit the whitening.
    """
    x = np.asarray(x)
    rank, width = whitening.projection.shape
    if x.ndim != 2 or x.shape[1] != width:
        raise RetrievalError(
            f"descriptors are {x.shape}, expected (N, {width}) as the whitening was learned on"
        )
    if dim is not None and not 1 <= dim <= rank:
        raise RetrievalError(
            f"whitening to {dim} dimensions, expected 1 to {rank}; set evaluation.whitening_dim"
        )
    projection = whitening.projection[:dim].T  # (D, dim)
    out = np.empty((len(x), projection.shape[1]), dtype=x.dtype if x.dtype.kind == "f" else np.float64)
    for start in range(0, len(x), _CHUNK_ROWS):
        y = (x[start : start + _CHUNK_ROWS].astype(np.float64) - whitening.mean) @ projection
        out[start : start + _CHUNK_ROWS] = y / (np.linalg.norm(y, axis=1, keepdims=True) + eps)
    return out


def _inverse_cholesky(scatter: NDArray[np.float64]) -> NDArray[np.float64]:
    identity, alpha = np.eye(len(scatter)), 0.0
    while True:
        try:
            lower = cholesky(scatter + alpha * identity, lower=True)
        except LinAlgError:
            alpha = 1e-10 if alpha == 0.0 else alpha * 10
        else:
            if alpha:
                logger.info("whitening: scatter of the pairs is singular, alpha = %.0e added", alpha)
            inverse: NDArray[np.float64] = solve_triangular(lower, identity, lower=True)
            return inverse


def _checked(x: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise RetrievalError(
            f"whitening is learned on {x.shape} descriptors, expected (N, D) with N at least 2"
        )
    if not np.isfinite(x).all():
        rows = int((~np.isfinite(x).all(axis=1)).sum())
        raise RetrievalError(
            f"whitening: {rows} of {len(x)} descriptors are not finite; check the network's weights"
        )
    return x


def _checked_pairs(
    num_descriptors: int, query_idx: ArrayLike, positive_idx: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    queries, positives = np.asarray(query_idx, dtype=np.int64), np.asarray(positive_idx, dtype=np.int64)
    if queries.ndim != 1 or queries.shape != positives.shape or not len(queries):
        raise RetrievalError(
            f"whitening needs pairs: found {queries.shape} queries and {positives.shape} positives, "
            "expected two lists of one length, at least 1"
        )
    both = np.concatenate([queries, positives])
    if both.min() < 0 or both.max() >= num_descriptors:
        raise RetrievalError(
            f"whitening pairs point at rows {both.min()} to {both.max()}, expected 0 to {num_descriptors - 1}"
        )
    return queries, positives
