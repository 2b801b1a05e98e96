"""Exact search against plain numpy code and a flat faiss index; run with `pytest benchmarks/test_ranking.py -s`.

The ratios are times of the other over d2n's: above 1 d2n is faster. Set D2N_RANKING_ROWS to a smaller database.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from d2n.retrieval.ranking import rank

DIM, K = 512, 100
MOST_ROWS = int(os.environ.get("D2N_RANKING_ROWS", 1_000_000))
MOST_FULL = 20_000_000  # ranks of a full ranking that are held at once: 160 MB


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Seconds of the fastest of some runs, and what the last one gave."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        found = function()
        best = min(best, time.perf_counter() - started)
    return best, found


def database(rows: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate(
        [
            rng.standard_normal((min(50_000, rows - at), DIM), dtype=np.float32)
            for at in range(0, rows, 50_000)
        ]
    )


@pytest.mark.parametrize("rows", [10_000, 100_000, 1_000_000])
def test_ranking_against_numpy_and_faiss(rows: int) -> None:
    if rows > MOST_ROWS:
        pytest.skip(f"D2N_RANKING_ROWS is {MOST_ROWS}")
    base = database(rows)
    for num_queries in (1, 70, 1125):
        queries = np.random.default_rng(1).standard_normal((num_queries, DIM), dtype=np.float32)
        repeats = 3 if rows * num_queries <= 10_000_000 else 1
        ours, found = timed(lambda q=queries: rank(q, base, K), repeats)
        line = f"\n{rows:,} x {num_queries}, D {DIM}: best {K} in {1e3 * ours:.0f} ms"
        try:
            import faiss

            index = faiss.IndexFlatIP(DIM)
            index.add(base)
            theirs, _ = timed(lambda q=queries, i=index: i.search(q, K), repeats)
            line += f", flat faiss {theirs / ours:.2f} x"
        except ImportError:
            line += ", faiss is not here"
        if rows * num_queries <= MOST_FULL:
            full, ranks = timed(lambda q=queries: rank(q, base), repeats)
            plain, _ = timed(lambda q=queries: np.argsort(-(base @ q.T), axis=0), repeats)
            stable, expected = timed(
                lambda q=queries: np.argsort(-(q @ base.T), axis=1, kind="stable").T, repeats
            )
            line += (
                f"; full ranking {1e3 * full:.0f} ms, plain numpy {plain / full:.2f} x, "
                f"numpy with the same ties {stable / full:.2f} x"
            )
            assert (
                np.array_equal(ranks[:K], found) or np.mean(ranks[:K] == found) > 0.99
            )  # products' last digits
            assert np.mean(ranks == expected) > 0.98
        print(line)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
