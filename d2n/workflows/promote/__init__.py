"""``d2n promote``: the data set's best generator, scored again on the test split, registered as its champion."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from d2n import promotion, shipped
from d2n.config import EvaluationConfig, TranslationExperiment, stored_experiment
from d2n.core import Score, require_one_protocol
from d2n.errors import D2NError
from d2n.files.scratch import scratch
from d2n.scores.needs import Given, unmet_need
from d2n.scores.protocol import score_name
from d2n.tracking import names, records, registry, runs
from d2n.workflows import evaluation as held
from d2n.workflows import generators, recording
from d2n.workflows.preflight import translator as translator_preflight
from d2n.workflows.promote import registering, standing
from d2n.workflows.promote.registering import Promotion

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord, Store

logger = logging.getLogger(__name__)
_ROUNDS = 5  # of deciding, where other promotions move the champion meanwhile


def promote_command(
    dataset: str,
    *,
    tracking_uri: str | None,
    dry_run: bool,
    min_gain: float,
    top: int,
    require_clear: bool,
    protocol: str | None,
) -> list[str]:
    """The decision in words."""
    store = runs.open_store(tracking_uri)
    done = promote(
        dataset,
        store=store,
        dry_run=dry_run,
        min_gain=min_gain,
        top=top,
        require_clear=require_clear,
        protocol=protocol,
    )
    lines = list(done.decision.reasons)
    if done.version is not None:
        lines.append(f"registered {done.model_name} version {done.version.version}, alias {names.CHAMPION}")
        lines.append(f"use it: d2n translate {done.model_name}@{names.CHAMPION} IN_DIR OUT_DIR")
    elif dry_run:
        lines.append("dry run: nothing was registered")
    return lines


def promote(
    dataset: str,
    *,
    store: Store,
    dry_run: bool = False,
    min_gain: float = 0.0,
    top: int = 4,
    require_clear: bool = False,
    protocol: str | None = None,
) -> Promotion:
    """Decide between the ``top`` runs by validation score and the current champion, on the test split.

    ``protocol`` keeps to runs scored under that identity. Raises ProtocolMismatchError when the runs were scored
    under different ones, D2NError when there is none.
    """
    for left in reversed(range(_ROUNDS)):
        try:
            return _promote_once(dataset, store, dry_run, min_gain, top, require_clear, protocol)
        except registering.ChampionMovedError as error:
            if not left:
                raise
            logger.warning("%s; deciding again", error)
    raise AssertionError("unreachable")


def _promote_once(
    dataset: str,
    store: Store,
    dry_run: bool,
    min_gain: float,
    top: int,
    require_clear: bool,
    protocol: str | None,
) -> Promotion:
    model_name = names.generator_model(dataset)
    found = _finished_runs(store, dataset, protocol)
    validation = {record.run_id: _validation_score(record) for record in found}
    require_one_protocol([score.protocol for score in validation.values()], "promote between")
    chosen = sorted(found, key=lambda record: _validation_rank(validation[record.run_id]))[:top]
    champion_version = standing.champion(store, model_name)
    why_not = standing.cannot_stay(store, champion_version) if champion_version is not None else ""
    if champion_version is not None and why_not:
        logger.warning("the champion %s/%s: %s", model_name, champion_version.version, why_not)
        champion_version = None
    champion_record = _run_of(store, champion_version)
    ids = [record.run_id for record in chosen]
    if champion_record is not None and champion_record.run_id not in ids:
        chosen.append(champion_record)
    evaluator = split_evaluator(store, chosen[0])  # one for all: the champion may be of an earlier protocol
    scored = {record.run_id: _test_score(store, record, evaluator) for record in chosen}
    candidates = [
        promotion.Candidate(
            run_id=record.run_id,
            method=record.tags[names.METHOD],
            score=scored[record.run_id],
            validation=validation.get(record.run_id),
            dataset_digest=record.tags.get(names.DATASET_DIGEST, ""),
            model_id=record.tags[names.MODEL_ID],
            study=record.tags.get(names.STUDY, ""),
        )
        for record in chosen
    ]
    champion = None
    if champion_version is not None and champion_record is not None:
        own = next(c for c in candidates if c.run_id == champion_record.run_id)
        champion = replace(own, name=f"{model_name}/{champion_version.version}")
    decision = promotion.decide(candidates, champion, min_gain, require_clear=require_clear, dataset=dataset)
    if dry_run:
        return Promotion(decision, None, model_name)
    if not decision.promote:
        return registering.record_kept(store, dataset, model_name, decision)
    return registering.register_winner(store, dataset, model_name, decision)


def _finished_runs(store: Store, dataset: str, protocol: str | None) -> list[RunRecord]:
    tags = {names.KIND: "translation", names.DATASET: dataset}
    if protocol is not None:
        tags[names.PROTOCOL] = protocol
    found = store.find_runs(experiment=names.experiment(dataset), tags=tags, status="FINISHED")
    usable = [record for record in found if record.tags.get(names.MODEL_ID)]
    if not usable:
        under = f" under protocol {protocol}" if protocol else ""
        shipped_one = f"cyclegan_{dataset}"
        make = f"with `d2n train` or `d2n search` and an experiment whose dataset.name is {dataset}"
        if shipped_one in shipped.names("experiments"):
            make = f"with `d2n train {shipped_one}` or `d2n search {shipped_one}`"
        raise D2NError(
            f"no finished translation run of {dataset}{under} with a generator in {store.display_uri} "
            f"({standing.known(store, dataset)}); make one {make}"
        )
    return usable


def _validation_score(record: RunRecord) -> Score:
    """The run's first score at its best step, with its protocol."""
    best = records.require_best_score(record)
    return Score(best.name, best.value, records.require_protocol(record))


