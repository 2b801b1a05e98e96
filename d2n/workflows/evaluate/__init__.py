"""``d2n evaluate``: a retrieval network measured on a benchmark, with nothing trained."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from d2n.config import flatten, telling_knobs, to_dict
from d2n.datasets.benchmarks import Benchmark
from d2n.datasets.images import load_rgb, save_rgb
from d2n.devices import resolve_device, use_threads
from d2n.files.scratch import scratch
from d2n.retrieval import network, search, whitening
from d2n.scores import mean_ap
from d2n.tracking import liveness, names, runs
from d2n.workflows import generators
from d2n.workflows.evaluate import pictures, stored
from d2n.workflows.evaluate.describing import Describer
from d2n.workflows.evaluate.model import Model, open_model, whitening_of, whitening_pairs
from d2n.workflows.evaluate.places import open_benchmarks
from d2n.workflows.evaluate.stored import Through
from d2n.workflows.evaluate.summing import group_means, query_values, summed
from d2n.workflows.measures import measures
from d2n.workflows.preflight import network as network_preflight

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

NUM_BOOTSTRAP, NUM_PICTURES, NUM_SHOWN = 1000, 3, 5
SEARCH_RECALL = "search_recall10"
"""The share of the exact best ten that an approximate search found; stands beside every measure made with one."""


@dataclass(frozen=True)
class Request:
    """What is to be measured, and how."""

    model: str
    benchmark: str
    root: Path | None = None
    whitening: str = "stored"
    turn: bool | None = None
    overrides: tuple[str, ...] = ()
    through: Through | None = None  # a vector store in place of memory


@dataclass(frozen=True)
class EvaluateResult:
    """Every measure by its name, and the run that keeps them."""

    run_id: str
    url: str
    measured: Mapping[str, float]
    origin: str
    through: Through | None = None


@dataclass(frozen=True)
class _Ranked:
    benchmark: Benchmark
    ranks: np.ndarray  # (database, queries)
    values: np.ndarray  # (queries,)
    ann_recall: float | None = None  # of the exact best 10, where the search was approximate


def evaluate_command(request: Request, *, tracking_uri: str | None, progress: bool) -> list[str]:
    """The measures in words."""
    return summary(evaluate(request, store=runs.open_store(tracking_uri), progress=progress))


def evaluate(request: Request, *, store: Store, progress: bool = False) -> EvaluateResult:
    """Measure, and keep measures, tables and pictures in a run of the benchmark's own experiment."""
    model = open_model(request.model, request.overrides, store)
    config = model.experiment.evaluation
    use_threads(model.experiment.training.num_threads)
    benchmarks = open_benchmarks(request.benchmark, request.root, config.split, store.work_root)
    network_preflight.check_benchmarks(model.net, benchmarks, config)
    pairs = whitening_pairs(request.whitening)
    learned = None if pairs is not None else whitening_of(model, request.whitening)
    describer = Describer(
        model.net.to(str(resolve_device(model.experiment.training.device))),
        view_of(model),
        store.work_root / "descriptors",
        request.turn,
        generators.load(config.query_translation, store) if config.query_translation else None,
        progress,
    )
    if pairs is not None:
        learned = learn(describer, pairs.paths, pairs.query_idx, pairs.positive_idx)
    tags = {
        names.KIND: "evaluation",
        names.EXPERIMENT_NAME: f"evaluate {request.benchmark}",
        "d2n.network": model.origin,
        "d2n.network.fingerprint": network.fingerprint(model.net),
    }
    title = (
        f"{Path(request.model).name or request.model} on {Path(request.benchmark).name or request.benchmark}"
    )
    run = store.start_run(
        names.experiment(benchmarks[0].info.name.partition("/")[0]), _printable(title), tags=tags
    )
    with run, liveness.pulse(store, run.run_id):
        run.log_params(
            {
                **flatten(model.experiment),
                "whitening": request.whitening,
                "turn": str(request.turn),
                **_search_params(request.through),
            },
            shown=(*telling_knobs(model.experiment), "whitening", "turn"),
        )
        run.log_text(json.dumps(to_dict(model.experiment), indent=2), names.CONFIG_JSON)
        measured: dict[str, float] = {}
        for benchmark in benchmarks:
            run.log_dataset(benchmark.info, "evaluation")
            ranked = _ranked(benchmark, describer, learned, config.whitening_dim, request.through)
            found = measures(benchmark, ranked.ranks) | _recalls(ranked)
            found |= summed(benchmark, ranked.values, NUM_BOOTSTRAP)
            measured |= {key: value for key, value in found.items() if math.isfinite(value)}
            _log_tables(run, ranked)
            _log_pictures(run, ranked, request.turn)
        run.log_metrics(measured)
        run.close("FINISHED")
    return EvaluateResult(run.run_id, run.url, measured, model.origin, request.through)


