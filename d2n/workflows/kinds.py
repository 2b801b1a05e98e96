"""The kinds of experiment, a row each: how one is trained under a study, checked before, and told apart from others.

`search` reads the row of its experiment and asks for no name. Rows import torch only inside functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from d2n.config import RetrievalExperiment, TranslationExperiment
from d2n.config.kinds import Experiment
from d2n.tracking.records import RetrievalRecord, TranslationRecord

if TYPE_CHECKING:
    from d2n.config import DatasetConfig
    from d2n.datasets.index import Index
    from d2n.tracking.runs import Store
    from d2n.workflows.tracked import Tracked


class DataSets:
    """Prepared data sets, each opened once under each rule."""

    def __init__(self) -> None:
        self._opened: dict[str, Index] = {}

    def open(self, data: DatasetConfig) -> Index:
        """The index of a configured data set."""
        from d2n.workflows import evaluation

        named = [data.name, data.root, data.index, dict(data.rule), data.direction]
        key = json.dumps(named, sort_keys=True, default=str)
        if key not in self._opened:
            self._opened[key] = evaluation.open_dataset(data)
        return self._opened[key]


@dataclass(frozen=True)
class ExperimentKind:
    """A kind of experiment; ``knobs`` is its class, which names the kind."""

    knobs: type[Experiment]
    tracked: Callable[..., AbstractContextManager[Tracked[Any]]]
    """(experiment, store=, run=, work_root=, resume=, progress=): a run, and the iterator that trains in it."""
    can_train: Callable[[Any, DataSets, Store], None]
    """Refuses, in one line, an experiment that cannot train on its data set."""
    logged_scores: Callable[[Any, DataSets, Store], list[str]]
    """The names of the scores that its evaluations will have: what an objective may be."""
    decides: Callable[[str], bool]
    """Whether a knob has a part in whether it can train; a learning rate has none."""
    record: type[TranslationRecord] | type[RetrievalRecord]
    """What its runs are in the tracking store."""
    data_digest: Callable[[Any], str]
    """Of the data set that it reads; part of what makes two trainings the same."""


def kind_of(experiment: Experiment) -> ExperimentKind:
    """The row of an experiment."""
    return KINDS[experiment.kind]


def _data_digest(experiment: Experiment) -> str:
    from d2n.workflows import evaluation

    return evaluation.open_dataset(experiment.dataset).info().digest


def _translation(experiment: TranslationExperiment, **given: Any) -> AbstractContextManager[Tracked[Any]]:
    from d2n.workflows import train

    return train.tracked(experiment, **given)


def _translation_can_train(experiment: TranslationExperiment, data: DataSets, store: Store) -> None:
    from d2n.workflows.preflight import translator

    index = data.open(experiment.dataset)
    translator.training_batches(experiment, index)
    translator.check_translation(experiment, index)


def _translation_scores(experiment: TranslationExperiment, data: DataSets, store: Store) -> list[str]:
    """The extractor is built once (a registered one is resolved): it names the scores."""
    from d2n.workflows import evaluation
    from d2n.workflows.preflight import translator

    index = data.open(experiment.dataset)
    extractor = evaluation.build_extractor(experiment.evaluation, store, experiment.dataset.image_size_px)
    return translator.logged_scores(experiment.evaluation, translator.given(experiment, index), extractor)


def _decides_translation(knob: str) -> bool:
    return (
        knob.startswith(("dataset.", "evaluation."))
        or "norm" in knob
        or knob in ("training.batch_size", "translator.method")
        or knob.removeprefix("translator.")
        in (
            "generator",
            "generator_blocks",
            "unet_depth",
            "discriminator_layers",
            "late_input",
            "upsampling",
        )
    )


def _retrieval(experiment: RetrievalExperiment, **given: Any) -> AbstractContextManager[Tracked[Any]]:
    from d2n.workflows import retrieve

    return retrieve.tracked(experiment, **given)


def _retrieval_can_train(experiment: RetrievalExperiment, data: DataSets, store: Store) -> None:
    from d2n.workflows import retrieve

    retrieve.can_train(experiment, data.open(experiment.dataset), store)


def _retrieval_scores(experiment: RetrievalExperiment, data: DataSets, store: Store) -> list[str]:
    from d2n.workflows import retrieve

    return retrieve.logged_scores(experiment)


def _decides_retrieval(knob: str) -> bool:
    return not knob.startswith("training.lr") and knob not in (
        "training.margin",
        "training.weight_decay",
        "training.gem_lr_factor",
        "night.probability",
        "network.gem_p",
    )


KINDS: Mapping[str, ExperimentKind] = {
    "translation": ExperimentKind(
        TranslationExperiment,
        _translation,
        _translation_can_train,
        _translation_scores,
        _decides_translation,
        TranslationRecord,
        _data_digest,
    ),
    "retrieval": ExperimentKind(
        RetrievalExperiment,
        _retrieval,
        _retrieval_can_train,
        _retrieval_scores,
        _decides_retrieval,
        RetrievalRecord,
        _data_digest,
    ),
}