def _validation_rank(score: Score) -> tuple[bool, float]:
    value = score.value if promotion.lower_is_better(score.name) else -score.value
    return (not math.isfinite(value), value)


def run_experiment(store: Store, record: RunRecord) -> TranslationExperiment:
    """The run's knobs, as it logged them."""
    with scratch("config") as folder:
        path = store.artifact(record.run_id, names.CONFIG_JSON, folder)
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    experiment = stored_experiment(values, f"run {record.run_id}")
    if not isinstance(experiment, TranslationExperiment):
        raise D2NError(f"run {record.run_id} is not a translation run")
    return experiment


def _test_score(store: Store, record: RunRecord, evaluator: held.Evaluator) -> Score:
    """The first score on the test split; what was measured before under the same protocol is read, not redone."""
    name = score_name(evaluator.evaluation.scores[0], evaluator.protocol)
    if record.tags.get(names.TEST_PROTOCOL) == evaluator.protocol.identity:
        saved = json.loads(record.tags[names.TEST_SCORE])
        interval = tuple(saved["interval"]) if saved["interval"] else None
        return Score(name, saved["value"], evaluator.protocol, saved["std"], interval, saved["floor"])
    scored = evaluator(generators.load(record.run_id, store).translate)
    log_test_scores(store, record, scored)
    return scored.evaluation.scores[0]


def split_evaluator(
    store: Store, record: RunRecord, split: Literal["val", "test"] = "test", **changes: Any
) -> held.Evaluator:
    """Scores on a split that the run did not train on, under the run's own protocol but for ``changes``.

    An extractor from the registry is the version that the run was scored with, wherever its alias points by now.
    """
    experiment = run_experiment(store, record)
    used = records.require_protocol(record).extractor
    if used.startswith(names.EXTRACTOR):
        changes = {"extractor": used, **changes}
    index = held.open_dataset(experiment.dataset)
    config = replace(experiment.evaluation, split=split, **changes)
    experiment = replace(experiment, evaluation=config)
    found = translator_preflight.given(experiment, index)
    if "scores" not in changes:
        config = _without_companions(config, found)
    translator_preflight.check_scores(config, found)
    return held.build_evaluator(replace(experiment, evaluation=config), index, store, store.work_root)


def _without_companions(config: EvaluationConfig, found: Given) -> EvaluationConfig:
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


def _run_of(store: Store, version: registry.RegisteredVersion | None) -> RunRecord | None:
    return store.get(version.run_id) if version is not None and version.run_id else None
