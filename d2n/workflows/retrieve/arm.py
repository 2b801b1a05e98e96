"""One arm of a retrieval experiment: what all of its seeds share."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from d2n import datasets
from d2n.config import NetworkConfig, NightConfig, RetrievalExperiment
from d2n.datasets.benchmarks import Benchmark, load_benchmarks
from d2n.datasets.tuples import RetrievalSet, retrieval_set
from d2n.devices import resolve_device
from d2n.errors import ConfigError, DataError
from d2n.tracking import registry, uses
from d2n.workflows import generators, light, networks, preflight
from d2n.workflows.retrieval import TrainingData

if TYPE_CHECKING:
    from d2n.datasets.index import Index
    from d2n.tracking.runs import RunRecord, Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arm:
    """What all seeds share."""

    experiment: RetrievalExperiment
    images: RetrievalSet
    dataset_digest: str
    benchmarks: tuple[Benchmark, ...]
    nights: tuple[generators.Generator, ...]  # seed after seed takes the next one; (): none
    query_generator: generators.Generator | None
    device: str
    work: Path
    uses: tuple[uses.Use, ...] = ()
    true_nights: Mapping[Path, Path] | None = None  # of an oracle
    validation: tuple[Benchmark, ...] = ()  # measured on the way
    trained: RetrievalExperiment | None = None  # where a file stands in the place of a registered network

    @property
    def on_this_machine(self) -> RetrievalExperiment:
        """The experiment with every network that it names in the registry as a file."""
        return self.trained or self.experiment

    def generator_of(self, number: int) -> generators.Generator | None:
        """Whose nights the seed of that number (0 is the first) is trained with."""
        return self.nights[number % len(self.nights)] if self.nights else None

    def data_of(self, number: int) -> TrainingData:
        """What the network of that seed is trained on."""
        night = self.generator_of(number)
        module, stride = (night.module, night.stride) if night is not None else (None, 1)
        return TrainingData(
            self.images, self.dataset_digest, self.work, self.device, module, stride, self.true_nights
        )


def open_arm(
    experiment: RetrievalExperiment, index: Index, store: Store, record: RunRecord | None, work: Path
) -> Arm:
    """Images, benchmarks and generators of an experiment; an interrupted run's record keeps its generators."""
    night, by_day = _named_generator(experiment.night), experiment.evaluation.query_translation
    true_nights = datasets.true_nights(index) if experiment.night.augmentation == "oracle" else None
    augmenting = _generators(night, experiment.num_seeds, store, record) if night else []
    translating = _generator(by_day, uses.QUERIES, store, record) if by_day else None
    if translating is not None:
        _tell_direction(translating[0])
    started, starts = _start(experiment.network, store, record)
    network, lit = _light(started, store, record)
    return Arm(
        experiment=experiment,
        nights=tuple(found for found, _ in augmenting),
        images=retrieval_set(index),
        dataset_digest=index.info().digest,
        benchmarks=benchmarks(experiment),
        query_generator=translating[0] if translating else None,
        device=str(resolve_device(experiment.training.device)),
        work=work,
        uses=(*(use for _, use in (*augmenting, *([translating] if translating else []), *lit)), *starts),
        true_nights=true_nights,
        validation=_validation(experiment),
        trained=dataclasses.replace(experiment, network=network) if lit or starts else None,
    )


def _start(
    network: NetworkConfig, store: Store, record: RunRecord | None
) -> tuple[NetworkConfig, list[uses.Use]]:
    """The network's knobs with the file of the registered network that it goes on from, and what to write down."""
    begun = uses.pinned(record.run_id, record.tags, uses.START) if record is not None else None
    made, use = networks.pulled(network, store, begun.reference if begun is not None else None)
    if use is None:
        return made, []
    if begun is not None and record is not None:
        uses.refuse_other(record.run_id, begun, use)
    return made, [use]


