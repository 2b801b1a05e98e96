"""PRD: hand-computed curves, the reference's definition, exact maxima, and what mixing up the sides does."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2n.errors import ScoreError
from d2n.scores.prd import PrdCurve, max_f_beta, prd, prd_from_histograms

P, Q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.1, 0.3, 0.2, 0.4])


def by_loops(reference, evaluated, angles):
    precision = [
        sum(min(np.tan(a) * p, q) for p, q in zip(reference, evaluated, strict=True)) for a in angles
    ]
    return np.array(precision), np.array([v / np.tan(a) for v, a in zip(precision, angles, strict=True)])


@pytest.mark.parametrize(
    ("grid", "angles"),
    [
        ("reference", np.linspace(1e-10, np.pi / 2 - 1e-10, 11)),
        ("thesis", np.arange(1, 12) / 12 * np.pi / 2),
    ],
)
def test_curve_follows_the_definition_on_each_grid(grid, angles):
    precision, recall = by_loops(P, Q, angles)
    curve = prd_from_histograms(P, Q, num_angles=11, grid=grid)
    np.testing.assert_allclose(curve.precision, precision.clip(0, 1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.recall, recall.clip(0, 1), rtol=0, atol=1e-12)


def test_slope_one_gives_the_overlap():
    curve = prd_from_histograms(P, Q, num_angles=101, grid="thesis")
    middle = 50  # 51 / 102 of a quarter turn: slope 1
    assert curve.precision[middle] == pytest.approx(0.6, abs=1e-12)
    assert curve.recall[middle] == pytest.approx(0.6, abs=1e-12)


def test_ends_of_the_curve_are_the_supports():
    curve = prd_from_histograms(P, Q)
    assert curve.precision.max() == pytest.approx(0.6, abs=1e-6)  # Q's mass where P lives
    assert curve.recall.max() == pytest.approx(1.0, abs=1e-6)  # P's mass where Q lives


def test_exchanging_the_sides_exchanges_precision_and_recall():
    one, other = prd_from_histograms(P, Q), prd_from_histograms(Q, P)
    np.testing.assert_allclose(one.precision, other.recall[::-1], atol=1e-9)


@pytest.mark.parametrize(("reference", "evaluated", "value"), [(P, P, 1.0), ([1.0, 0.0], [0.0, 1.0], 0.0)])
def test_equal_and_disjoint_distributions(reference, evaluated, value):
    curve = prd_from_histograms(reference, evaluated)
    for beta in (1 / 8, 1, 8):
        assert curve.f_beta(beta) == pytest.approx(value, abs=1e-12)
        assert max_f_beta(reference, evaluated, beta) == pytest.approx(value, abs=1e-12)


def test_f_beta_is_the_maximum_over_the_curve_and_zero_where_both_are():
    curve = PrdCurve(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.8, 0.1]))
    assert curve.f_beta(8) == pytest.approx(65 * 0.5 * 0.8 / (64 * 0.5 + 0.8))
    assert PrdCurve(np.zeros(3), np.zeros(3)).f_beta(8) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=20),
    st.sampled_from([1 / 8, 0.5, 1.0, 3.0, 8.0]),
)
def test_grid_free_maximum_is_the_supremum_over_fine_grids(counts, beta):
    p, q = (np.array(side, dtype=float) for side in zip(*counts, strict=True))
    if not p.sum() or not q.sum():
        return
    p, q = p / p.sum(), q / q.sum()
    exact = max_f_beta(p, q, beta)
    fine = prd_from_histograms(p, q, num_angles=20001).f_beta(beta)
    assert fine <= exact + 1e-9
    assert fine == pytest.approx(exact, abs=1e-2)


def test_histograms_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ScoreError, match="the histograms sum to 10 and 10"):
        prd_from_histograms([5, 3, 2], [1, 4, 5])


@pytest.mark.parametrize(
    ("p", "q", "words"),
    [([0.5, 0.5], [1.0], "shapes"), ([-0.1, 1.1], [0.5, 0.5], "negative"), ([np.nan, 1], [0.5, 0.5], "NaN")],
)
def test_bad_histograms_are_refused(p, q, words):
    with pytest.raises(ScoreError, match=words):
        prd_from_histograms(p, q)


@pytest.fixture
def sets():
    """Fakes miss half of the real modes and add none: precision is high, recall is not."""
    rng = np.random.default_rng(0)
    centres = 30 * rng.normal(size=(8, 10))
    real = centres[rng.integers(8, size=400)] + rng.normal(size=(400, 10))
    fake = centres[rng.integers(4, size=400)] + rng.normal(size=(400, 10))
    return real, fake


def test_missing_modes_cost_recall_and_not_precision(sets):
    curve = prd(*sets, num_clusters=8)
    assert curve.f_beta(1 / 8) > 0.9
    assert curve.f_beta(8) < 0.65
    swapped = prd(sets[1], sets[0], num_clusters=8)
    assert swapped.f_beta(8) == pytest.approx(curve.f_beta(1 / 8), abs=0.02)


EXACT = [(100, 16), (113, 512), (600, 32), pytest.param(3000, 256, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("n", "d"), EXACT)
def test_fast_agrees_with_exact(n, d):
    rng = np.random.default_rng(n)
    mixing = rng.normal(size=(20, d))
    real = np.maximum(rng.normal(size=(n, 20)) @ mixing, 0)
    fake = np.maximum((rng.normal(size=(n, 20)) * 0.8 + 0.3) @ mixing, 0)
    exact, fast = prd(real, fake), prd(real, fake, method="fast")
    for beta in (8, 1 / 8):
        assert fast.f_beta(beta) == pytest.approx(exact.f_beta(beta), abs=5e-3)


def test_the_curve_is_the_mean_of_its_runs_and_the_same_seed_gives_it_again(sets):
    curve = prd(*sets, num_runs=4, seed=5)
    np.testing.assert_array_equal(curve.precision, np.mean([run.precision for run in curve.runs], axis=0))
    again = prd(*(torch.from_numpy(side) for side in sets), num_runs=4, seed=5)
    np.testing.assert_array_equal(curve.recall, again.recall)
    assert curve.f_beta_std(8) == pytest.approx(np.std([run.f_beta(8) for run in curve.runs]))


def test_a_larger_side_is_subsampled_and_that_is_said(sets, caplog):
    real, fake = sets
    with caplog.at_level(logging.WARNING):
        prd(real, fake[:100], num_clusters=8, seed=3)
    assert "of 400 real and 100 fake images 100 a side" in caplog.text
    assert "seed 3" in caplog.text


@pytest.mark.parametrize("num_clusters", [1, 41])
def test_clusters_beyond_the_points_are_refused(num_clusters):
    rng = np.random.default_rng(0)
    with pytest.raises(ScoreError, match=f"{num_clusters} clusters with 20 images"):
        prd(rng.normal(size=(20, 3)), rng.normal(size=(20, 3)), num_clusters=num_clusters)


def test_an_unknown_method_is_refused(sets):
    with pytest.raises(ScoreError, match="exact or fast"):
        prd(*sets, method="quick")
