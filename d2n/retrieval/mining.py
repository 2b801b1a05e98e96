"""Tuples of an epoch: a draw of matching pairs, and the hardest negatives from a random pool.

Source: Radenović et al., TPAMI 2019, section 3.3 (hard negatives from different clusters).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from d2n.errors import RetrievalError

Numbers = NDArray[np.int64]
_CHUNK_QUERIES = 256  # bounds the (queries, pool) block of similarities


def draw_epoch(
    num_pairs: int, num_images: int, num_queries: int, pool_size: int, rng: np.random.Generator
) -> tuple[Numbers, Numbers]:
    """Which pairs an epoch trains on, shuffled and at most num_queries, and which images make its pool."""
    return rng.permutation(num_pairs)[:num_queries], rng.permutation(num_images)[:pool_size]


def diverse_anchors(
    descriptors: NDArray[np.float32], count: int, exclude: float, include: float, rng: np.random.Generator
) -> Numbers:
    """Which of (P, D) descriptors become an epoch's queries: at most ``count`` positions, unlike each other.

    The first one is the first. Each other is drawn from those whose similarity to the most similar one chosen so far is
    below that of the ``exclude`` share of the pool and within its ``include`` share: neither a repetition nor a stray
    image (Mohwald et al., ICCV 2023, diverse anchor mining).
    """
    count = min(count, len(descriptors))
    chosen = np.zeros(count, dtype=np.int64)
    nearest = np.full(len(descriptors), -np.inf, dtype=np.float32)
    for n in range(1, count):
        last = chosen[n - 1]
        nearest = np.maximum(nearest, descriptors @ descriptors[last])
        nearest[last] = np.inf
        left = len(descriptors) - n
        end = max(int(left * (1 - exclude)), 1)
        begin = min(int(left * (1 - include)), end - 1)
        place = begin + int(rng.integers(end - begin))
        chosen[n] = np.argpartition(nearest, place)[place]
    return chosen


def mine_negatives(
    queries: NDArray[np.float32],
    query_clusters: Sequence[int] | Numbers,
    pool: NDArray[np.float32],
    pool_clusters: Sequence[int] | Numbers,
    num_negatives: int = 5,
) -> Numbers:
    """The hardest negatives of each query: (Q, num_negatives) positions in the pool, most similar first.

    queries: (Q, D), pool: (P, D) descriptors, compared by dot product. None shares the query's cluster, no two of
    a query share theirs. Ties go to the smaller cluster number, then to the earlier image.
    Raises RetrievalError when the pool has too few clusters.
    """
    own, clusters = np.asarray(query_clusters), np.asarray(pool_clusters)
    order = np.argsort(clusters, kind="stable")  # pool positions, cluster by cluster
    names, starts = np.unique(clusters[order], return_index=True)
    refuse_few_clusters(names, own, num_negatives, len(pool))
    sorted_pool, ends = pool[order], np.append(starts[1:], len(order))
    mined = np.empty((len(queries), num_negatives), dtype=np.int64)
    for begin in range(0, len(queries), _CHUNK_QUERIES):
        chunk = slice(begin, begin + _CHUNK_QUERIES)
        similar = queries[chunk] @ sorted_pool.T  # (q, P)
        best = np.maximum.reduceat(similar, starts, axis=1)  # (q, clusters): each cluster's hardest image
        best[own[chunk, None] == names] = -np.inf
        hardest = np.argsort(-best, axis=1, kind="stable")[:, :num_negatives]
        for row, found in enumerate(hardest):
            inside = [starts[c] + int(np.argmax(similar[row, starts[c] : ends[c]])) for c in found]
            mined[begin + row] = order[inside]
    return mined


def refuse_few_clusters(names: Numbers, own: Numbers, num_negatives: int, pool_size: int) -> None:
    """RetrievalError where a pool with these clusters has too few besides those of the queries, ``own``."""
    usable = len(names) - (1 if np.isin(own, names).any() else 0)
    if usable < num_negatives:
        raise RetrievalError(
            f"a pool of {pool_size} images has {len(names)} clusters, which leaves {usable} besides the query's; "
            f"expected at least {num_negatives}: raise training.pool_size, lower training.num_negatives, "
            "or prepare more scenes"
        )
