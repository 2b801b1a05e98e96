"""``d2n retrieve --dry-run``: what would be read, trained and measured. No torch; mlflow only to name a version."""

from __future__ import annotations

from pathlib import Path

from d2n.config import Experiment, RetrievalExperiment
from d2n.datasets import Index, open_index
from d2n.datasets.benchmarks import load_benchmarks
from d2n.datasets.tuples import RetrievalSet, retrieval_set
from d2n.tracking.names import BASELINE
from d2n.workflows import preflight


def retrieval(experiment: Experiment, tracking_uri: str | None) -> list[str]:
    """What would be read, trained, measured and registered; the knobs stand before it. Trains nothing."""
    experiment = preflight.retrieval(experiment, tracking_uri)
    data = experiment.dataset
    index = open_index(data.name, root=data.root, index=data.index, rule=dict(data.rule) or None)
    lines = dataset_lines(index)
    if experiment.training.n_epochs or experiment.pretraining.n_epochs:
        lines.append(_training_line(experiment, retrieval_set(index)))
    else:
        lines.append("nothing is trained: the network is measured as it is")
    if experiment.night.augmentation != "none":
        share = f"{100 * experiment.night.probability:.0f} % of the training images by night"
        lines.append(f"{share}, {_night_source(experiment, tracking_uri)}")
    lines += [
        f"benchmark {one.name}: {len(one.queries)} queries, {len(one.database)} database images"
        for name, root, place in preflight.benchmark_places(experiment)
        for one in load_benchmarks(name, root=root, split=experiment.evaluation.split, index=place)
    ]
    if experiment.register_as is not None:
        lines.append(f"registers {experiment.register_as}@{BASELINE}")
    return lines


def _training_line(experiment: RetrievalExperiment, images: RetrievalSet) -> str:
    fine, before = experiment.training, experiment.pretraining.n_epochs
    pretrained = f"{before} epochs of pretraining, then " if before else ""
    return (
        f"{pretrained}{fine.n_epochs} epochs of {min(fine.num_queries, len(images.query_idx))} tuples from "
        f"{len(images.paths)} day images of {len(set(images.clusters))} scenes, {experiment.num_seeds} seed(s)"
    )


def _night_source(experiment: RetrievalExperiment, tracking_uri: str | None) -> str:
    config = experiment.night
    if config.augmentation != "generator" or config.generator is None:
        return f"by {config.augmentation}"
    if Path(config.generator).exists():
        return f"made by {config.generator}"
    from d2n.tracking import registry, runs

    store = runs.open_store(tracking_uri)
    version = registry.resolve(store, config.generator)
    others = [one.version for one in registry.seeds_of(store, config.generator)[1 : experiment.num_seeds]]
    seeds = f"; later seeds: of version {', '.join(others)}" if others else ""
    return f"made by {version.name} version {version.version}{seeds}"


def dataset_lines(index: Index) -> list[str]:
    """An index in a few lines: name, digest, place, counts."""
    info = index.info()
    return [
        f"data set {info.name}, digest {info.digest[:12]}, at {info.root}",
        *(f"  {name}: {count}" for name, count in sorted(info.counts.items())),
    ]
