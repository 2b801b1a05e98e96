"""Reference statistics as .npz: the common format, provenance, refusals."""

import dataclasses

import numpy as np
import pytest

from d2n.core import ScoreProtocol
from d2n.errors import ProtocolMismatchError, ScoreError
from d2n.scores.frechet import FeatureStats, frechet_distance, frechet_from_features
from d2n.scores.statistics import load_statistics, reference_statistics, save_statistics

PROTOCOL = ScoreProtocol("inception", "w" * 64, "clean@299", 50, "r" * 64)


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(50, 8))


def test_files_hold_mu_and_sigma_as_others_read_them(features, tmp_path):
    save_statistics(tmp_path / "s.npz", FeatureStats.from_features(features), PROTOCOL)
    with np.load(tmp_path / "s.npz", allow_pickle=False) as archive:
        np.testing.assert_allclose(archive["mu"], features.mean(0))
        np.testing.assert_allclose(archive["sigma"], np.cov(features, rowvar=False))
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


def test_files_of_others_are_read(features, tmp_path):
    np.savez(tmp_path / "theirs.npz", mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    stats = load_statistics(tmp_path / "theirs.npz")
    assert stats.num_images is None
    other = features * 2 + 1
    distance = frechet_distance(stats, FeatureStats.from_features(other))
    assert distance == pytest.approx(frechet_from_features(features, other), rel=1e-9)


def test_singular_statistics_keep_the_distance(tmp_path):
    x, y = np.random.default_rng(1).normal(size=(2, 10, 30))
    save_statistics(tmp_path / "s.npz", FeatureStats.from_features(x))
    distance = frechet_distance(load_statistics(tmp_path / "s.npz"), FeatureStats.from_features(y))
    assert distance == pytest.approx(frechet_from_features(x, y), rel=1e-9)


def test_reference_statistics_are_computed_once_a_protocol(features, tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return features

    for _ in range(3):
        stats = reference_statistics(compute, PROTOCOL, tmp_path)
    assert len(calls) == 1
    assert stats.num_images == 50
    reference_statistics(compute, dataclasses.replace(PROTOCOL, resize="tf1@299"), tmp_path)
    assert len(calls) == 2


@pytest.mark.parametrize("protocol", [None, dataclasses.replace(PROTOCOL, num_images=49)])
def test_statistics_of_another_protocol_are_refused(features, tmp_path, protocol):
    save_statistics(tmp_path / "s.npz", FeatureStats.from_features(features), protocol)
    with pytest.raises(ProtocolMismatchError, match=PROTOCOL.identity):
        load_statistics(tmp_path / "s.npz", PROTOCOL)


def test_absent_damaged_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(ScoreError, match="no such statistics file"):
        load_statistics(tmp_path / "absent.npz")
    (tmp_path / "damaged.npz").write_bytes(b"PK damaged")
    with pytest.raises(ScoreError, match="not statistics"):
        load_statistics(tmp_path / "damaged.npz")
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    with pytest.raises(ScoreError, match=r"expected an \.npz with mu"):
        load_statistics(tmp_path / "other.npz")
    np.savez(tmp_path / "bad.npz", mu=np.ones(3), sigma=np.ones((4, 4)))
    with pytest.raises(ScoreError, match=r"\(3,\) and covariance \(4, 4\)"):
        load_statistics(tmp_path / "bad.npz")