def summary(result: EvaluateResult) -> list[str]:
    """The measures of a benchmark, with their intervals, in percent."""
    found = result.measured
    lines = [f"run {result.run_id}, {result.origin}"]
    if result.through is not None:
        lines.append(
            f"  ranked to a depth of {result.through.depth} by the vector store {result.through.url}"
        )
    for key, value in found.items():
        measure, _, name = key.partition("/")
        if measure.endswith(("_low", "_high")):
            continue
        low, high = (found.get(f"{measure}_{end}/{name}") for end in ("low", "high"))
        shown = f" [{100 * low:.1f}, {100 * high:.1f}]" if low is not None and high is not None else ""
        near = found.get(f"{SEARCH_RECALL}/{name}")
        if near is not None and measure != SEARCH_RECALL:
            shown += f" (approximate search, recall@10 against exact {100 * near:.1f})"
        lines.append(f"  {measure} {name} = {100 * value:.1f}{shown}")
    return [*lines, f"to look at it: d2n ui, then {result.url}"]


def view_of(model: Model) -> search.View:
    """How images enter the network, by its evaluation's knobs."""
    config = model.experiment.evaluation
    return search.View(config.image_size_px, config.scales, config.square, config.precision)


def learn(
    describer: Describer, paths: Sequence[Path], query_idx: Iterable[int], positive_idx: Iterable[int]
) -> whitening.Whitening:
    """Whitening learned on published pairs, described as the benchmark's images are."""
    made = search.extract(
        describer.net, list(paths), describer.view, load_image=load_rgb, progress=describer.progress
    )
    return whitening.learn_whitening(made, list(query_idx), list(positive_idx))


def _ranked(
    benchmark: Benchmark,
    describer: Describer,
    learned: whitening.Whitening | None,
    dim: int | None,
    through: Through | None,
) -> _Ranked:
    queries = describer.queries(benchmark)
    if learned is not None:
        queries = whitening.apply_whitening(queries, learned, dim)
    if through is not None:
        ranks, ann_recall = stored.searched(benchmark, describer, learned, dim, queries, through)
        return _Ranked(benchmark, ranks, query_values(benchmark, ranks), ann_recall)
    database = describer.database(benchmark)
    if learned is not None:
        database = whitening.apply_whitening(database, learned, dim)
    ranks = search.rank(queries, database)
    return _Ranked(benchmark, ranks, query_values(benchmark, ranks))


def _recalls(ranked: _Ranked) -> dict[str, float]:
    """Recall@N beside mAP where right answers are of one kind; what an approximate search found of the exact best."""
    name, found = ranked.benchmark.name, dict[str, float]()
    if ranked.ann_recall is not None:
        found[f"{SEARCH_RECALL}/{name}"] = ranked.ann_recall
    if ranked.benchmark.kind == "standard":
        recalls = mean_ap.recall_at(ranked.ranks, ranked.benchmark.ground_truth)
        found |= {f"recall{k}/{name}": value for k, value in recalls.items()}
    return found


def _search_params(through: Through | None) -> dict[str, str]:
    if through is None:
        return {}
    return {"search": "approximate" if through.approximate else "exact", "search_depth": str(through.depth)}


def _log_tables(run: runs.TrackedRun, ranked: _Ranked) -> None:
    benchmark, key = ranked.benchmark, ranked.benchmark.name.replace("/", "-")
    values = [None if math.isnan(value) else float(value) for value in ranked.values]
    run.log_table(
        {
            "query": [path.name for path in benchmark.queries],
            "scene": list(benchmark.query_scenes),
            "condition": list(benchmark.query_conditions),
            "value": values,
            "first": [benchmark.database[i].name for i in ranked.ranks[0]],
        },
        f"tables/queries-{key}.json",
    )
    scenes = group_means(ranked.values, benchmark.query_scenes)
    if scenes:
        run.log_table({"scene": list(scenes), "value": list(scenes.values())}, f"tables/scenes-{key}.json")


def _log_pictures(run: runs.TrackedRun, ranked: _Ranked, turn: bool | None) -> None:
    """The best and the worst queries with the first images found."""
    benchmark, key = ranked.benchmark, ranked.benchmark.name.replace("/", "-")
    for name, queries in zip(
        ("best", "worst"), pictures.best_and_worst(ranked.values, NUM_PICTURES), strict=True
    ):
        if queries:
            rows = [pictures.Found(q, ranked.ranks[:NUM_SHOWN, q].tolist()) for q in queries]
            with scratch("picture") as folder:
                path = folder / f"{key}-{name}.png"
                save_rgb(pictures.rows_picture(benchmark, rows, turn), path)
                run.log_file(path, "rankings")


def _printable(title: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in title)[:200]
