"""Batched k-means against scikit-learn and against its own definition."""

import numpy as np
import pytest
import torch

from d2n.scores.kmeans import _Products, cluster


@pytest.fixture
def blobs():
    rng = np.random.default_rng(0)
    centres = 20 * rng.normal(size=(6, 5))
    return np.concatenate([c + rng.normal(size=(30, 5)) for c in centres]), np.repeat(np.arange(6), 30)


def test_separate_blobs_are_found_by_every_run(blobs):
    points, truth = blobs
    for labels in cluster(points, 6, 10, 0, exact=True):
        pairs = set(zip(labels.tolist(), truth.tolist(), strict=True))
        assert len(pairs) == 6


def test_exact_labels_are_a_fixed_point_of_lloyd():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(300, 4))
    for labels in cluster(points, 8, 3, 0, exact=True):
        centres = np.stack([points[labels == k].mean(axis=0) for k in range(8)])
        nearest = ((points[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        np.testing.assert_array_equal(nearest, labels)


def test_inertia_is_as_low_as_scikit_learns():
    sklearn = pytest.importorskip("sklearn.cluster")
    points = np.random.default_rng(2).normal(size=(400, 6))

    def inertia(labels):
        return sum(((points[labels == k] - points[labels == k].mean(axis=0)) ** 2).sum() for k in range(10))

    ours = np.mean([inertia(labels) for labels in cluster(points, 10, 10, 0, exact=True)])
    theirs = np.mean([sklearn.KMeans(10, n_init=1, random_state=s).fit(points).inertia_ for s in range(10)])
    assert ours == pytest.approx(theirs, rel=0.02)


def test_more_dimensions_than_points_give_the_labels_of_a_rotation_into_fewer():
    rng = np.random.default_rng(3)
    low = rng.normal(size=(40, 10))
    rotation = np.linalg.qr(rng.normal(size=(200, 200)))[0][:10]
    np.testing.assert_array_equal(
        cluster(low @ rotation, 5, 4, 0, exact=True), cluster(low, 5, 4, 0, exact=True)
    )


def test_a_run_depends_on_its_own_seed_alone():
    points = np.random.default_rng(4).normal(size=(100, 3))
    np.testing.assert_array_equal(
        cluster(points, 5, 2, 7, exact=True), cluster(points, 5, 9, 7, exact=True)[:2]
    )


def test_duplicates_fewer_than_clusters_are_clustered_without_nan():
    points = np.repeat(np.eye(3), 10, axis=0)
    labels = cluster(points, 8, 3, 0, exact=True)
    assert labels.min() >= 0
    for run in labels:
        assert len({tuple(run[i : i + 10]) for i in (0, 10, 20)}) == 3


@pytest.fixture
def many():
    """More points than the part that the start is taken from; no clear clusters."""
    rng = np.random.default_rng(5)
    return np.maximum(rng.normal(size=(5000, 12)) @ rng.normal(size=(12, 24)), 0)


def test_of_many_points_exact_labels_are_a_fixed_point_too(many):
    for labels in cluster(many, 6, 2, 0, exact=True):
        centres = np.stack([many[labels == k].mean(axis=0) for k in range(6)])
        nearest = ((many[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        np.testing.assert_array_equal(nearest, labels)


def test_many_points_are_clustered_as_tightly_as_by_scikit_learn(many):
    sklearn = pytest.importorskip("sklearn.cluster")

    def inertia(labels):
        return sum(((many[labels == k] - many[labels == k].mean(axis=0)) ** 2).sum() for k in range(6))

    ours = np.mean([inertia(labels) for labels in cluster(many, 6, 5, 0, exact=True)])
    theirs = np.mean([sklearn.KMeans(6, n_init=1, random_state=s).fit(many).inertia_ for s in range(5)])
    assert ours == pytest.approx(theirs, rel=0.02)


@pytest.mark.parametrize("bf16", [False, True])
def test_the_fast_way_ends_where_the_exact_one_does(many, bf16, monkeypatch):
    monkeypatch.setattr("d2n.scores.kmeans._multiplies_bf16", lambda: bf16)
    exact, fast = (cluster(many, 6, 4, 0, exact=exact) for exact in (True, False))
    assert (exact == fast).mean() > 0.97


def test_the_products_of_moves_are_precise_in_bf16():
    rng = np.random.default_rng(6)
    x = torch.from_numpy(rng.normal(size=(400, 64))).float()
    products, centres = _Products(x, x.bfloat16()), x[:10].view(2, 5, 64)
    for step in range(8):
        found = products.nearest(centres)
        direct = ((x[None, :, None] - centres[:, None]) ** 2).sum(3)
        margin = direct.sort(2).values.diff(dim=2)[..., 0]
        clear = margin > 1e-2 * direct.mean()
        assert (found == direct.argmin(2))[clear].all()
        assert clear.float().mean() > 0.5
        centres = centres + 0.5**step * torch.from_numpy(rng.normal(size=(2, 5, 64))).float()
