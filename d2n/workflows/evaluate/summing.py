"""Per query, per condition and per scene: what a mean over a benchmark hides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from d2n.datasets.benchmarks import Benchmark
from d2n.scores import mean_ap
from d2n.scores.resampling import mean_interval


def query_values(benchmark: Benchmark, ranks: np.ndarray) -> np.ndarray:
    """(Q,) average precisions (Medium of a revisited one); of place recognition 1 where the first found is right."""
    if benchmark.kind == "revisited":
        return mean_ap.revisited(ranks, benchmark.ground_truth, ())["medium"].aps
    if benchmark.kind == "place":
        truth = benchmark.ground_truth
        first = [mean_ap.recall_at(ranks[:, [q]], truth[q : q + 1], (1,))[1] for q in range(len(truth))]
        return np.array(first)
    return mean_ap.mean_average_precision(ranks, benchmark.ground_truth, ()).aps


def group_means(values: np.ndarray, groups: Sequence[str]) -> dict[str, float]:
    """Mean of the values that are there, by group, sorted; groups without a name are left out."""
    names = np.array(groups)
    found = {}
    for name in sorted({one for one in groups if one}):
        known = values[names == name]
        known = known[~np.isnan(known)]
        if len(known):
            found[name] = float(known.mean())
    return found


def summed(benchmark: Benchmark, values: np.ndarray, num_bootstrap: int, seed: int = 0) -> dict[str, float]:
    """Intervals over queries, means by condition where there are several, and the mean over scenes with its interval.

    A scene's queries see one place, so they are resampled together: the interval over scenes is the honest one.
    """
    name, measure = benchmark.name, "recall1" if benchmark.kind == "place" else "map"
    known = values[~np.isnan(values)]
    found = _interval(f"{measure}_{{}}/{name}", known, num_bootstrap, seed)
    conditions = group_means(values, benchmark.query_conditions)
    if len(set(benchmark.query_conditions)) > 1:
        found |= {f"{measure}_{condition}/{name}": value for condition, value in conditions.items()}
    scenes = np.array(list(group_means(values, benchmark.query_scenes).values()))
    if len(scenes) > 1:
        found[f"{measure}_scenes/{name}"] = float(scenes.mean())
        found |= _interval(f"{measure}_scenes_{{}}/{name}", scenes, num_bootstrap, seed)
    return found


def _interval(pattern: str, values: np.ndarray, num_bootstrap: int, seed: int) -> dict[str, float]:
    ends = mean_interval(values, num_bootstrap, seed)
    return {} if ends is None else {pattern.format("low"): ends[0], pattern.format("high"): ends[1]}
