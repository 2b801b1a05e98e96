"""What a ranking of a benchmark is worth, under the names that runs keep; and how a benchmark's images are read."""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from d2n.datasets.benchmarks import Benchmark
from d2n.datasets.images import load_rgb
from d2n.scores import mean_ap
from d2n.workflows import evaluation as held

if TYPE_CHECKING:
    from d2n.workflows.generators import Generator

LoadImage = Callable[[Path], np.ndarray]


def measures(benchmark: Benchmark, ranks: np.ndarray) -> dict[str, float]:
    """mAP with mP@k, by difficulty where the benchmark has them, or recall@k of place recognition."""
    name = benchmark.name
    if benchmark.kind == "place":
        recalls = mean_ap.recall_at(ranks, benchmark.ground_truth)
        return {f"recall{k}/{name}": value for k, value in recalls.items()}
    if benchmark.kind == "revisited":
        parts = mean_ap.revisited(ranks, benchmark.ground_truth)
        values = {f"map_{part}/{name}": result.map for part, result in parts.items()}
        values |= {
            f"mp{k}_{part}/{name}": value for part, found in parts.items() for k, value in found.mp_at.items()
        }
        return {f"map/{name}": parts["medium"].map, **values}
    result = mean_ap.mean_average_precision(ranks, benchmark.ground_truth)
    return {f"map/{name}": result.map, **{f"mp{k}/{name}": value for k, value in result.mp_at.items()}}


def average_precisions(benchmark: Benchmark, ranks: np.ndarray) -> list[float]:
    """Of every query that mAP is the mean of, NaN for one without a right answer; [] of place recognition."""
    if benchmark.kind == "place":
        return []
    if benchmark.kind == "revisited":
        return [float(ap) for ap in mean_ap.revisited(ranks, benchmark.ground_truth)["medium"].aps]
    return [float(ap) for ap in mean_ap.mean_average_precision(ranks, benchmark.ground_truth).aps]


def reader(benchmark: Benchmark, generator: Generator | None = None, turn: bool | None = None) -> LoadImage:
    """How an image of a benchmark becomes pixels: turned by EXIF or not, and through a night-to-day generator.

    ``turn`` None is the benchmark's own way: published boxes are in unturned pixels. Queries that are known to be by
    day pass the generator by.
    """
    load: LoadImage = partial(load_rgb, turn=benchmark.turn if turn is None else turn)
    if generator is None:
        return load
    known = zip(benchmark.queries, benchmark.query_conditions, strict=False)
    return partial(_by_day, generator, load, {path for path, condition in known if condition == "day"})


def _by_day(generator: Generator, load: LoadImage, days: Set[Path], path: Path) -> np.ndarray:
    if path in days:
        return load(path)
    by_day: np.ndarray = held.to_night(generator.translate, load(path)[None])[0]
    return by_day
