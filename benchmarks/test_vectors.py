"""A vector store of a million descriptors by two workers, one of them killed; its search against exact and faiss.

    pytest benchmarks/test_vectors.py -s
    D2N_VECTORS=100000 pytest benchmarks/test_vectors.py -s

Synthetic descriptors: scenes of 50 images each, a direction and noise of 0.8 of its length. faiss is of the extra
``bench``; without it the rest is printed.
"""

from __future__ import annotations

import functools
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d2n.retrieval.vectors import Recall, Row, VectorStore, VectorTable, recall_at
from d2n.workflows.evaluate.stored import Images, Part, fill

ROWS = int(os.environ.get("D2N_VECTORS", "1000000"))
DIM, IN_A_SCENE, NOISE, K, QUERIES, CHUNK = 512, 50, 0.8, 10, 100, 10_000
TABLE = "synthetic"


@functools.cache
def directions() -> np.ndarray:
    return unit(np.random.default_rng(0).standard_normal((max(1, ROWS // IN_A_SCENE), DIM), dtype=np.float32))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def descriptors(numbers: Sequence[int], seed: int = 1) -> np.ndarray:
    """Descriptors of images by their numbers."""
    noise = np.random.default_rng((seed, numbers[0])).standard_normal((len(numbers), DIM), dtype=np.float32)
    return unit(
        directions()[np.array(numbers) % len(directions())] + noise * np.float32(NOISE / np.sqrt(DIM))
    )


def describe(todo: Sequence[tuple[str, str]]) -> tuple[list[Row], np.ndarray]:
    rows = [Row(name, name, stamp) for name, stamp in todo]
    return rows, descriptors([int(row.name) for row in rows])


def everything_of(table: VectorTable) -> np.ndarray:
    """All descriptors by number, read back from the store."""
    made = np.empty((ROWS, DIM), dtype=np.float32)
    for batch in table._batches(("name", "vector")):
        numbers = np.array(batch["name"].to_pylist(), dtype=np.int64)
        made[numbers] = batch["vector"].flatten().to_numpy().reshape(-1, DIM)
    return made


def be_a_worker(url: str, part: Part) -> None:
    images = Images("", [f"{i:08d}" for i in range(ROWS)], Path, lambda path: np.empty(0), by_sha256=True)
    done = fill(VectorStore(url).table(TABLE), images, describe, part=part, chunk=CHUNK)
    print(f"worker {part.number}: {done.described:,} written, {done.known:,} known, {peak()}", flush=True)


def be_the_indexer(url: str) -> None:
    table = VectorStore(url).table(TABLE)
    table.index()
    print(f"index: {peak()}", flush=True)
    table.store.keep_recall(table.measured_recall(0.95))
    print(f"index and recall: {peak()}", flush=True)


def peak() -> str:
    return f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB"


def started(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, *command])


def seconds(function: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    best, found = float("inf"), None
    for _ in range(repeats):
        begun = time.perf_counter()
        found = function()
        best = min(best, time.perf_counter() - begun)
    return best, found


@pytest.mark.timeout(7200)
def test_a_million_descriptors(tmp_path: Path) -> None:
    url = str(tmp_path / "vectors")
    table = VectorStore(url).make(TABLE, DIM, {"identity": "{}"})
    begun = time.monotonic()
    workers = [started("fill", url, str(number)) for number in (1, 2)]
    while len(table) < 0.3 * ROWS:
        time.sleep(0.5)
    workers[0].send_signal(signal.SIGKILL)
    workers[0].wait()
    print(f"\nworker 1 killed at {len(table):,} rows")
    workers[0] = started("fill", url, "1")
    assert [worker.wait() for worker in workers] == [0, 0]
    assert len(table) == ROWS
    assert len(np.unique(table.known())) == ROWS  # each image once
    print(f"{ROWS:,} x {DIM} written by two workers in {time.monotonic() - begun:.0f} s, each image once")
    begun = time.monotonic()
    assert started("index", url).wait() == 0
    print(f"indexed, and recall measured, in {time.monotonic() - begun:.0f} s; {size(url)}")
    recall = table.store.recall(TABLE)
    assert recall is not None
    queries = descriptors(
        np.random.default_rng(2).choice(ROWS, QUERIES, replace=False).tolist(), seed=3
    )  # other images of scenes
    compare(url, queries, recall)


def compare(url: str, queries: np.ndarray, recall: Recall) -> None:
    table = VectorStore(url).table(TABLE)
    together_s, exact = seconds(lambda: table.exact(queries, K))
    one_s, _ = seconds(lambda: table.exact(queries[:1], K), 3)
    table.approximate(queries, K, recall.probes, recall.refine)  # warm
    index_s, near = seconds(lambda: table.approximate(queries, K, recall.probes, recall.refine), 3)
    print(
        f"{'exact, one query':>34}: {1e3 * one_s:8.1f} ms\n"
        f"{f'exact, {QUERIES} together, a query':>34}: {1e3 * together_s / QUERIES:8.1f} ms\n"
        f"{'index, a query':>34}: {1e3 * index_s / QUERIES:8.1f} ms, recall@10 {recall_at(near, exact, K):.3f}, "
        f"{recall.probes} partitions, {recall.refine} x {K} compared exactly"
    )
    print(f"search: {peak()}")
    truth = np.array([[int(name) for name in hits.names] for hits in exact])
    try:
        import faiss
    except ImportError:
        print("faiss is not here")
        return
    everything = everything_of(table)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(everything)
    flat_s, (_, found) = seconds(lambda: flat.search(queries, K), 2)
    same = float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)]))
    one_flat_s, _ = seconds(lambda: flat.search(queries[:1], K), 2)
    print(f"{'faiss flat, one query':>34}: {1e3 * one_flat_s:8.1f} ms; with d2n's exact best: {same:.3f}")
    print(f"{f'faiss flat, {QUERIES} together':>34}: {1e3 * flat_s / QUERIES:8.1f} ms")
    lists = max(1, ROWS // 4096)
    coarse = faiss.IndexIVFPQ(faiss.IndexFlatIP(DIM), DIM, lists, DIM // 8, 8, faiss.METRIC_INNER_PRODUCT)
    made_s, _ = seconds(lambda: coarse.train(everything[:: max(1, ROWS // max(64 * lists, 65_536))]))
    coarse.add(everything)
    refined = faiss.IndexRefine(coarse, flat)
    refined.k_factor, coarse.nprobe = recall.refine, recall.probes
    one_by_one = [queries[i : i + 1] for i in range(QUERIES)]
    ivf_s, answers = seconds(lambda: [refined.search(query, K)[1] for query in one_by_one], 3)
    found = np.concatenate(answers)
    value = float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)]))
    print(
        f"{'faiss IVF-PQ, the same, a query':>34}: {1e3 * ivf_s / QUERIES:8.1f} ms, recall@10 {value:.3f} "
        f"(trained in {made_s:.0f} s)"
    )
    print(f"with faiss: {peak()}")


def size(url: str) -> str:
    total = sum(path.stat().st_size for path in Path(url).rglob("*") if path.is_file())
    return f"{total / 2**30:.2f} GiB on disk"


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        be_a_worker(sys.argv[2], Part(int(sys.argv[3]), 2))
    else:
        be_the_indexer(sys.argv[2])
