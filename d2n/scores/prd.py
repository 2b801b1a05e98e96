"""Precision and recall for distributions (PRD) and its F scores.

Sajjadi et al., 2018, "Assessing Generative Models via Precision and Recall"; thesis equation 4.8.
``real`` is the reference, ``fake`` the evaluated side: mixing them up swaps precision and recall.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, as_array, feature_pair
from d2n.scores.kinds import Inputs, ScoreKind

if TYPE_CHECKING:
    from d2n.core import Score

logger = logging.getLogger(__name__)

Grid = Literal["reference", "thesis"]
_FEW_IMAGES = 10  # a cluster, on average and a side
_BETAS = {"prd/f8": 8.0, "prd/f1_8": 1 / 8}
_EPSILON = 1e-10  # keeps the slopes off 0 and infinity


@dataclass(frozen=True, eq=False)
class PrdCurve:
    """Precision and recall, (num_angles,) in [0, 1] each, from high recall's end (small slopes) on.

    ``runs`` holds the curves of the single clusterings that this one is the mean of.
    """

    precision: Array
    recall: Array
    runs: tuple[PrdCurve, ...] = ()

    def f_beta(self, beta: float) -> float:
        """Maximum over the curve of (1 + β²) p r / (β² p + r), 0 where both are 0; β > 1 weighs recall."""
        return _max_f(self.precision, self.recall, _positive(beta))

    def f_beta_std(self, beta: float) -> float:
        """Population standard deviation of f_beta over the single runs; NaN without runs."""
        return float(np.std([run.f_beta(beta) for run in self.runs])) if self.runs else float("nan")


def prd(  # noqa: PLR0913 - a stable name
    real: Any,
    fake: Any,
    num_clusters: int = 20,
    num_angles: int = 1001,
    num_runs: int = 10,
    seed: int = 0,
    method: Literal["exact", "fast"] = "exact",
    grid: Grid = "reference",
) -> PrdCurve:
    """The PRD curve of (N, D) fake against (N, D) real features: the mean of ``num_runs`` clusterings.

    Each run clusters the union of both sides. ``exact`` is Lloyd's algorithm to convergence from k-means++ in
    float64; ``fast`` works in float32 and stops a little earlier; see kmeans.cluster. The larger side is
    subsampled with the seed (and logged). ScoreError for fewer points than clusters, differing D, NaN, inf or
    constant features.
    """
    from d2n.scores.kmeans import cluster  # on torch

    if method not in ("exact", "fast"):
        raise ScoreError(f"PRD method is {method!r}, expected exact or fast")
    x, y = _equal_sizes(*feature_pair(real, fake), seed)
    if num_runs < 1 or not 2 <= num_clusters <= 2 * len(x):
        raise ScoreError(
            f"PRD over {num_runs} runs of {num_clusters} clusters with {len(x)} images a side: expected at "
            f"least one run and 2 to {2 * len(x)} clusters; lower num_clusters or add images"
        )
    labels = cluster(np.concatenate([x, y]), num_clusters, num_runs, seed, exact=method == "exact")
    curves = tuple(
        prd_from_histograms(
            _histogram(run[: len(x)], num_clusters), _histogram(run[len(x) :], num_clusters), num_angles, grid
        )
        for run in labels
    )
    precision = np.mean([curve.precision for curve in curves], axis=0)
    return PrdCurve(precision, np.mean([curve.recall for curve in curves], axis=0), curves)


def prd_from_histograms(
    reference: Any, evaluated: Any, num_angles: int = 1001, grid: Grid = "reference"
) -> PrdCurve:
    """The curve of two discrete distributions over the same bins, each of sum 1.

    Precision at slope λ is sum min(λ reference, evaluated), recall is precision / λ. The slopes are tangents
    of num_angles equally spaced angles: with grid "reference" from 1e-10 to π/2 - 1e-10 with both ends, with
    "thesis" i / (num_angles + 1) · π/2, i = 1 .. num_angles (the thesis takes 101). Values up to 1.001 are
    clipped to 1; larger ones raise ScoreError: the histograms do not sum to 1.
    """
    p, q = _histograms(reference, evaluated)
    slopes = _slopes(num_angles, grid)
    precision = np.minimum(p * slopes[:, None], q).sum(axis=1)
    recall = precision / slopes
    largest = float(max(precision.max(), recall.max()))
    if largest > 1.001:
        raise ScoreError(
            f"PRD reaches {largest:.4g}, expected at most 1: the histograms sum to {p.sum():.6g} and "
            f"{q.sum():.6g}; divide each by its sum"
        )
    return PrdCurve(np.clip(precision, 0, 1), np.clip(recall, 0, 1))


def max_f_beta(reference: Any, evaluated: Any, beta: float) -> float:
    """The supremum of F_β over all slopes, without a grid.

    F_β = (1 + β²) precision / (1 + β² λ) is monotone between the slopes evaluated_i / reference_i, where the
    piecewise linear precision bends; so the largest value is at one of these.
    """
    p, q = _histograms(reference, evaluated)
    slopes = q[p > 0] / p[p > 0]
    precision = np.minimum(p * slopes[:, None], q).sum(axis=1)
    weight = _positive(beta) ** 2
    return float(np.max((1 + weight) * precision / (1 + weight * slopes), initial=0.0))


def compute(inputs: Inputs) -> list[Score]:
    """F8 and F1/8 with their deviations over the clusterings; the curve is left with the inputs."""
    n, num_clusters = len(inputs.real), inputs.settings.num_clusters
    if n < _FEW_IMAGES * num_clusters:
        inputs.warnings.append(
            f"PRD puts {n} images a side into {num_clusters} clusters: fewer than {_FEW_IMAGES} each on "
            "average, so equal distributions too stay below 1"
        )
    curve = prd(inputs.real, inputs.fake, num_clusters, seed=inputs.settings.seed, method="fast")
    inputs.curve = curve
    return [
        inputs.score(base, curve.f_beta(beta), std=curve.f_beta_std(beta)) for base, beta in _BETAS.items()
    ]


def least_images(num_clusters: int) -> int:
    """Both sides together hold a point for each cluster."""
    return max(2, -(-num_clusters // 2))


KIND = ScoreKind(
    name="prd",
    meaning="precision and recall for distributions: prd/f8 and prd/f1_8",
    direction="maximize",
    compute=compute,
    least_by_clusters=least_images,
    logs=tuple(_BETAS),
    columns={"prd/f8": "prd_f8", "prd/f1_8": "prd_f1_8"},
    tells="F8 weighs recall (variety), F1/8 precision (realism): tells the two failures apart",
)


def _max_f(precision: Array, recall: Array, beta: float) -> float:
    below = beta**2 * precision + recall
    f = np.divide((1 + beta**2) * precision * recall, below, out=np.zeros_like(below), where=below > 0)
    return float(f.max())


def _positive(beta: float) -> float:
    if not (np.isfinite(beta) and beta > 0):
        raise ScoreError(f"beta is {beta}, expected a number above 0")
    return beta


def _slopes(num_angles: int, grid: Grid) -> Array:
    if grid == "reference" and num_angles >= 3:
        return np.tan(np.linspace(_EPSILON, np.pi / 2 - _EPSILON, num_angles))
    if grid == "thesis" and num_angles >= 1:
        return np.tan(np.arange(1, num_angles + 1) / (num_angles + 1) * (np.pi / 2))
    raise ScoreError(
        f"{num_angles} angles on the grid {grid!r}, expected reference (from 3 angles) or thesis (from 1)"
    )


def _histograms(reference: Any, evaluated: Any) -> tuple[Array, Array]:
    p, q = as_array(reference).astype(np.float64), as_array(evaluated).astype(np.float64)
    if p.ndim != 1 or p.shape != q.shape or not p.size:
        raise ScoreError(f"histograms have shapes {p.shape} and {q.shape}, expected (bins,) twice")
    if not (np.isfinite(p).all() and np.isfinite(q).all() and min(p.min(), q.min()) >= 0):
        raise ScoreError("a histogram holds a negative, NaN or infinite value, expected shares from 0 to 1")
    return p, q


def _histogram(labels: npt.NDArray[np.int64], num_clusters: int) -> Array:
    return np.bincount(labels, minlength=num_clusters) / len(labels)


def _equal_sizes(x: Array, y: Array, seed: int) -> tuple[Array, Array]:
    n = min(len(x), len(y))
    if len(x) != len(y):
        logger.warning(
            "PRD needs equal sizes: of %d real and %d fake images %d a side are taken, drawn with seed %d",
            len(x),
            len(y),
            n,
            seed,
        )
    return _subsample(x, n, seed), _subsample(y, n, seed)


def _subsample(x: Array, n: int, seed: int) -> Array:
    if len(x) == n:
        return x
    return x[np.sort(np.random.default_rng(seed).choice(len(x), n, replace=False))]
