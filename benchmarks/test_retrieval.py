"""Speed of retrieval against the plain way of doing the same; run with `pytest benchmarks/test_retrieval.py -s`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from d2n.config import NetworkConfig, RetrievalTrainingConfig
from d2n.retrieval import loop, network
from d2n.retrieval.mining import mine_negatives
from d2n.retrieval.search import rank

if TYPE_CHECKING:
    from benchmarks.conftest import Ratio

RNG = np.random.default_rng(0)


def seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """The fastest of some runs."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def test_exact_search_against_a_full_sort(ratio: Ratio) -> None:
    queries = RNG.normal(size=(70, 512)).astype(np.float32)
    database = RNG.normal(size=(100_000, 512)).astype(np.float32)

    def sorted_fully() -> np.ndarray:
        return np.argsort(-(queries @ database.T), axis=1, kind="stable").T

    best, everything = seconds(lambda: rank(queries, database, 100)), seconds(lambda: rank(queries, database))
    plain = seconds(sorted_fully, repeats=1)
    print(
        f"\n100,000 x 70, D 512: best 100 in {1e3 * best:.0f} ms, full ranking {1e3 * everything:.0f} ms, "
        f"numpy full sort {1e3 * plain:.0f} ms: {plain / best:.1f} x and {plain / everything:.1f} x as fast"
    )
    ratio("100 best of 100,000, D 512", "a full sort", plain / best)
    assert np.array_equal(rank(queries, database, 100), sorted_fully()[:100])


def test_mining_against_one_query_after_the_other(ratio: Ratio) -> None:
    pool = RNG.normal(size=(20_000, 128)).astype(np.float32)
    queries = RNG.normal(size=(2000, 128)).astype(np.float32)
    clusters, own = RNG.integers(0, 551, 20_000), RNG.integers(0, 551, 2000)

    def one_by_one() -> list[list[int]]:
        mined = []
        for query, cluster in zip(queries, own, strict=True):
            seen, found = {int(cluster)}, []
            for position in np.argsort(-(pool @ query), kind="stable"):
                if int(clusters[position]) not in seen:
                    seen.add(int(clusters[position]))
                    found.append(int(position))
                if len(found) == 5:
                    break
            mined.append(found)
        return mined

    fast = seconds(lambda: mine_negatives(queries, own, pool, clusters), repeats=2)
    slow = seconds(one_by_one, repeats=1)
    print(f"\n2000 queries, pool 20,000: {fast:.2f} s against {slow:.2f} s: {slow / fast:.1f} x as fast")
    ratio("mining of 2000 queries in 20,000 images", "query by query", slow / fast)


def test_tuples_of_a_step_in_one_pass_against_one_by_one() -> None:
    scenes = RNG.integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
    paths = [Path(f"{scene}/{view}") for scene in range(60) for view in range(2)]
    clusters = [scene for scene in range(60) for _ in range(2)]
    config = RetrievalTrainingConfig(
        n_epochs=1, num_queries=60, image_size_px=64, margin=0.7, lr=1e-3, lr_schedule="cosine"
    )

    def images_per_s(step_px: int) -> float:
        before, loop._STEP_PX = loop._STEP_PX, step_px
        try:
            run = loop.finetune(
                network.build(NetworkConfig(backbone="toy")),
                loop.TrainingImages(
                    paths,
                    clusters,
                    list(range(0, 120, 2)),
                    list(range(1, 120, 2)),
                    lambda path: scenes[int(path.parent.name)],
                ),
                config,
            )
            return next(step.epoch.images_per_s for step in run if step.epoch is not None)
        finally:
            loop._STEP_PX = before

    images_per_s(1 << 20)
    batched, single = images_per_s(1 << 20), images_per_s(1)
    print(
        f"\ntoy network, 64 px, {torch.get_num_threads()} threads: {batched:.0f} images/s in one pass a step, "
        f"{single:.0f} tuple by tuple: {batched / single:.2f} x as fast"
    )
