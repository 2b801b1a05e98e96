"""Intervals by bootstrap."""

import numpy as np
import pytest

from d2n.errors import ScoreError
from d2n.scores.resampling import half_against_half, interval, mean_interval, paired_difference


def test_a_mean_of_normal_values_has_the_interval_of_theory():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = mean_interval(values, 4000)
    error = values.std() / 20
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.02
    )
    assert mean_interval(values, 4000) == (low, high)


def test_no_resamples_or_one_value_have_no_interval():
    assert mean_interval(np.ones(4), 0) is None
    assert mean_interval(np.ones(1), 10) is None
    assert interval(lambda a, b: 0.0, (np.ones((1, 2)), np.ones((5, 2))), 10) is None


def test_each_sample_is_drawn_with_its_own_size():
    found = interval(lambda a, b: float(len(a) * 100 + len(b)), (np.ones((3, 2)), np.ones((5, 2))), 10)
    assert found == (305, 305)


def test_halves_are_disjoint():
    sample = np.arange(11.0)[:, None]
    assert half_against_half(lambda a, b: float(len(np.intersect1d(a, b)) + 10 * len(a)), sample) == 50
    assert half_against_half(lambda a, b: 0.0, sample[:3]) is None


def test_a_difference_over_the_same_queries_is_paired() -> None:
    rng = np.random.default_rng(0)
    hard = rng.uniform(size=50)  # queries differ far more than arms do
    theirs = np.stack([hard, hard])
    value, found = paired_difference(theirs + 0.05 + 0.01 * rng.normal(size=50), theirs)
    assert value == pytest.approx(0.05, abs=0.005)
    assert found is not None
    assert 0.04 < found[0] < value < found[1] < 0.06
    holes = theirs.copy()
    holes[:, 0] = np.nan
    assert paired_difference(holes, theirs)[0] == pytest.approx(0)
    assert paired_difference(theirs[:, :1], theirs[:, :1]) == (0.0, None)
    with pytest.raises(ScoreError, match="50 and 49 queries"):
        paired_difference(theirs, theirs[:, 1:])
