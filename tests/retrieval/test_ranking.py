"""Exact search against a full sort: values, ties, bounds, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from d2n.errors import RetrievalError
from d2n.retrieval import ranking, search
from d2n.retrieval.ranking import stable_order

RNG = np.random.default_rng(0)


def sorted_fully(queries: np.ndarray, database: np.ndarray) -> np.ndarray:
    return np.argsort(-(queries @ database.T), axis=1, kind="stable").T


@pytest.mark.parametrize("k", [None, 1, 7, 100, 1000])
def test_the_ranking_is_that_of_a_full_sort(k: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_CHUNK_ROWS", 128)
    queries, database = RNG.normal(size=(70, 8)), RNG.normal(size=(500, 8))
    ranks = search.rank(queries, database, k)
    expected = sorted_fully(queries, database)[: k or 500]
    assert ranks.dtype == np.int64
    assert np.array_equal(ranks, expected)


@pytest.mark.parametrize("k", [None, 1, 3, 40, 299])
def test_ties_go_to_the_earlier_row(k: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_CHUNK_ROWS", 64)
    database = RNG.integers(-1, 2, size=(300, 3)).astype(np.float32)  # 27 different vectors: exact ties
    queries = RNG.integers(-1, 2, size=(20, 3)).astype(np.float32)
    assert np.array_equal(search.rank(queries, database, k), sorted_fully(queries, database)[:k])


def test_what_cannot_be_ranked_is_refused() -> None:
    x = np.ones((3, 4))
    with pytest.raises(RetrievalError, match="4 dimensions, the database 2"):
        search.rank(x, np.ones((3, 2)))
    with pytest.raises(RetrievalError, match="not all finite"):
        search.rank(np.full((1, 4), np.nan), x)
    with pytest.raises(RetrievalError, match="N at least 1"):
        search.rank(x, np.ones((0, 4)))
    with pytest.raises(RetrievalError, match="the best 0"):
        search.rank(x, x, k=0)


def test_float32_queries_rank_a_float64_database() -> None:
    database = np.eye(3)
    assert search.rank(np.array([[0.1, 0.9, 0.5]], dtype=np.float32), database)[:, 0].tolist() == [1, 2, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_order_is_that_of_a_stable_sort(dtype: type[np.floating]) -> None:
    """Coarse scores with both zeros, and scores of every size."""
    coarse = RNG.integers(-3, 4, size=(6, 400)).astype(dtype) / 2
    coarse[coarse == 0] *= RNG.choice([-1, 1], size=int((coarse == 0).sum())).astype(dtype)
    sizes = (RNG.normal(size=(6, 400)) * 10.0 ** RNG.integers(-40, 30, size=(6, 400))).astype(dtype)
    for scores in (coarse, sizes):
        assert np.array_equal(stable_order(scores), np.argsort(-scores, axis=1, kind="stable"))


def test_small_chunks_give_the_same_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    database = RNG.integers(-2, 3, size=(200, 3)).astype(np.float32)
    queries = RNG.integers(-2, 3, size=(33, 3)).astype(np.float32)
    whole, best = search.rank(queries, database), search.rank(queries, database, 20)
    monkeypatch.setattr(ranking, "_CHUNK_SCORES", 400)
    monkeypatch.setattr(ranking, "_MIN_QUERIES", 1)
    assert np.array_equal(search.rank(queries, database), whole)
    assert np.array_equal(search.rank(queries, database, 20), best)


@pytest.mark.parametrize("k", [None, 2])
def test_a_database_with_a_number_that_is_none_is_named(k: int | None) -> None:
    database = np.ones((5, 3), np.float32)
    database[3, 1] = np.inf
    with pytest.raises(RetrievalError, match="database: descriptors are not all finite"):
        search.rank(np.ones((2, 3), np.float32), database, k)


def test_the_best_of_many_rows_take_bounded_memory() -> None:
    """The peak beside the database is a small part of the whole score matrix of 120 MB."""
    import tracemalloc

    database = RNG.normal(size=(200_000, 4)).astype(np.float32)
    queries = RNG.normal(size=(150, 4)).astype(np.float32)
    tracemalloc.start()
    try:
        search.rank(queries, database, 5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 45e6
