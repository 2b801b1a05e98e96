"""KID against the definition by loops and against torch-fidelity."""

import numpy as np
import pytest
import torch

from d2n.errors import ScoreError
from d2n.scores import kid as module
from d2n.scores.kid import kid, kid_standard_error


def by_loops(x: np.ndarray, y: np.ndarray) -> float:
    def k(a, b):
        return (np.dot(a, b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.fixture
def sets():
    rng = np.random.default_rng(1)
    return rng.normal(size=(40, 12)), rng.normal(size=(40, 12)) + 0.3


def test_one_full_subset_is_the_plain_unbiased_estimate(sets):
    mean, std = kid(*sets, subset_size=40, num_subsets=1)
    assert mean == pytest.approx(by_loops(*sets), rel=1e-12)
    assert std == 0


def test_hand_computed_value():
    # k(1,1) = 8, k(1,-1) = 0, k(1,0) = k(-1,0) = 1, k(0,0) = 1; x = {1, -1}, y = {0, 1}
    mean, _ = kid([[1.0], [-1.0]], [[0.0], [1.0]])
    assert mean == pytest.approx(0 + 1 - 2 * (1 + 8 + 1 + 0) / 4)


def test_identical_sets_may_be_negative_and_shifted_ones_are_positive(sets):
    x, _ = sets
    assert kid(x, x)[0] < 0
    assert kid(x, x + 2)[0] > 1


@pytest.mark.parametrize("size", [5, 30])  # below and above where one kernel over all images is cheaper
def test_subsets_are_those_the_seed_draws(sets, size):
    x, y = sets
    rng = np.random.default_rng(3)
    chosen_x = [rng.choice(40, size, replace=False) for _ in range(7)]
    chosen_y = [rng.choice(40, size, replace=False) for _ in range(7)]
    expected = [by_loops(x[np.sort(i)], y[np.sort(j)]) for i, j in zip(chosen_x, chosen_y, strict=True)]
    mean, std = kid(x, y, subset_size=size, num_subsets=7, seed=3)
    assert mean == pytest.approx(np.mean(expected), rel=1e-10)
    assert std == pytest.approx(np.std(expected), rel=1e-10)


def test_more_rows_than_one_block_holds_give_the_plain_estimate():
    rng = np.random.default_rng(2)
    n = module._BLOCK_ROWS + 100
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 3)) + 0.2
    xx, yy, xy = ((a @ b.T / 3 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    expected = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (n * (n - 1)) - 2 * xy.mean()
    assert kid(x, y, subset_size=n, num_subsets=1)[0] == pytest.approx(expected, rel=1e-9)


def test_subset_size_is_at_most_the_smaller_side(sets):
    x, y = sets
    assert kid(x, y[:10], subset_size=1000, num_subsets=3)[0] == pytest.approx(
        kid(x, y[:10], subset_size=10, num_subsets=3)[0]
    )


def test_agrees_with_torch_fidelity(sets):
    reference = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = (torch.from_numpy(side) for side in sets)
    expected = reference.kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=40, verbose=False)
    assert kid(x, y)[0] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)


def test_standard_error_matches_the_spread_over_fresh_samples():
    rng = np.random.default_rng(5)
    draws = [(rng.normal(size=(60, 8)), rng.normal(size=(60, 8)) + 0.5) for _ in range(300)]
    spread = np.std([kid(x, y)[0] for x, y in draws])
    assert np.mean([kid_standard_error(x, y) for x, y in draws[:50]]) == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize(("size", "number"), [(1, 10), (10, 0)])
def test_empty_subsets_are_refused(sets, size, number):
    with pytest.raises(ScoreError, match="expected at least 1 of 2"):
        kid(*sets, subset_size=size, num_subsets=number)
