"""Fréchet distance: closed forms, 50-digit arithmetic on singular covariances, scipy where it is right."""

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch

from d2n.errors import ScoreError
from d2n.scores.frechet import FeatureStats, frechet_distance, frechet_from_features


def fifty_digits(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, through eigenvalues of S_x S_y in 50-digit arithmetic on the smaller Gram side."""
    with mpmath.workdps(50):
        a, b = (_centred(rows) for rows in (x, y))
        mean_x, mean_y = (_means(rows) for rows in (x, y))
        difference = sum((p - q) ** 2 for p, q in zip(mean_x, mean_y, strict=True))
        cross = a * b.T
        gram = cross * cross.T  # its eigenvalues are those of S_x S_y that are not zero
        values = mpmath.eigsy(gram, eigvals_only=True)
        root = sum(mpmath.sqrt(value) for value in values if value > mpmath.mpf(10) ** -40)
        variance = sum(v**2 for v in a) + sum(v**2 for v in b)
        return float(difference + variance - 2 * root)


def _means(rows: np.ndarray) -> list:
    return [sum(mpmath.mpf(float(v)) for v in column) / len(rows) for column in rows.T]


def _centred(rows: np.ndarray):
    means, scale = _means(rows), mpmath.sqrt(len(rows) - 1)
    return mpmath.matrix(
        [[(mpmath.mpf(float(v)) - m) / scale for v, m in zip(r, means, strict=True)] for r in rows]
    )


def by_sqrtm(x: np.ndarray, y: np.ndarray) -> float:
    sx, sy = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.trace(scipy.linalg.sqrtm(sx @ sy)).real
    return float(np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(sx) + np.trace(sy) - 2 * root)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(("n", "m", "d"), [(6, 6, 12), (8, 5, 20), (12, 4, 7), (9, 10, 6)])
def test_agrees_with_fifty_digits_where_covariances_are_singular_and_where_not(rng, n, m, d):
    x, y = rng.normal(size=(n, d)), 2 + 3 * rng.normal(size=(m, d))
    assert frechet_from_features(x, y) == pytest.approx(fifty_digits(x, y), rel=1e-9)


def test_agrees_with_fifty_digits_when_columns_repeat_or_differ_by_many_magnitudes(rng):
    x, y = rng.normal(size=(10, 4)), rng.normal(size=(10, 4))
    x, y = np.hstack([x, x, 1e-6 * x]), np.hstack([y, y, 1e3 * y])
    assert frechet_from_features(x, y) == pytest.approx(fifty_digits(x, y), rel=1e-9)


def test_shift_alone_gives_its_squared_length(rng):
    x = rng.normal(size=(50, 8))
    assert frechet_from_features(x, x + 3) == pytest.approx(8 * 9, rel=1e-12)


def test_scaling_alone_gives_the_variance_closed_form(rng):
    x = rng.normal(size=(400, 6))
    x -= x.mean(axis=0)
    variance = np.trace(np.cov(x, rowvar=False))
    assert frechet_from_features(x, 3 * x) == pytest.approx((3 - 1) ** 2 * variance, rel=1e-10)


def test_commuting_diagonal_gaussians_have_the_closed_form():
    a = FeatureStats.from_moments(np.zeros(3), np.diag([1.0, 4.0, 9.0]))
    b = FeatureStats.from_moments(np.ones(3), np.diag([4.0, 4.0, 0.0]))
    assert frechet_distance(a, b) == pytest.approx(3 + 1 + 0 + 9, rel=1e-12)


@pytest.mark.parametrize("shape", [(30, 64), (200, 16)])
def test_identical_sets_are_at_zero(rng, shape):
    x = rng.normal(size=shape)
    assert frechet_from_features(x, x) == pytest.approx(0, abs=1e-10)


def test_well_conditioned_covariances_agree_with_scipy_and_with_singular_values(rng):
    x, y = rng.normal(size=(500, 32)), rng.normal(size=(600, 32)) @ rng.normal(size=(32, 32))
    a, b = FeatureStats.from_features(x), FeatureStats.from_features(y)
    exact = float(np.sum((a.mean - b.mean) ** 2)) + a.variance + b.variance
    exact -= 2 * np.linalg.svd(a.factor @ b.factor.T, compute_uv=False).sum()
    assert frechet_distance(a, b) == pytest.approx(exact, rel=1e-10)
    assert frechet_distance(a, b) == pytest.approx(by_sqrtm(x, y), rel=1e-8)


def test_symmetric_and_independent_of_the_input_kind(rng):
    x, y = rng.normal(size=(20, 30)).astype(np.float32), rng.normal(size=(25, 30)).astype(np.float32)
    value = frechet_from_features(x, y)
    assert frechet_from_features(y, x) == pytest.approx(value, rel=1e-12)
    assert frechet_from_features(torch.from_numpy(x).requires_grad_(), torch.from_numpy(y)) == value


def test_moments_and_features_give_the_same_distance(rng):
    x, y = rng.normal(size=(100, 10)), rng.normal(size=(90, 10)) * 2
    a, b = (FeatureStats.from_moments(v.mean(0), np.cov(v, rowvar=False), len(v)) for v in (x, y))
    assert frechet_distance(a, b) == pytest.approx(frechet_from_features(x, y), rel=1e-10)


def test_statistics_hold_mean_and_unbiased_covariance(rng):
    x = rng.normal(size=(40, 5))
    stats = FeatureStats.from_features(x)
    np.testing.assert_allclose(stats.mean, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(stats.covariance, np.cov(x, rowvar=False), rtol=1e-12)
    assert (stats.num_images, stats.dim) == (40, 5)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.zeros((1, 4)), np.eye(4), "1 image"),
        (np.eye(4), np.eye(5), "4 dimensions and fake features 5"),
        (np.eye(4) * np.nan, np.eye(4), "16 NaN"),
        (np.eye(4), np.where(np.eye(4) > 0, np.inf, 0), "4 NaN or infinite"),
        (np.ones((3, 4)), np.eye(4), "all 3 real feature vectors are the same"),
        (np.zeros(4), np.eye(4), r"shape \(4,\)"),
        (np.eye(4), np.array([["a"] * 4] * 4), "expected numbers"),
    ],
)
def test_bad_features_are_refused_with_their_numbers(x, y, words):
    with pytest.raises(ScoreError, match=words):
        frechet_from_features(x, y)


def test_statistics_of_other_dimensions_are_refused(rng):
    with pytest.raises(ScoreError, match="of 3 and of 4 dimensions"):
        frechet_distance(
            FeatureStats.from_features(rng.normal(size=(5, 3))),
            FeatureStats.from_features(rng.normal(size=(5, 4))),
        )
