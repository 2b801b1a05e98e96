"""A trained network measured: whitening learned, descriptors, rankings, mAP and recall of every benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from d2n.datasets.benchmarks import Benchmark
from d2n.datasets.images import load_rgb
from d2n.retrieval import network, search, whitening
from d2n.scores import mean_ap
from d2n.workflows import evaluation as held
from d2n.workflows import generators
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


def measure(
    arm: Arm, net: network.RetrievalNetwork, learned: whitening.Whitening | None, progress: bool
) -> dict[str, float]:
    """mAP and mean precision at k of every benchmark; database descriptors shared by benchmarks are taken once."""
    dim = arm.experiment.evaluation.whitening_dim
    known: dict[tuple[Path, ...], np.ndarray] = {}
    measured: dict[str, float] = {}
    for benchmark in arm.benchmarks:
        if benchmark.database not in known:
            known[benchmark.database] = _extract(arm, net, list(benchmark.database), None, load_rgb, progress)
        database = known[benchmark.database]
        load_query = load_rgb if arm.query_generator is None else _by_day(arm.query_generator)
        queries = _extract(arm, net, list(benchmark.queries), benchmark.boxes, load_query, progress)
        if learned is not None:
            database = whitening.apply_whitening(database, learned, dim)
            queries = whitening.apply_whitening(queries, learned, dim)
        measured |= _scores(benchmark, search.rank(queries, database))
    return measured


def measures(benchmark: Benchmark) -> list[str]:
    """The names of what ``measure`` finds of a benchmark whose parts all have answers."""
    name, kappas = benchmark.name, (1, 5, 10)
    if benchmark.kind == "place":
        return [f"recall{k}/{name}" for k in kappas]
    if benchmark.kind == "revisited":
        parts = [part for part in ("easy", "medium", "hard") if part not in benchmark.undefined]
        return [f"map/{name}", *(f"map_{part}/{name}" for part in parts)]
    return [f"map/{name}", *(f"mp{k}/{name}" for k in kappas)]


def _scores(benchmark: Benchmark, ranks: np.ndarray) -> dict[str, float]:
    name = benchmark.name
    if benchmark.kind == "place":
        recalls = mean_ap.recall_at(ranks, benchmark.ground_truth)
        return {f"recall{k}/{name}": value for k, value in recalls.items()}
    if benchmark.kind == "revisited":
        parts = mean_ap.revisited(ranks, benchmark.ground_truth)
        values = {f"map_{part}/{name}": result.map for part, result in parts.items()}
        return {f"map/{name}": parts["medium"].map, **values}
    result = mean_ap.mean_average_precision(ranks, benchmark.ground_truth)
    return {f"map/{name}": result.map, **{f"mp{k}/{name}": value for k, value in result.mp_at.items()}}


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
        search.View(config.image_size_px, config.scales, config.square),
        load_image=load_image,
        boxes=boxes,
        progress=progress,
    )


def _by_day(generator: generators.Generator) -> Callable[[Path], np.ndarray]:
    """Night queries through a night-to-day generator before they are described."""

    def load(path: Path) -> np.ndarray:
        by_day: np.ndarray = held.to_night(generator.translate, load_rgb(path)[None])[0]
        return by_day

    return load
