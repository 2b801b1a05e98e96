"""Test scores of a run: what was measured before under the same protocol is read, the rest measured and logged."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from d2n.config import DatasetConfig, EvaluationConfig, TranslationExperiment, stored_experiment
from d2n.core import Score
from d2n.errors import ConfigError, D2NError, TrackingError
from d2n.files.json import read_json_object
from d2n.files.scratch import scratch
from d2n.scores.needs import Given, unmet_need
from d2n.tracking import names, records
from d2n.tracking.records.elsewhere import split_of
from d2n.workflows import evaluation as held
from d2n.workflows import recording
from d2n.workflows.preflight import translator as translator_preflight

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord, Store

logger = logging.getLogger(__name__)


def run_experiment(store: Store, record: RunRecord) -> TranslationExperiment:
    """The run's knobs, as it logged them."""
    with scratch("config") as folder:
        path = store.artifact(record.run_id, names.CONFIG_JSON, folder)
        values = read_json_object(path, TrackingError)
    experiment = stored_experiment(values, f"run {record.run_id}")
    if not isinstance(experiment, TranslationExperiment):
        raise D2NError(f"run {record.run_id} is not a translation run")
    return experiment


def split_evaluator(
    store: Store,
    record: RunRecord,
    split: Literal["val", "test"] = "test",
    elsewhere: DatasetConfig | None = None,
    **changes: Any,
) -> held.Evaluator:
    """Scores on a split that the run did not train on, under the run's own protocol but for ``changes``.

    An extractor from the registry is the version that the run was scored with, wherever its alias points by now.
    ``elsewhere`` names another data set, whose images are scored at the size of the run's own.
    """
    return _evaluator(store, record, split, changes, elsewhere=elsewhere)


def test_evaluator(store: Store, record: RunRecord, further: tuple[str, ...]) -> held.Evaluator:
    """As split_evaluator on the test split, with ``further`` scores that must be had."""
    return _evaluator(store, record, "test", {}, further=further)


def known_score(record: RunRecord, name: str, evaluator: held.Evaluator) -> Score | None:
    """A score of the whole test split that was measured before under the same protocol; None where it was not."""
    if record.tags.get(names.TEST_PROTOCOL) != evaluator.protocol.identity:
        return None
    try:
        saved = json.loads(record.tags[names.TEST_SCORE])
        if saved["name"] == name:
            interval = tuple(saved["interval"]) if saved["interval"] else None
            value = float(saved["value"])
            return Score(name, value, evaluator.protocol, saved["std"], interval, saved["floor"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        logger.warning(
            "run %s: its tag %s is unreadable (%s); it is measured anew",
            record.run_id,
            names.TEST_SCORE,
            error,
        )
        return None
    value = record.metrics.get(names.test_score(name), math.nan)
    return Score(name, value, evaluator.protocol) if math.isfinite(value) else None


def log_test_scores(store: Store, record: RunRecord, scored: held.ScoredImages) -> None:
    """Test scores, PRD and sheet into the run that trained the generator; its status stays as it is."""
    first = scored.evaluation.scores[0]
    run = store.append_to(record.run_id)
    values = {
        names.test_score(score.name): score.value
        for score in scored.evaluation.scores
        if math.isfinite(score.value)
    }
    run.log_metrics(values)
    recording.log_prd(run, scored, prefix="test_")
    recording.log_score_table(run, scored, prefix="test_")
    saved = {"value": first.value, "std": first.std, "interval": first.interval, "floor": first.floor}
    run.set_tags(
        {
            names.TEST_PROTOCOL: scored.protocol.identity,
            names.TEST_PROTOCOL_TEXT: scored.protocol.to_json(),
            names.TEST_SCORE: json.dumps({"name": first.name, **saved}),
        }
    )


def log_scores_elsewhere(store: Store, record: RunRecord, scored: held.ScoredImages, dataset: str) -> None:
    """Scores and PRD on another data set into the run that trained the generator; its status stays as it is."""
    run = store.append_to(record.run_id)
    recording.log_prd(run, scored, prefix=f"{split_of(dataset)}_")
    records.Elsewhere.measured(dataset, scored.evaluation.scores, scored.protocol).write(run)


def without_companions(config: EvaluationConfig, found: Given) -> EvaluationConfig:
    """The run's own scores, but for companions of the first that this split can never have: they do not stop it."""
    first, *others = config.scores
    kept = [first]
    for name in others:
        why = unmet_need(name, found)
        if why:
            logger.warning("%s left out: %s (%s split)", name, why, config.split)
        else:
            kept.append(name)
    return replace(config, scores=tuple(kept))


def _evaluator(
    store: Store,
    record: RunRecord,
    split: Literal["val", "test"],
    changes: dict[str, Any],
    *,
    further: tuple[str, ...] = (),
    elsewhere: DatasetConfig | None = None,
) -> held.Evaluator:
    experiment = run_experiment(store, record)
    if elsewhere is not None:
        experiment = replace(experiment, dataset=_other(experiment.dataset, elsewhere, record))
    used = records.require_protocol(record).extractor
    if used.startswith(names.EXTRACTOR):
        changes = {"extractor": used, **changes}
    index = held.open_dataset(experiment.dataset)
    config = replace(experiment.evaluation, split=split, **changes)
    experiment = replace(experiment, evaluation=config)
    found = translator_preflight.given(experiment, index)
    if "scores" not in changes:
        config = without_companions(config, found)
    config = replace(config, scores=tuple(dict.fromkeys((*config.scores, *further))))
    translator_preflight.check_scores(config, found)
    return held.build_evaluator(replace(experiment, evaluation=config), index, store, store.work_root)


def _other(own: DatasetConfig, elsewhere: DatasetConfig, record: RunRecord) -> DatasetConfig:
    """Another data set's images as the run takes its own: from source to target, at their size."""
    if elsewhere.name == own.name and elsewhere.root in (None, own.root):
        raise ConfigError(
            f"--on {own.name} is the data set that run {record.run_id} was trained on; leave it out to score there"
        )
    return replace(own, name=elsewhere.name, root=elsewhere.root, index=None, rule={}, domains=())
