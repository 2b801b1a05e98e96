"""Edges of day and night, by hand and against scikit-image's Sobel filter."""

import numpy as np
import pytest
from skimage.filters import sobel_h, sobel_v

from d2n.core import ScoreProtocol
from d2n.errors import ScoreError
from d2n.scores.edges import edge_agreement, gradient_magnitude
from d2n.scores.evaluate import Beside, evaluate


@pytest.fixture
def day():
    return np.random.default_rng(0).integers(0, 200, (3, 12, 16, 3), dtype=np.uint8)


def test_the_gradient_is_sobels():
    grey = np.random.default_rng(0).normal(size=(9, 11))
    expected = np.hypot(4 * sobel_h(grey), 4 * sobel_v(grey))[1:-1, 1:-1]  # scikit-image divides by 4
    assert gradient_magnitude(grey[None])[0] == pytest.approx(expected)


def test_darker_or_inverted_edges_in_the_same_places_agree(day):
    assert edge_agreement(day, day // 4 * 2) == pytest.approx([1, 1, 1], abs=0.01)
    assert edge_agreement(day, 255 - day) == pytest.approx([1, 1, 1])


def test_other_edges_do_not_agree_and_none_is_zero(day):
    assert abs(edge_agreement(day, day[:, ::-1, ::-1])).max() < 0.35
    assert edge_agreement(day, np.zeros_like(day)).tolist() == [0, 0, 0]


def test_a_half_moved_edge_by_hand():
    """A step at column 3 against one at column 4: gradients at columns (2, 3) and (3, 4) of six inside."""
    x, y = (np.zeros((1, 6, 8, 3), np.uint8) for _ in range(2))
    x[:, :, 3:], y[:, :, 4:] = 255, 255
    shares = np.array([0, 1, 1, 0, 0, 0]), np.array([0, 0, 1, 1, 0, 0])
    assert edge_agreement(x, y)[0] == pytest.approx(np.corrcoef(*shares)[0, 1])


def test_it_is_scored_on_pixels_with_the_floor_of_true_pairs(day):
    x, y = np.random.default_rng(0).normal(size=(2, 3, 4))
    night = day // 2
    beside = Beside(
        fake_images=night, day_images=day, paired_images=(day, night), paired_days=day, queries_digest="d"
    )
    (score,) = evaluate(x, y, ["edges"], ScoreProtocol("toy", "0", "none", 3, "r"), beside).scores
    assert (score.name, score.protocol.extractor, score.protocol.queries_digest) == ("edges", "pixels", "d")
    assert score.value == score.floor == pytest.approx(1, abs=0.01)
    with pytest.raises(ScoreError, match="none were given"):
        evaluate(x, y, ["edges"], ScoreProtocol("toy", "0", "none", 3, "r"))
    with pytest.raises(ScoreError, match="at least 4 px"):
        edge_agreement(day[:, :3], day[:, :3])
