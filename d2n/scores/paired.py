"""How several generators' scores would move together with other images: resamples of the same days and nights.

Efron and Tibshirani, 1993, "An Introduction to the Bootstrap", chapters 6, 10 and 11. Each resample draws the real
images once and the day images once, for all generators: what they share cancels in their differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, feature_pair

PAIRED = ("fid", "kid", "prd/f8", "prd/f1_8")  # base names that `resampled` knows; others are jackknifed
_WHOLE = ((512, 100), (1024, 40))  # up to so many rows or dimensions: how many whole resamples

_MOST_PRODUCTS = 4_000_000  # numbers held at once, for the resamples' moments


@dataclass(frozen=True)
class Draws:
    """Scores of G generators on the same images, and what they would be with other images.

    ``linear`` holds each resample's deviations from the values to first order in the images' weights, ``whole`` the
    first of these resamples with nothing left out, around their own mean; where it is None, ``linear`` is all
    there is.
    """

    values: Array  # (G,)
    linear: Array  # (B, G); a row is one draw of images for all
    whole: Array | None  # (up to B, G)
    num_images: int  # a side


def resampled(
    base: str,
    real: Array,
    fakes: Sequence[Array],
    num_resamples: int = 1000,
    seed: int = 0,
    num_clusters: int = 20,
) -> Draws:
    """``fid``, ``kid`` or a PRD F of (G x (N, D)) fakes of the same N days; ScoreError for others.

    The distances' derivatives are resampled ``num_resamples`` times. Some of the same resamples are computed as a
    whole, which the derivatives are checked and corrected by: of FID 100 up to 512 images or dimensions (whichever
    is fewer), 40 up to 1024, none beyond; of the others all.
    """
    if base not in PAIRED:
        raise ScoreError(f"{base} is not resampled here, expected one of {', '.join(PAIRED)}")
    pairs = [feature_pair(real, fake) for fake in fakes]
    if not pairs or any(len(y) != len(pairs[0][1]) for _, y in pairs):
        sizes = ", ".join(str(len(fake)) for fake in fakes) or "no"
        raise ScoreError(f"fakes of {sizes} images, expected the same days for all")
    x, ys = pairs[0][0], [y for _, y in pairs]
    counts = _counts(len(x), len(ys[0]), num_resamples, seed)
    if base == "fid":
        return frechet_draws(x, ys, counts)
    if base == "kid":
        return kernel_draws(x, ys, counts)
    return prd_draws(base, x, ys, counts, num_clusters=num_clusters, seed=seed)


def frechet_draws(
    x: Array, ys: Sequence[Array], counts: tuple[Array, Array], num_whole: int | None = None
) -> Draws:
    """Fréchet distances of resamples; (B, N) and (B, M) ``counts`` say how often each image is in each."""
    from d2n.scores.frechet import FeatureStats, frechet_distance
    from d2n.scores.uncertainty import resampler

    real = FeatureStats.of(x)
    values = np.array([frechet_distance(real, FeatureStats.of(y)) for y in ys])
    linear = np.stack([_linear(frechet_influence(x, y), counts) for y in ys], axis=1)
    if num_whole is None:
        size = min(max(len(x), len(ys[0])), x.shape[1])
        num_whole = min(len(linear), next((count for most, count in _WHOLE if size <= most), 0))
    if num_whole < 2:
        return Draws(values, linear, None, len(x))
    some = counts[0][:num_whole], counts[1][:num_whole]
    if x.shape[1] < len(x) and x.size * x.shape[1] <= _MOST_PRODUCTS:
        whole = np.stack([_frechet_of_counts(x, y, some) for y in ys], axis=1)
    else:
        rows = [_rows(part) for part in some]
        distances = [resampler(x, y).frechet for y in ys]
        whole = np.array([[frechet(i, j) for frechet in distances] for i, j in zip(*rows, strict=True)])
    return Draws(values, linear, whole - whole.mean(axis=0), len(x))


def _frechet_of_counts(x: Array, y: Array, counts: tuple[Array, Array]) -> Array:
    """(B,) Fréchet distances of resamples of few dimensions, all at once."""
    (mean_x, s_x), (mean_y, s_y) = (_moments(*side) for side in ((x, counts[0]), (y, counts[1])))
    values, vectors = np.linalg.eigh(s_x)
    half = vectors * np.sqrt(np.clip(values, 0, None))[:, None, :]
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(half.swapaxes(1, 2) @ s_y @ half), 0, None)).sum(axis=1)
    traces = np.trace(s_x, axis1=1, axis2=2) + np.trace(s_y, axis1=1, axis2=2)
    distances: Array = ((mean_x - mean_y) ** 2).sum(axis=1) + traces - 2 * roots
    return distances


def _moments(x: Array, counts: Array) -> tuple[Array, Array]:
    """Means (B, D) and unbiased covariances (B, D, D) of rows, each as often as its count."""
    n, d = x.shape
    centre = x.mean(axis=0)
    a = x - centre
    mean = counts @ a / n
    products = (counts @ (a[:, :, None] * a[:, None, :]).reshape(n, d * d)).reshape(-1, d, d)
    return mean + centre, (products - n * mean[:, :, None] * mean[:, None, :]) / (n - 1)


def frechet_influence(x: Array, y: Array) -> tuple[Array, Array]:
    """What each real and each fake image adds to the Fréchet distance, (N,) and (M,), each of mean 0.

    The derivative of |m_x - m_y|² + tr(S_x + S_y) - 2 |A Bᵀ|_* with respect to the images' weights: with the singular
    vectors A Bᵀ = U s Vᵀ the nuclear norm changes by half of (V s Vᵀ)_jj at the weight of image j.
    """
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    a, b = x - mean_x, y - mean_y
    share_x, share_y = _shares(a, b)
    towards = 2 * (mean_y - mean_x)
    of_x = -a @ towards + np.einsum("nd,nd->n", a, a) - len(x) * share_x
    of_y = b @ towards + np.einsum("nd,nd->n", b, b) - len(y) * share_y
    return of_x - of_x.mean(), of_y - of_y.mean()


def _shares(a: Array, b: Array) -> tuple[Array, Array]:
    """Diagonals of U s Uᵀ and V s Vᵀ of A Bᵀ / sqrt(N M), without an N x M matrix where both are over D."""
    scaled_a, scaled_b = a / np.sqrt(len(a)), b / np.sqrt(len(b))
    if min(len(a), len(b)) <= a.shape[1]:
        u, s, v = np.linalg.svd(scaled_a @ scaled_b.T, full_matrices=False)
        return (u**2) @ s, (v.T**2) @ s
    q_a, r_a = np.linalg.qr(scaled_a)
    q_b, r_b = np.linalg.qr(scaled_b)
    u, s, v = np.linalg.svd(r_a @ r_b.T)
    return ((q_a @ u) ** 2) @ s, ((q_b @ v.T) ** 2) @ s


def kernel_draws(x: Array, ys: Sequence[Array], counts: tuple[Array, Array]) -> Draws:
    """Unbiased MMD² of resamples; an image and its own repetition are no pair."""
    of_x, of_y = counts
    n, m = len(x), len(ys[0])
    within_x = _kernel(x, x)
    mean_x = _without_itself(within_x)
    aa = _within(within_x, of_x)
    values, linear, whole = [], [], []
    for y in ys:
        within, between = _kernel(y, y), _kernel(x, y)
        mean_y = _without_itself(within)
        values.append(float(mean_x.mean() + mean_y.mean() - 2 * between.mean()))
        influence = 2 * (mean_x - between.mean(axis=1)), 2 * (mean_y - between.mean(axis=0))
        centred = influence[0] - influence[0].mean(), influence[1] - influence[1].mean()
        linear.append(_linear(centred, counts))
        cross = np.einsum("bn,bn->b", of_x @ between, of_y) / (n * m)
        whole.append(aa + _within(within, of_y) - 2 * cross)
    together = np.stack(whole, axis=1)
    return Draws(np.array(values), np.stack(linear, axis=1), together - together.mean(axis=0), n)


def prd_draws(
    base: str,
    x: Array,
    ys: Sequence[Array],
    counts: tuple[Array, Array],
    *,
    num_clusters: int,
    seed: int,
    num_runs: int = 10,
) -> Draws:
    """PRD's F of resamples within the clusterings of all images, which are found once a generator."""
    from d2n.scores.kmeans import cluster
    from d2n.scores.prd import prd

    beta = 8.0 if base == "prd/f8" else 1 / 8
    values, draws = [], np.empty((len(counts[0]), len(ys)))
    for g, y in enumerate(ys):
        values.append(prd(x, y, num_clusters, num_runs=num_runs, seed=seed, method="fast").f_beta(beta))
        labels = cluster(np.concatenate([x, y]), num_clusters, num_runs, seed, exact=False)
        per_run = [
            _f_of_histograms(
                counts[0] @ _one_hot(run[: len(x)], num_clusters) / len(x),
                counts[1] @ _one_hot(run[len(x) :], num_clusters) / len(y),
                beta,
            )
            for run in np.asarray(labels)
        ]
        draws[:, g] = np.mean(per_run, axis=0)
    return Draws(np.array(values), draws - draws.mean(axis=0), None, len(x))


