"""The Gaussian kernel's distance, against its formula written out."""

import math

import numpy as np
import pytest

from d2n.core import ScoreProtocol
from d2n.errors import ScoreError
from d2n.scores.cmmd import cmmd, standard_error
from d2n.scores.evaluate import evaluate


def test_two_by_two_by_hand():
    """Within x and within y the features are orthogonal, across they are opposite or orthogonal."""
    x, y = np.array([[2.0, 0], [0, 3.0]]), np.array([[-1.0, 0], [0, -5.0]])

    def k(squared):
        return math.exp(-squared / 200)

    expected = 1000 * (k(2) + k(2) - 2 * (2 * k(4) + 2 * k(2)) / 4)
    assert cmmd(x, y) == pytest.approx(expected)


def test_length_does_not_count_and_equal_distributions_average_zero():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30, 5))
    assert cmmd(x, y + 2) == pytest.approx(cmmd(4 * x, 0.5 * (y + 2)))
    draws = [cmmd(*rng.normal(size=(2, 30, 5))) for _ in range(200)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / math.sqrt(200)


def test_the_standard_error_is_that_of_many_draws():
    rng = np.random.default_rng(1)
    draws = [rng.normal(size=(2, 40, 5)) for _ in range(150)]
    values = [cmmd(x, y + 0.7) for x, y in draws]
    errors = [standard_error(x, y + 0.7) for x, y in draws]
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)


def test_it_is_scored_with_interval_and_floor():
    x, y = np.random.default_rng(2).normal(size=(2, 20, 4))
    protocol = ScoreProtocol("vgg16", "0", "none", 20, "r")
    (score,) = evaluate(x, y + 1, ["cmmd"], protocol).scores
    assert score.name == "cmmd.vgg16"
    assert score.interval[0] < score.value < score.interval[1]
    assert abs(score.floor) < score.value
    with pytest.raises(ScoreError, match="from 2 images a side"):
        evaluate(x[:2], y[:2], ["cmmd"], ScoreProtocol("vgg16", "0", "none", 2, "r"))
