"""FID without the bias of few images."""

import numpy as np
import pytest

from d2n.core import ScoreProtocol
from d2n.errors import ScoreError
from d2n.scores.evaluate import Settings, evaluate
from d2n.scores.fid_infinity import fid_infinity
from d2n.scores.frechet import frechet_from_features


def test_the_intercept_is_nearer_to_the_true_distance_than_fid():
    """Two samples of one distribution: 0; FID is biased upwards."""
    found, plain = [], []
    for seed in range(8):
        x, y = np.random.default_rng(seed).normal(size=(2, 200, 16))
        found.append(fid_infinity(x, y))
        plain.append(frechet_from_features(x, y))
    assert abs(np.mean(found)) < 0.2 * np.mean(plain)


def test_a_line_through_two_sizes_is_extrapolated_by_hand():
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3))
    rng = np.random.default_rng(0)
    by_size = [
        frechet_from_features(*(side[rng.permutation(8)[:size]] for side in (x, y))) for size in (4, 8)
    ]
    assert fid_infinity(x, y, num_sizes=2) == pytest.approx(2 * by_size[1] - by_size[0])


def test_interval_floor_and_least():
    x, y = np.random.default_rng(0).normal(size=(2, 40, 4))
    protocol = ScoreProtocol("toy", "0", "none", 40, "r")
    (score,) = evaluate(x, y + 1, ["fid_infinity"], protocol).scores
    assert score.interval[0] < score.value < score.interval[1]
    assert score.floor < score.value
    assert (
        evaluate(x, y, ["fid_infinity"], protocol, settings=Settings(num_bootstrap=0)).scores[0].interval
        is None
    )
    with pytest.raises(ScoreError, match="7 images a side, expected at least 8"):
        fid_infinity(x[:7], y[:7])
