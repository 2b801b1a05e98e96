"""Resamples of several generators on the same images."""

from __future__ import annotations

import numpy as np
import pytest

from d2n.errors import ScoreError
from d2n.scores.frechet import frechet_from_features
from d2n.scores.kid import kid
from d2n.scores.paired import frechet_draws, frechet_influence, jackknifed, resampled
from d2n.scores.prd import prd


def features(n: int, d: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) / np.sqrt(np.arange(1, d + 1)) + shift


@pytest.mark.parametrize(("n", "d"), [(30, 6), (12, 40)])
def test_the_influence_is_the_derivative_by_an_images_weight(n: int, d: int) -> None:
    """Against the Fréchet distance of weighted moments, one image a little heavier."""
    x, y = features(n, d), features(n, d, 1, 0.3)

    def weighted(of_x: np.ndarray, of_y: np.ndarray) -> float:
        moments = []
        for rows, w in ((x, of_x), (y, of_y)):
            mean = w @ rows
            moments.append((mean, (rows - mean) * np.sqrt(w)[:, None]))
        (mean_x, a), (mean_y, b) = moments
        root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
        return float(np.sum((mean_x - mean_y) ** 2) + (a**2).sum() + (b**2).sum() - 2 * root)

    even, step = np.full(n, 1 / n), 1e-6
    of_x, of_y = frechet_influence(x, y)
    for i in (0, n // 2):
        heavier = (1 - step) * even + step * (np.arange(n) == i)
        lighter = (1 + step) * even - step * (np.arange(n) == i)
        assert (weighted(heavier, even) - weighted(lighter, even)) / (2 * step) == pytest.approx(
            of_x[i], rel=1e-3
        )
        assert (weighted(even, heavier) - weighted(even, lighter)) / (2 * step) == pytest.approx(
            of_y[i], rel=1e-3
        )


def test_values_are_those_of_the_scores_themselves() -> None:
    x, ys = features(40, 10), [features(40, 10, 1, 0.2), features(40, 10, 2, 0.5)]
    assert resampled("fid", x, ys, 20).values == pytest.approx([frechet_from_features(x, y) for y in ys])
    plain = [kid(x, y, subset_size=40, num_subsets=1)[0] for y in ys]
    assert resampled("kid", x, ys, 20).values == pytest.approx(plain)
    curves = [prd(x, y, 5, seed=0, method="fast").f_beta(8) for y in ys]
    assert resampled("prd/f8", x, ys, 20, num_clusters=5).values == pytest.approx(curves)


def test_far_from_the_real_images_derivative_and_whole_bootstrap_agree() -> None:
    x, ys = features(60, 4), [features(60, 4, 1, 3.0), features(60, 4, 2, 4.0)]
    for base in ("fid", "kid"):
        draws = resampled(base, x, ys, 400)
        assert draws.whole is not None
        for g in (0, 1):
            ratio = draws.whole[:, g].std() / draws.linear[: len(draws.whole), g].std()
            assert ratio == pytest.approx(1, abs=0.1), base


def test_whole_resamples_are_the_distances_of_the_rows_drawn() -> None:
    x, y = features(30, 5), features(30, 5, 1, 0.5)
    counts = tuple(np.random.default_rng(i).multinomial(30, np.full(30, 1 / 30), 6) * 1.0 for i in (0, 1))
    draws = frechet_draws(x, [y], counts, 6)  # type: ignore[arg-type]  # a pair
    rows = [[np.repeat(np.arange(30), row.astype(int)) for row in side] for side in counts]
    expected = np.array([frechet_from_features(x[i], y[j]) for i, j in zip(*rows, strict=True)])
    assert draws.whole is not None
    assert draws.whole[:, 0] == pytest.approx(expected - expected.mean())
    wide = frechet_draws(features(30, 40), [features(30, 40, 1)], counts, 6)  # type: ignore[arg-type]  # a pair
    expected = np.array(
        [
            frechet_from_features(features(30, 40)[i], features(30, 40, 1)[j])
            for i, j in zip(*rows, strict=True)
        ]
    )
    assert wide.whole is not None
    assert wide.whole[:, 0] == pytest.approx(expected - expected.mean(), abs=1e-6)


@pytest.mark.parametrize("base", ["fid", "kid", "prd/f8"])
def test_the_same_images_are_drawn_for_all(base: str) -> None:
    x, y = features(40, 6), features(40, 6, 1, 0.5)
    draws = resampled(base, x, [y, y], 100, num_clusters=6)
    assert draws.linear[:, 0] == pytest.approx(draws.linear[:, 1])
    other = resampled(base, x, [y, features(40, 6, 2, 0.5)], 100, num_clusters=6)
    assert np.std(other.linear[:, 0] - other.linear[:, 1]) > 0


def test_any_score_by_leaving_out_groups() -> None:
    values = np.random.default_rng(0).normal(size=200)
    draws = jackknifed(lambda rows: [values[rows].mean(), 0.0], 200, 4000, num_groups=40)
    assert draws.values == pytest.approx([values.mean(), 0.0])
    assert draws.linear[:, 0].std() == pytest.approx(values.std(ddof=1) / np.sqrt(200), rel=0.25)
    assert not draws.linear[:, 1].any()


def test_what_cannot_be_resampled_is_refused() -> None:
    x = features(10, 3)
    with pytest.raises(ScoreError, match="the same days for all"):
        resampled("fid", x, [features(10, 3, 1), features(9, 3, 2)])
    with pytest.raises(ScoreError, match="of no images"):
        resampled("fid", x, [])
    with pytest.raises(ScoreError, match="expected one of fid"):
        resampled("ssim", x, [x])
    with pytest.raises(ScoreError, match="no groups"):
        jackknifed(lambda rows: [0.0], 3)
