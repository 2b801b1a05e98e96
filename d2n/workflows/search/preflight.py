"""What can be known before a study exists: every end of every dimension trains, and its objectives are logged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from d2n import config
from d2n.errors import D2NError, StudyError
from d2n.studies.loading import end_experiments
from d2n.workflows import evaluation as held
from d2n.workflows.preflight import translator as translator_preflight
from d2n.workflows.search.trial_scores import pick

if TYPE_CHECKING:
    from d2n.config import DatasetConfig, TranslationExperiment
    from d2n.datasets.index import Index
    from d2n.studies import StudyDefinition
    from d2n.tracking.runs import Store


def check_study(definition: StudyDefinition, store: Store) -> None:
    """Refuse, in one line, a study whose trials cannot train, be scored, or be ranked by its objectives."""
    opened: dict[str, Index] = {}
    seen: set[str] = set()
    for setting, experiment in [("", definition.experiment), *end_experiments(definition)]:
        key = _what_counts(experiment)
        if key in seen:
            continue
        seen.add(key)
        try:
            index = _index(experiment.dataset, opened)
            translator_preflight.training_batches(experiment, index)
            translator_preflight.check_translation(experiment, index)
        except D2NError as error:
            at = f" with {setting}" if setting else ""
            raise StudyError(f"{definition.source}: a trial{at} cannot train: {error}") from error
    _check_objectives(definition, store, _index(definition.experiment.dataset, opened))


def _check_objectives(definition: StudyDefinition, store: Store, index: Index) -> None:
    """The extractor is built once (a registered one is resolved): it names the scores that a trial logs."""
    experiment = definition.experiment
    extractor = held.build_extractor(experiment.evaluation, store, experiment.dataset.image_size_px)
    found = translator_preflight.given(experiment, index)
    logged = dict.fromkeys(translator_preflight.logged_scores(experiment.evaluation, found, extractor), 0.0)
    study = definition.config
    wanted = [*(one.score for one in study.objectives), *(one.score for one in study.constraints)]
    for score in wanted:
        try:
            pick(logged, score)
        except StudyError as error:
            raise StudyError(f"{definition.source}: {error}") from None


def _index(data: DatasetConfig, opened: dict[str, Index]) -> Index:
    """The data set, opened once under each rule."""
    key = json.dumps([data.name, data.root, data.index, dict(data.rule)], sort_keys=True, default=str)
    if key not in opened:
        opened[key] = held.open_dataset(data)
    return opened[key]


def _what_counts(experiment: TranslationExperiment) -> str:
    """The knobs that decide whether a trial can train; a learning rate does not."""
    knobs = config.flatten(experiment)
    decisive = (
        "generator",
        "generator_blocks",
        "unet_depth",
        "discriminator_layers",
        "late_input",
        "upsampling",
    )
    kept = {
        key: value
        for key, value in knobs.items()
        if key.startswith(("dataset.", "evaluation."))
        or "norm" in key
        or key in ("training.batch_size", "translator.method", *(f"translator.{name}" for name in decisive))
    }
    return json.dumps(kept, sort_keys=True, default=str)
