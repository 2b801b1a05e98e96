"""Brightness statistics, by hand and against scipy."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from d2n.core import ScoreProtocol
from d2n.scores.evaluate import Beside, evaluate
from d2n.scores.luminance import contrast_gap, distance, histograms, luma, mean_gap


def _grey(*levels):
    return np.stack([np.full((4, 4, 3), level, np.uint8) for level in levels])


def test_luma_weighs_the_channels():
    pixels = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]]], np.uint8)
    assert luma(pixels) == pytest.approx(np.array([[[76.245, 149.685, 29.07, 18.15]]]))


def test_even_images_by_hand():
    real, fake = histograms(_grey(0, 102)), histograms(_grey(51, 255))
    assert distance(real, fake) == pytest.approx((51 + 153) / 2 / 255)
    assert mean_gap(real, fake) == pytest.approx(0.4)
    assert contrast_gap(real, fake) == pytest.approx(0)
    halves = np.concatenate([_grey(0), _grey(255)], axis=1)
    assert contrast_gap(histograms(halves), real) == pytest.approx(0.5)


def test_the_distance_is_scipys():
    a, b = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
    grey = [luma(x).round().ravel() / 255 for x in (a, b // 3)]
    assert distance(histograms(a), histograms(b // 3)) == pytest.approx(wasserstein_distance(*grey))


def test_it_is_scored_with_intervals_and_floors():
    rng = np.random.default_rng(0)
    real = rng.integers(0, 60, (8, 6, 6, 3), dtype=np.uint8)
    beside = Beside(fake_images=real * 3, real_images=real)
    x, y = rng.normal(size=(2, 8, 4))
    scores = evaluate(x, y, ["luminance"], ScoreProtocol("toy", "0", "none", 8, "r"), beside).scores
    assert [s.name for s in scores] == ["luminance/distance", "luminance/mean_gap", "luminance/contrast_gap"]
    for score in scores:
        assert score.interval[0] < score.value < score.interval[1]
        assert score.floor < score.value / 3
        assert score.protocol.extractor == "pixels"
