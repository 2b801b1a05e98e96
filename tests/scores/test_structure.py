"""Self-similarity of features, by hand."""

import math

import numpy as np
import pytest

from d2n.core import ScoreProtocol
from d2n.errors import ScoreError
from d2n.scores.evaluate import Beside, evaluate
from d2n.scores.structure import self_similarity, structure_distances

# Two places of two channels: the same direction, or orthogonal ones
ALIKE = np.array([[[[1.0, 2.0]], [[0.0, 0.0]]]])  # (1, 2, 1, 2)
APART = np.array([[[[1.0, 0.0]], [[0.0, 5.0]]]])


def test_self_similarity_is_the_cosine_of_places():
    assert self_similarity(ALIKE) == pytest.approx(np.ones((1, 2, 2)))
    assert self_similarity(APART) == pytest.approx(np.eye(2)[None])
    assert self_similarity(np.zeros((1, 2, 1, 2))) == pytest.approx(np.zeros((1, 2, 2)))


def test_the_distance_is_the_norm_over_the_places():
    """Two of four cosines differ by 1: a Frobenius norm of sqrt(2), over 2 places."""
    assert structure_distances(ALIKE, APART) == pytest.approx([math.sqrt(2) / 2])
    assert structure_distances(APART, 7 * APART) == pytest.approx([0])


def test_one_place_or_other_sizes_are_refused():
    with pytest.raises(ScoreError, match="at least two places"):
        self_similarity(np.ones((1, 3, 1, 1)))
    with pytest.raises(ScoreError, match="expected the same shape"):
        structure_distances(np.ones((1, 3, 1, 2)), np.ones((1, 3, 2, 2)))


def test_it_is_the_mean_over_batches():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 4))
    batches = [(ALIKE, APART), (np.concatenate([APART, APART]), np.concatenate([APART, ALIKE]))]
    protocol = ScoreProtocol("toy", "0", "none", 3, "r")
    (score,) = evaluate(
        x, y, ["structure"], protocol, Beside(maps=lambda: batches, queries_digest="d")
    ).scores
    assert score.name == "structure.toy"
    assert score.value == pytest.approx(2 * math.sqrt(2) / 2 / 3)
    assert score.protocol.queries_digest == "d"
    with pytest.raises(ScoreError, match="none were given"):
        evaluate(x, y, ["structure"], protocol)
