"""Inception Score: bounds, a hand-computed value, contiguous splits, torch-fidelity."""

import numpy as np
import pytest
import torch

from d2n.errors import ScoreError
from d2n.scores.inception_score import inception_score


def test_bounds_are_one_and_the_number_of_classes():
    assert inception_score(np.full((10, 4), 0.25)) == pytest.approx((1.0, 0.0))
    assert inception_score(np.eye(4))[0] == pytest.approx(4)


def test_hand_computed():
    # marginal (1/2, 1/2); KL of each row: 0.9 log 1.8 + 0.1 log 0.2
    expected = np.exp(0.9 * np.log(1.8) + 0.1 * np.log(0.2))
    assert inception_score([[0.9, 0.1], [0.1, 0.9]])[0] == pytest.approx(expected)


def test_splits_are_contiguous_and_deviate_as_a_population():
    p = np.concatenate([np.eye(3), np.full((3, 3), 1 / 3)])
    assert inception_score(p, splits=2) == pytest.approx((2.0, 1.0))


def test_agrees_with_torch_fidelity():
    reference = pytest.importorskip("torch_fidelity.metric_isc")
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(103, 20)) * 2)
    expected = reference.isc_features_to_metric(logits, splits=5, shuffle=False)
    mean, std = inception_score(logits.softmax(1), splits=5)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert std == pytest.approx(expected["inception_score_std"], rel=1e-9)


@pytest.mark.parametrize(
    ("p", "splits", "words"),
    [
        (np.ones((3, 2)), 1, "rows that sum to 1"),
        ([[1.5, -0.5], [0.5, 0.5]], 1, "values"),
        (np.eye(3), 4, "4 splits of 3 images"),
        (np.eye(1), 1, "1 image"),
    ],
)
def test_bad_probabilities_are_refused(p, splits, words):
    with pytest.raises(ScoreError, match=words):
        inception_score(p, splits)
