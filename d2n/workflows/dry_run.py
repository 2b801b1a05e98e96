"""``d2n retrieve --dry-run``: what would be read, trained and measured, refused by what refuses the run itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from d2n.config import Experiment, RetrievalExperiment
from d2n.datasets import Index, open_index
from d2n.datasets.benchmarks import Benchmark, load_benchmarks
from d2n.datasets.tuples import RetrievalSet, retrieval_set
from d2n.tracking.names import BASELINE
from d2n.workflows import preflight


def retrieval(experiment: Experiment, tracking_uri: str | None) -> list[str]:
    """What would be read, trained, measured and registered; the knobs stand before it. Trains nothing."""
    experiment = preflight.retrieval(experiment, tracking_uri)
    data = experiment.dataset
    index = open_index(data.name, root=data.root, index=data.index, rule=dict(data.rule) or None)
    images, benchmarks = retrieval_set(index), _benchmarks(experiment)
    _check(experiment, images, benchmarks)
    lines = dataset_lines(index)
    if experiment.training.n_epochs or experiment.pretraining.n_epochs:
        lines.append(_training_line(experiment, images))
    else:
        lines.append("nothing is trained: the network is measured as it is")
    if experiment.night.augmentation != "none":
        share = f"{100 * experiment.night.probability:.0f} % of the training images by night"
        lines.append(f"{share}, {_night_source(experiment, tracking_uri)}")
    if experiment.evaluation.query_translation:
        made = _generator(experiment.evaluation.query_translation, tracking_uri)
        lines.append(f"night queries by day, made by {made}")
    lines += [
        f"benchmark {one.name}: {len(one.queries)} queries, {len(one.database)} database images"
        for one in benchmarks
    ]
    if experiment.register_as is not None:
        lines.append(f"registers {experiment.register_as}@{BASELINE}")
    return lines


def _benchmarks(experiment: RetrievalExperiment) -> list[Benchmark]:
    split = experiment.evaluation.split
    return [
        one
        for name, root, place in preflight.benchmark_places(experiment)
        for one in load_benchmarks(name, root=root, split=split, index=place)
    ]


def _check(experiment: RetrievalExperiment, images: RetrievalSet, benchmarks: list[Benchmark]) -> None:
    """What the run refuses of network, sizes and tuples. Weights that are to be fetched are left where they are."""
    from d2n.backbones import trunks
    from d2n.workflows.preflight import network
    from d2n.workflows.retrieve.measuring import MAX_WHITENING_IMAGES

    unfetched = experiment.network
    classifier = trunks.find(unfetched.backbone).classifier
    if unfetched.weights is None and classifier is not None and classifier.urls:
        unfetched = dataclasses.replace(unfetched, weights="none")
    if preflight.start_reference(unfetched):
        unfetched = dataclasses.replace(unfetched, weights="none")
    if preflight.light_reference(unfetched):
        unfetched = dataclasses.replace(unfetched, light="none", light_weights=None)
    experiment = dataclasses.replace(experiment, network=unfetched)
    network.check_retrieval(experiment, images, benchmarks, MAX_WHITENING_IMAGES)


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
    made = f"made by {_generator(config.generator, tracking_uri)}"
    if Path(config.generator).exists():
        return made
    from d2n.tracking import registry, runs

    seeds = registry.seeds_of(runs.open_store(tracking_uri), config.generator)
    others = [one.version for one in seeds[1 : experiment.num_seeds]]
    return f"{made}; later seeds: of version {', '.join(others)}" if others else made


def _generator(reference: str, tracking_uri: str | None) -> str:
    """The generator's name, once it loads."""
    from d2n.tracking import runs
    from d2n.workflows import generators

    found = generators.load(reference, None if Path(reference).exists() else runs.open_store(tracking_uri))
    version = found.version
    return reference if version is None else f"{version.name} version {version.version}"


def dataset_lines(index: Index) -> list[str]:
    """An index in a few lines: name, digest, place, counts."""
    info = index.info()
    return [
        f"data set {info.name}, digest {info.digest[:12]}, at {info.root}",
        *(f"  {name}: {count}" for name, count in sorted(info.counts.items())),
    ]
