"""A trained network measured: whitening learned, descriptors, rankings, mAP and recall of every benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d2n.datasets.benchmarks import Benchmark
from d2n.datasets.images import load_rgb
from d2n.retrieval import network, search, whitening
from d2n.workflows.measures import average_precisions, reader
from d2n.workflows.measures import measures as measures_of
from d2n.workflows.retrieve.arm import Arm

MAX_WHITENING_IMAGES = 5000


def learn_whitening(arm: Arm, net: network.RetrievalNetwork, progress: bool) -> whitening.Whitening | None:
    """Whitening learned on training pairs, of at most MAX_WHITENING_IMAGES images."""
    kind = arm.experiment.evaluation.whitening
    if kind == "none":
        return None
    images = arm.images
    pairs = list(zip(images.query_idx, images.positive_idx, strict=True))
    rng = np.random.default_rng(arm.experiment.seed)
    used: dict[int, int] = {}
    kept: list[tuple[int, int]] = []
    for position in rng.permutation(len(pairs)):
        query, positive = pairs[position]
        if len(used | {query: 0, positive: 0}) > MAX_WHITENING_IMAGES:
            break
        kept.append((used.setdefault(query, len(used)), used.setdefault(positive, len(used))))
    descriptors = _extract(arm, net, [images.paths[i] for i in used], None, load_rgb, progress)
    if kind == "pca":
        return whitening.learn_pca_whitening(descriptors)
    query_idx, positive_idx = (np.array(side) for side in zip(*kept, strict=True))
    return whitening.learn_whitening(descriptors, query_idx, positive_idx)


@dataclass(frozen=True)
class Measured:
    """What one network was worth."""

    values: dict[str, float]  # mAP, mP@k and recall@k by their names
    average_precisions: dict[str, list[float]]  # of each query, by benchmark


def measure(
    arm: Arm, net: network.RetrievalNetwork, learned: whitening.Whitening | None, progress: bool
) -> Measured:
    """mAP and mean precision at k of every benchmark; database descriptors shared by benchmarks are taken once."""
    dim = arm.experiment.evaluation.whitening_dim
    known: dict[tuple[Path, ...], np.ndarray] = {}
    measured = Measured({}, {})
    for benchmark in arm.benchmarks:
        if benchmark.database not in known:
            load = reader(benchmark, turn=arm.experiment.evaluation.turn)
            known[benchmark.database] = _extract(arm, net, list(benchmark.database), None, load, progress)
        database = known[benchmark.database]
        load_query = reader(benchmark, arm.query_generator, arm.experiment.evaluation.turn)
        queries = _extract(arm, net, list(benchmark.queries), benchmark.boxes, load_query, progress)
        if learned is not None:
            database = whitening.apply_whitening(database, learned, dim)
            queries = whitening.apply_whitening(queries, learned, dim)
        ranks = search.rank(queries, database)
        measured.values.update(measures_of(benchmark, ranks))
        if aps := average_precisions(benchmark, ranks):
            measured.average_precisions[benchmark.name] = aps
    return measured


def measures(benchmark: Benchmark) -> list[str]:
    """The names of what ``measure`` finds of a benchmark whose parts all have answers."""
    name, kappas = benchmark.name, (1, 5, 10)
    if benchmark.kind == "place":
        return [f"recall{k}/{name}" for k in kappas]
    if benchmark.kind == "revisited":
        parts = [part for part in ("easy", "medium", "hard") if part not in benchmark.undefined]
        precisions = [f"mp{k}_{part}/{name}" for part in parts for k in kappas]
        return [f"map/{name}", *(f"map_{part}/{name}" for part in parts), *precisions]
    return [f"map/{name}", *(f"mp{k}/{name}" for k in kappas)]


def _extract(
    arm: Arm,
    net: network.RetrievalNetwork,
    paths: list[Path],
    boxes: Any,
    load_image: Callable[[Path], np.ndarray],
    progress: bool,
) -> np.ndarray:
    config = arm.experiment.evaluation
    return search.extract(
        net.to(arm.device),
        paths,
        search.View(config.image_size_px, config.scales, config.square, config.precision),
        load_image=load_image,
        boxes=boxes,
        progress=progress,
    )
