"""Precision, recall, density and coverage by k nearest neighbours.

Kynkäänniemi et al., 2019 (improved precision and recall); Naeem et al., 2020, "Reliable Fidelity and Diversity
Metrics for Generative Models" (density, coverage). Balls are open: a point at the radius itself is outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, feature_pair
from d2n.scores.kinds import Inputs, ScoreKind, Settings

if TYPE_CHECKING:
    from d2n.core import Score

_SPARE = 8  # candidates beyond k whose distance is computed exactly
_PAIRS_AT_ONCE = 4096  # bounds the differences held at once


@dataclass(frozen=True)
class PRDC:
    """Shares in [0, 1]; density may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(real: Any, fake: Any, k: int) -> PRDC:
    """Of (N, D) real and (M, D) fake features, with the distance to the k-th neighbour as each point's radius.

    A point is not its own neighbour. Precision: fakes inside some real ball. Recall: reals inside some fake
    ball. Density: real balls around a fake, over k. Coverage: reals with a fake in their ball. Ties are decided
    on exact differences, so duplicates count as such. ScoreError unless both sides hold more than k images.
    """
    x, y = feature_pair(real, fake)
    smaller = min(len(x), len(y))
    if not 1 <= k < smaller:
        raise ScoreError(f"k is {k} with {len(x)} real and {len(y)} fake images, expected 1 to {smaller - 1}")
    between, doubt = _squared_distances(x, y)
    real_radii, fake_radii = _radii(x, k), _radii(y, k)
    in_real = _inside(between, doubt, real_radii[:, None], x, y)
    in_fake = _inside(between, doubt, fake_radii[None, :], x, y)
    return PRDC(
        precision=float(in_real.any(axis=0).mean()),
        recall=float(in_fake.any(axis=1).mean()),
        density=float(in_real.sum(axis=0).mean() / k),
        coverage=float(in_real.any(axis=1).mean()),
    )


def compute(wanted: tuple[str, ...], inputs: Inputs) -> list[Score]:
    """Those of the four that are ``wanted``."""
    found = precision_recall_density_coverage(inputs.real, inputs.fake, inputs.settings.k)
    return [inputs.score(name, getattr(found, name)) for name in wanted]


def _kind(name: str, meaning: str, *family: str) -> ScoreKind:
    """A row of one of the four, or of a family of them."""
    return ScoreKind(
        name=name,
        meaning=meaning,
        direction="maximize",
        compute=partial(compute, family or (name,)),
        least=Settings().k + 1,  # a point is not its own neighbour
        logs=family,
        tells="" if family else "the same two sides by nearest neighbours",
    )


PRECISION = _kind("precision", "k-NN precision")
RECALL = _kind("recall", "k-NN recall")
DENSITY = _kind("density", "density")
COVERAGE = _kind("coverage", "coverage")
PRDC_KIND = _kind(
    "prdc", "k-NN precision, recall, density and coverage", "precision", "recall", "density", "coverage"
)


def _squared_distances(x: Array, y: Array) -> tuple[Array, Array]:
    """Squared distances (N, M) by one matrix product, and a bound on their rounding error."""
    norms_x, norms_y = np.einsum("nd,nd->n", x, x), np.einsum("md,md->m", y, y)
    sums = norms_x[:, None] + norms_y[None, :]
    doubt = np.finfo(np.float64).eps * (x.shape[1] + 8) * sums
    return sums - 2 * (x @ y.T), doubt


def _radii(x: Array, k: int) -> Array:
    """Squared distance (N,) to the k-th neighbour, from exact differences among the nearest candidates."""
    squared, _ = _squared_distances(x, x)
    np.fill_diagonal(squared, np.inf)
    candidates = min(k + _SPARE, len(x) - 1)
    nearest = np.argpartition(squared, candidates - 1, axis=1)[:, :candidates]
    rows = np.repeat(np.arange(len(x)), candidates)
    exact = _exact(x, x, rows, nearest.ravel()).reshape(len(x), candidates)
    return np.partition(exact, k - 1, axis=1)[:, k - 1]


def _inside(squared: Array, doubt: Array, radii: Array, x: Array, y: Array) -> npt.NDArray[np.bool_]:
    """squared < radii, decided by exact differences where rounding could decide it otherwise."""
    inside = squared < radii
    i, j = np.nonzero(np.abs(squared - radii) <= doubt)
    inside[i, j] = _exact(x, y, i, j) < np.broadcast_to(radii, squared.shape)[i, j]
    return inside


def _exact(x: Array, y: Array, i: npt.NDArray[np.intp], j: npt.NDArray[np.intp]) -> Array:
    """Squared distances of the pairs x[i], y[j], each summed in the same order."""
    squared = np.empty(len(i))
    for start in range(0, len(i), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        squared[part] = np.sum((x[i[part]] - y[j[part]]) ** 2, axis=1)
    return squared