def _light(
    network: NetworkConfig, store: Store, record: RunRecord | None
) -> tuple[NetworkConfig, list[tuple[generators.Generator, uses.Use]]]:
    """The network's knobs with the file of its registered photometric network, and what to write down of that."""
    begun = uses.pinned(record.run_id, record.tags, uses.LIGHT) if record is not None else None
    reference = begun.reference if begun is not None else None
    made, found = light.pulled(network, store, reference or None)
    if found is None:
        return made, []
    use = _use(found, reference or str(network.light_weights), uses.LIGHT, store)
    if begun is not None and record is not None:
        uses.refuse_other(record.run_id, begun, use)
    return made, [(found, use)]


def _tell_direction(queries: generators.Generator) -> None:
    """A warning where queries go through a generator that is known to make no days."""
    target = queries.version.domains[1] if queries.version is not None else "day"
    if target != "day":
        logger.warning(
            "evaluation.query_translation: %s translates to %s, expected a night-to-day generator "
            "(dataset.source=night dataset.target=day)",
            queries.origin,
            target,
        )


def _named_generator(config: NightConfig) -> str | None:
    if config.augmentation != "generator":
        return None
    if not config.generator:
        raise ConfigError(
            "night.augmentation is generator, but night.generator names none; expected models:/NAME@ALIAS"
        )
    return config.generator


def _generators(
    reference: str, num_seeds: int, store: Store, record: RunRecord | None
) -> list[tuple[generators.Generator, uses.Use]]:
    """Of NAME@champion the seeds of the champion, as many as the run has; of another reference the one that it names.

    An interrupted run goes on with those that it began with.
    """
    begun = uses.generators_of(uses.read(record.run_id, record.tags)) if record is not None else []
    if begun:
        named = [use.reference or reference for use in begun]
    elif Path(reference).exists() or "@" not in reference:
        named = [reference]
    else:
        named = [reference, *(one.reference for one in registry.seeds_of(store, reference)[1:num_seeds])]
    return [
        _generator(one, uses.role_of_generator(number), store, record) for number, one in enumerate(named)
    ]


def _generator(
    reference: str, role: str, store: Store, record: RunRecord | None
) -> tuple[generators.Generator, uses.Use]:
    """The generator of a role, and what to write down of it: of an interrupted run the one that it began with."""
    begun = uses.pinned(record.run_id, record.tags, role) if record is not None else None
    found = generators.load(begun.reference or reference if begun is not None else reference, store)
    use = _use(found, begun.reference or reference if begun is not None else reference, role, store)
    if begun is not None and record is not None:
        uses.refuse_other(record.run_id, begun, use)
    return found, use


def _use(found: generators.Generator, reference: str, role: str, store: Store) -> uses.Use:
    version = found.version
    if version is not None:
        return uses.Use(
            role, "version", version.name, version.version, version.run_id, version.model_id, found.sha256
        )
    if Path(reference).exists():
        return uses.Use(role, "folder", Path(reference).absolute().name, sha256=found.sha256)
    model_id = store.get(reference).logged_model
    return uses.Use(role, "run", run_id=reference, model_id=model_id, sha256=found.sha256)


def _validation(experiment: RetrievalExperiment) -> tuple[Benchmark, ...]:
    """The validation queries of every benchmark that has some, where they are asked for; ConfigError of none."""
    if not experiment.evaluation.validate_every_epochs:
        return ()
    found, why = [], ""
    for name, root, index in preflight.benchmark_places(experiment):
        try:
            found += load_benchmarks(name, root=root, split="val", index=index)
        except DataError as error:
            why = why or str(error)
    if not found:
        raise ConfigError(
            f"evaluation.validate_every_epochs is {experiment.evaluation.validate_every_epochs}, and none of "
            f"evaluation.benchmarks has validation queries ({why})"
        )
    return tuple(found)


def benchmarks(experiment: RetrievalExperiment) -> tuple[Benchmark, ...]:
    """Every benchmark asked for; the training set's own lies where the training set lies."""
    split = experiment.evaluation.split
    found = [
        load_benchmarks(name, root=root, split=split, index=index)
        for name, root, index in preflight.benchmark_places(experiment)
    ]
    return tuple(one for several in found for one in several)
