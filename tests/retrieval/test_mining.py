import numpy as np
import pytest

from d2n.errors import RetrievalError
from d2n.retrieval.mining import diverse_anchors, draw_epoch, mine_negatives


def plainly(
    q: np.ndarray, own: np.ndarray, pool: np.ndarray, clusters: np.ndarray, k: int
) -> list[list[int]]:
    """One query after the other, one image after the other, best first."""
    mined = []
    for query, cluster in zip(q, own, strict=True):
        seen, found = {int(cluster)}, []
        for position in np.argsort(-(pool @ query), kind="stable"):
            if int(clusters[position]) not in seen and len(found) < k:
                seen.add(int(clusters[position]))
                found.append(int(position))
        mined.append(found)
    return mined


@pytest.mark.parametrize("seed", range(4))
def test_the_hardest_of_other_clusters_at_most_one_each(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = rng.normal(size=(120, 8)).astype(np.float32)
    clusters = rng.integers(0, 12, 120)
    queries = rng.normal(size=(300, 8)).astype(np.float32)
    own = rng.integers(0, 12, 300)
    mined = mine_negatives(queries, own, pool, clusters, 5)
    assert mined.tolist() == plainly(queries, own, pool, clusters, 5)


def test_a_query_whose_cluster_is_not_in_the_pool() -> None:
    pool = np.eye(3, dtype=np.float32)
    mined = mine_negatives(np.array([[0.1, 0.3, 0.2]], dtype=np.float32), [7], pool, [0, 1, 2], 3)
    assert mined.tolist() == [[1, 2, 0]]


def test_equal_images_give_the_earlier_one() -> None:
    pool = np.ones((4, 2), dtype=np.float32)
    assert mine_negatives(pool[:1], [0], pool, [0, 2, 1, 1], 2).tolist() == [[2, 1]]


def test_too_few_clusters_say_what_to_change() -> None:
    pool = np.ones((6, 2), dtype=np.float32)
    with pytest.raises(RetrievalError, match=r"leaves 2 besides the query's.*training\.pool_size"):
        mine_negatives(pool[:1], [0], pool, [0, 0, 1, 1, 2, 2], 3)


def test_an_epochs_draw_is_bounded_without_repeats_and_seeded() -> None:
    pairs, pool = draw_epoch(50, 30, 20, 100, np.random.default_rng(0))
    assert len(pairs) == len(set(pairs.tolist())) == 20
    assert sorted(pool.tolist()) == list(range(30))
    again = draw_epoch(50, 30, 20, 100, np.random.default_rng(0))
    assert np.array_equal(pairs, again[0])
    assert np.array_equal(pool, again[1])
    assert not np.array_equal(pairs, draw_epoch(50, 30, 20, 100, np.random.default_rng(1))[0])


def diverse_by_sorting(x: np.ndarray, count: int, exclude: float, include: float, seed: int) -> list[int]:
    """The published loop: everything sorted anew for each anchor."""
    rng, chosen = np.random.default_rng(seed), [0]
    for _ in range(count - 1):
        nearest = (x @ x[chosen].T).max(axis=1)
        left = len(x) - len(chosen)
        end = max(int(left * (1 - exclude)), 1)
        begin = min(int(left * (1 - include)), end - 1)
        part = nearest.argsort()[begin:end]
        chosen.append(int(part[rng.integers(len(part))]))
    return chosen


@pytest.mark.parametrize(("count", "exclude", "include"), [(40, 0.2, 0.8), (12, 0.0, 1.0), (60, 0.5, 0.6)])
def test_diverse_anchors_are_the_published_ones(count: int, exclude: float, include: float) -> None:
    x = np.random.default_rng(1).normal(size=(60, 8)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = diverse_anchors(x, count, exclude, include, np.random.default_rng(3))
    assert found.tolist() == diverse_by_sorting(x, count, exclude, include, 3)
    assert len(set(found.tolist())) == count


def test_diverse_anchors_are_less_alike_than_a_draw_and_never_more_than_there_are() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(10, 6)), 20, axis=0) + 0.05 * rng.normal(size=(200, 6))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    places = {int(i) // 20 for i in diverse_anchors(x, 8, 0.2, 0.8, rng)}
    assert len(places) >= 6
    assert len(set(diverse_anchors(x[:5], 50, 0.2, 0.8, rng).tolist())) == 5
