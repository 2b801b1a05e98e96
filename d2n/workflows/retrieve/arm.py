"""One arm of a retrieval experiment: what all of its seeds share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from d2n.config import NightConfig, RetrievalExperiment
from d2n.datasets.benchmarks import Benchmark, load_benchmarks
from d2n.datasets.tuples import RetrievalSet, retrieval_set
from d2n.devices import resolve_device
from d2n.errors import ConfigError
from d2n.tracking import names
from d2n.workflows import generators, preflight
from d2n.workflows.retrieval import TrainingData

if TYPE_CHECKING:
    from d2n.datasets.index import Index
    from d2n.tracking.runs import RunRecord, Store


@dataclass(frozen=True)
class Arm:
    """What all seeds share."""

    experiment: RetrievalExperiment
    images: RetrievalSet
    dataset_digest: str
    benchmarks: tuple[Benchmark, ...]
    generator: generators.Generator | None
    query_generator: generators.Generator | None
    device: str
    work: Path

    @property
    def data(self) -> TrainingData:
        """What its networks are trained on."""
        night = self.generator
        module, stride = (night.module, night.stride) if night is not None else (None, 1)
        return TrainingData(self.images, self.dataset_digest, self.work, self.device, module, stride)


def open_arm(
    experiment: RetrievalExperiment, index: Index, store: Store, record: RunRecord | None, work: Path
) -> Arm:
    """Images, benchmarks and generators of an experiment; an interrupted run's record keeps its generator."""
    query_translation = experiment.evaluation.query_translation
    return Arm(
        experiment=experiment,
        generator=_generator(experiment.night, store, record),
        images=retrieval_set(index),
        dataset_digest=index.info().digest,
        benchmarks=benchmarks(experiment),
        query_generator=generators.load(query_translation, store) if query_translation else None,
        device=str(resolve_device(experiment.training.device)),
        work=work,
    )


def _generator(config: NightConfig, store: Store, record: RunRecord | None) -> generators.Generator | None:
    if config.augmentation != "generator":
        return None
    if not config.generator:
        raise ConfigError(
            "night.augmentation is generator, but night.generator names none; expected models:/NAME@ALIAS"
        )
    used = record.tags if record is not None else {}
    if used.get(names.GENERATOR_NAME) and used.get(names.GENERATOR_VERSION):
        return generators.load(f"{used[names.GENERATOR_NAME]}/{used[names.GENERATOR_VERSION]}", store)
    return generators.load(config.generator, store)


def benchmarks(experiment: RetrievalExperiment) -> tuple[Benchmark, ...]:
    """Every benchmark asked for; the training set's own lies where the training set lies."""
    split = experiment.evaluation.split
    found = [
        load_benchmarks(name, root=root, split=split, index=index)
        for name, root, index in preflight.benchmark_places(experiment)
    ]
    return tuple(one for several in found for one in several)