def jackknifed(
    measure: Callable[[npt.NDArray[np.intp]], Sequence[float]],
    num_images: int,
    num_resamples: int = 1000,
    seed: int = 0,
    num_groups: int = 20,
) -> Draws:
    """Any score: ``measure(rows)`` gives the generators' values on some of the images, here with a group left out.

    The groups' pseudo-values are resampled: their draws have the variance of the delete-a-group jackknife.
    """
    if num_images < 4:
        raise ScoreError(f"{num_images} images have no groups to leave out, expected at least 4: add images")
    groups = np.array_split(
        np.random.default_rng([seed, 1]).permutation(num_images), min(num_groups, num_images // 2)
    )
    whole = np.asarray(measure(np.arange(num_images)), dtype=np.float64)
    left = np.array([measure(np.setdiff1d(np.arange(num_images), group)) for group in groups])
    influence = (len(groups) - 1) * (left.mean(axis=0) - left)  # (groups, G)
    times = np.random.default_rng([seed, 2]).multinomial(
        len(groups), [1 / len(groups)] * len(groups), num_resamples
    )
    linear = times @ influence / len(groups)
    return Draws(whole, linear * np.sqrt(len(groups) / (len(groups) - 1)), None, num_images)


def _counts(num_real: int, num_fake: int, num_resamples: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    real, fake = (
        rng.multinomial(n, np.full(n, 1 / n), num_resamples).astype(np.float64) for n in (num_real, num_fake)
    )
    return real, fake


def _rows(counts: Array) -> list[npt.NDArray[np.intp]]:
    return [np.repeat(np.arange(counts.shape[1]), row.astype(int)) for row in counts]


def _linear(influence: tuple[Array, Array], counts: tuple[Array, Array]) -> Array:
    parts = [(c - 1) @ of / (len(of) - 1) for of, c in zip(influence, counts, strict=True)]
    return np.asarray(sum(parts))


def _kernel(x: Array, y: Array) -> Array:
    product: Array = (x @ y.T / x.shape[1] + 1) ** 3
    return product


def _without_itself(kernel: Array) -> Array:
    """(N,) mean kernel of each image to the others."""
    mean: Array = (kernel.sum(axis=1) - np.diag(kernel)) / (len(kernel) - 1)
    return mean


def _within(kernel: Array, counts: Array) -> Array:
    """Mean over the pairs of different images, each as often as both are drawn, (B,)."""
    total = np.einsum("bn,bn->b", counts @ kernel, counts) - counts**2 @ np.diag(kernel)
    mean: Array = total / (counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1))
    return mean


def _one_hot(labels: npt.NDArray[np.int64], num_clusters: int) -> Array:
    rows: Array = np.eye(num_clusters)[labels]
    return rows


def _f_of_histograms(p: Array, q: Array, beta: float) -> Array:
    """The grid-free maximum of F_β of (B, k) histograms, see prd.max_f_beta."""
    slopes = np.divide(q, p, out=np.zeros_like(q), where=p > 0)  # (B, k)
    precision = np.minimum(p[:, None, :] * slopes[:, :, None], q[:, None, :]).sum(axis=2)
    f = (1 + beta**2) * precision / (1 + beta**2 * slopes)
    best: Array = np.where(p > 0, f, 0.0).max(axis=1)
    return best
