"""Spearman's rank correlation and its bootstrap interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from d2n.errors import D2NError
from d2n.plots import rank_correlation, spearman


def test_hand_computed_without_ties() -> None:
    # ranks 1 2 3 4 5 against 2 1 4 3 5: sum of squared differences 4, rho = 1 - 6 * 4 / (5 * 24) = 0.8
    assert spearman([10, 20, 30, 40, 50], [2, 1, 4, 3, 5]) == pytest.approx(0.8, abs=1e-12)


def test_published_table_of_five_generators() -> None:
    # Thesis table 5.1, FID on R-SfM and mAP on 24/7 Tokyo: rho(-FID, mAP) = 0.3
    fid = [89.67, 189.70, 81.63, 56.64, 144.53]
    tokyo = [88.49, 81.50, 86.61, 82.21, 82.31]
    assert spearman([-value for value in fid], tokyo) == pytest.approx(0.3, abs=1e-12)
    found = rank_correlation([-value for value in fid], tokyo)
    assert found.interval is not None
    low, high = found.interval
    assert low < 0 < high
    assert "its sign is not settled" in found.describe()


def test_ties_take_their_mean_rank_as_scipy_does() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 4, 30).tolist(), rng.integers(0, 4, 30).tolist()
    assert spearman(x, y) == pytest.approx(float(spearmanr(x, y).statistic), abs=1e-12)


def test_perfect_order_has_a_tight_interval() -> None:
    found = rank_correlation(list(range(20)), [v**3 for v in range(20)])
    assert (found.rho, found.interval) == (1.0, (1.0, 1.0))
    assert "its sign holds" in found.describe()


def test_interval_repeats_with_the_seed_and_covers_the_value() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=25)
    y = x + rng.normal(size=25)
    first, again = rank_correlation(x.tolist(), y.tolist()), rank_correlation(x.tolist(), y.tolist())
    assert first == again
    assert first.interval is not None
    assert first.interval[0] < first.rho < first.interval[1]


def test_too_few_points_have_no_interval() -> None:
    found = rank_correlation([1, 2, 3, 4], [1, 2, 3, 4])
    assert (found.rho, found.interval, found.num_points) == (1.0, None, 4)
    assert "too few" in found.describe()


def test_constant_sides_and_single_points_are_not_defined() -> None:
    for x, y in (([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]), ([1], [2]), ([], [])):
        found = rank_correlation(x, y)
        assert math.isnan(found.rho)
        assert found.interval is None
        assert "not defined" in found.describe()


def test_points_that_are_not_finite_are_left_out() -> None:
    assert rank_correlation([1, 2, math.nan, 4], [1, 2, 3, math.inf]).num_points == 2


def test_sides_of_different_length_are_refused() -> None:
    with pytest.raises(D2NError, match=r"\(2,\) and \(3,\)"):
        spearman([1, 2], [1, 2, 3])
