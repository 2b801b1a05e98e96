"""Precision, recall, density, coverage: hand-computed on a line, by brute force, and at ties."""

import numpy as np
import pytest

from d2n.errors import ScoreError
from d2n.scores.neighbours import precision_recall_density_coverage


def brute(real, fake, k):
    def distances(x, y):
        return ((x[:, None] - y[None]) ** 2).sum(axis=2)

    def radii(x):
        return np.sort(distances(x, x) + np.diag(np.full(len(x), np.inf)), axis=1)[:, k - 1]

    between = distances(real, fake)
    in_real, in_fake = between < radii(real)[:, None], between < radii(fake)[None]
    return (
        in_real.any(0).mean(), in_fake.any(1).mean(), in_real.sum(0).mean() / k, in_real.any(1).mean(),
    )  # fmt: skip


def values(found):
    return found.precision, found.recall, found.density, found.coverage


def test_hand_computed_on_a_line():
    real, fake = np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [10.0], [10.5]])
    # radii of reals 1, 1, 2; of fakes 9.5, 0.5, 0.5
    found = precision_recall_density_coverage(real, fake, k=1)
    assert values(found) == pytest.approx((1 / 3, 1.0, 2 / 3, 2 / 3))


def test_a_point_at_the_radius_itself_is_outside():
    real, fake = np.array([[0.0], [2.0], [9.0]]), np.array([[-2.0], [-50.0], [-51.0]])
    assert precision_recall_density_coverage(real, fake, k=1).precision == 0


@pytest.mark.parametrize("k", [3, 5])
def test_agrees_with_brute_force(k):
    rng = np.random.default_rng(k)
    real, fake = rng.normal(size=(60, 7)), rng.normal(size=(80, 7)) * 0.9
    assert values(precision_recall_density_coverage(real, fake, k)) == pytest.approx(brute(real, fake, k))


def test_ties_and_duplicates_are_decided_exactly_far_from_the_origin():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(50, 40)) + 1000  # cancellation in a matrix product would decide ties at random
    for fake in (real.copy(), np.concatenate([real[:25], real[:25]])):
        assert values(precision_recall_density_coverage(real, fake, 3)) == brute(real, fake, 3)


def test_identical_sets_have_density_and_coverage_one():
    x = np.random.default_rng(2).normal(size=(40, 20))
    assert values(precision_recall_density_coverage(x, x, 5)) == (1, 1, 1, 1)


def test_k_must_be_below_the_number_of_images():
    x = np.random.default_rng(3).normal(size=(5, 2))
    with pytest.raises(ScoreError, match="k is 5 with 5 real and 5 fake images, expected 1 to 4"):
        precision_recall_density_coverage(x, x, 5)
