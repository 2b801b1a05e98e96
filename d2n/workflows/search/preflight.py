"""What can be known before a study exists: every end of every dimension trains, and its objectives are logged."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from d2n import config
from d2n.config import RetrievalExperiment
from d2n.errors import D2NError, StudyError
from d2n.studies.loading import end_experiments
from d2n.workflows.kinds import DataSets, ExperimentKind
from d2n.workflows.search.trial_scores import pick

if TYPE_CHECKING:
    from d2n.config.kinds import Experiment
    from d2n.studies import StudyDefinition
    from d2n.tracking.runs import Store

logger = logging.getLogger(__name__)


def check_study(definition: StudyDefinition, kind: ExperimentKind, store: Store) -> None:
    """Refuse, in one line, a study whose trials cannot train, be scored, or be ranked by its objectives."""
    data = DataSets()
    seen: set[str] = set()
    for setting, experiment in [("", definition.experiment), *end_experiments(definition)]:
        key = _what_counts(experiment, kind)
        if key in seen:
            continue
        seen.add(key)
        try:
            kind.can_train(experiment, data, store)
        except D2NError as error:
            at = f" with {setting}" if setting else ""
            raise StudyError(f"{definition.source}: a trial{at} cannot train: {error}") from error
    _check_objectives(definition, kind, data, store)
    _warn_of_test_images(definition)


def _check_objectives(
    definition: StudyDefinition, kind: ExperimentKind, data: DataSets, store: Store
) -> None:
    """Every objective and constraint is a score that a trial logs."""
    logged = dict.fromkeys(kind.logged_scores(definition.experiment, data, store), 0.0)
    study = definition.config
    wanted = [*(one.score for one in study.objectives), *(one.score for one in study.constraints)]
    for score in wanted:
        try:
            pick(logged, score)
        except StudyError as error:
            raise StudyError(f"{definition.source}: {error}") from None


def _warn_of_test_images(definition: StudyDefinition) -> None:
    experiment = definition.experiment
    if isinstance(experiment, RetrievalExperiment) and experiment.evaluation.split == "test":
        logger.warning(
            "%s: chooses by the test split, so that its best value is no estimate; overrides: {evaluation.split: val}",
            definition.source,
        )


def _what_counts(experiment: Experiment, kind: ExperimentKind) -> str:
    """The knobs that decide whether a trial can train."""
    kept = {key: value for key, value in config.flatten(experiment).items() if kind.decides(key)}
    return json.dumps(kept, sort_keys=True, default=str)
