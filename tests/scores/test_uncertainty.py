"""The FID's floor and interval against fresh samples of the same distribution."""

import numpy as np
import pytest

from d2n.scores.frechet import frechet_from_features
from d2n.scores.uncertainty import _Gram, _Moments, frechet_floor, frechet_interval


def sample(rng, n, shift=0.0):
    return rng.normal(size=(n, 24)) * np.linspace(0.2, 2, 24) + shift


def test_floor_is_the_distance_of_disjoint_halves_at_the_same_n():
    rng = np.random.default_rng(0)
    floor = frechet_floor(sample(rng, 200), num_images=100, num_splits=8)
    fresh = np.mean([frechet_from_features(sample(rng, 100), sample(rng, 100)) for _ in range(20)])
    assert (floor.num_images, floor.extrapolated) == (100, False)
    assert floor.value == pytest.approx(fresh, rel=0.1)
    assert 0 < floor.std < floor.value / 2


@pytest.mark.parametrize("n", [40, 100, 400])
def test_extrapolated_floor_is_near_the_true_one_and_not_below(n):
    rng = np.random.default_rng(n)
    true = np.mean([frechet_from_features(sample(rng, n), sample(rng, n)) for _ in range(20)])
    floors = [frechet_floor(sample(rng, n), n) for _ in range(10)]
    assert all(floor.extrapolated and floor.num_images == n // 2 for floor in floors)
    assert 0.95 * true < np.mean([floor.value for floor in floors]) < 1.25 * true


def test_floor_of_under_four_images_is_refused():
    with pytest.raises(ValueError, match="3 images"):
        frechet_floor(np.eye(3), 3)


def test_floor_of_duplicates_is_zero_and_not_nan():
    assert frechet_floor(np.repeat([[0.0, 1.0]], 8, axis=0), 8).value == pytest.approx(0, abs=1e-12)


def test_interval_covers_the_distances_of_fresh_samples_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    true = np.mean([frechet_from_features(sample(rng, 80), sample(rng, 80, 0.5)) for _ in range(60)])
    hits = 0
    for seed in range(40):
        x, y = sample(rng, 80), sample(rng, 80, 0.5)
        low, high = frechet_interval(x, y, frechet_from_features(x, y), 100, seed)
        hits += low <= true <= high
    assert hits >= 34


def test_interval_is_seeded_and_contains_the_value():
    rng = np.random.default_rng(2)
    x, y = sample(rng, 30), sample(rng, 30)
    value = frechet_from_features(x, y)
    low, high = frechet_interval(x, y, value, 60, seed=4)
    assert 0 <= low < value < high
    assert frechet_interval(x, y, value, 60, seed=4) == (low, high)


@pytest.mark.parametrize("form", [_Gram, _Moments])
@pytest.mark.parametrize("n", [20, 60])
def test_a_resample_gives_the_distance_itself(form, n):
    rng = np.random.default_rng(3)
    x, y = sample(rng, n) + 5, sample(rng, n + 6, 1) + 5
    i, j = rng.integers(n, size=n), rng.integers(n + 6, size=n + 6)
    assert form(x, y).frechet(i, j) == pytest.approx(frechet_from_features(x[i], y[j]), rel=1e-6)
