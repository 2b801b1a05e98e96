"""What a champion's nights are worth: one retrieval arm for each champion, its mAP written back on the version.

Whoever asks, how often and however it ends: the arm's run is made while the registered model is held, and carries
the version that it is for, so that the next who asks goes on with it instead of starting another.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from d2n.config import RetrievalExperiment, load_experiment
from d2n.errors import ConfigError
from d2n.tracking import environment, links, liveness, names, registry, runs
from d2n.workflows.retrieve import retrieve

if TYPE_CHECKING:
    from d2n.tracking.registry import RegisteredVersion
    from d2n.tracking.runs import RunRecord, Store

logger = logging.getLogger(__name__)
Arm = Callable[..., Any]  # as retrieve: (experiment, store=, run=)


def measure_champions(
    model: str,
    experiment: RetrievalExperiment | str,
    *,
    store: Store | str | None = None,
    arm: Arm = retrieve,
) -> dict[str, Mapping[str, float]]:
    """Version → its mAPs by benchmark, of the champion of ``model`` and every champion before it, each measured once.

    Those that were vetoed or have lost their files are passed over; {} is a version's where another process is at it.
    ``experiment`` may be the name of one; ``store`` is open, or its URI (default: MLFLOW_TRACKING_URI, else mlruns/).
    """
    opened = store if isinstance(store, runs.Store) else runs.open_store(store)
    wanted = load_experiment(experiment) if isinstance(experiment, str) else experiment
    vetoes = registry.vetoed(opened, model)
    found = {}
    for number in _champions(opened, model):
        version = registry.resolve(opened, f"{model}/{number}")
        if names.ARM_RUN in version.tags:
            found[number] = _written(version)
        elif number not in vetoes and not registry.missing_files(opened, version):
            found[number] = _measure(opened, version, _with_nights_of(version, wanted), arm)
    return found


def _champions(store: Store, model: str) -> list[str]:
    """Every version that is or was the champion and is still there, oldest first."""
    there = {version.version for version in registry.list_versions(store, model)}
    moves = [move.version for move in registry.alias_history(store, model, names.CHAMPION)]
    now = registry.list_aliases(store, model).get(names.CHAMPION, "")
    return [number for number in dict.fromkeys([*moves, now]) if number in there]


def _measure(
    store: Store, version: RegisteredVersion, experiment: RetrievalExperiment, arm: Arm
) -> Mapping[str, float]:
    record = _one_run(store, version, experiment)
    if record.status != "FINISHED":
        if _is_at_work(record):
            logger.warning("run %s measures %s already", record.run_id, version.reference)
            return {}
        arm(experiment, store=store, run=record)
    return _write_back(store, version, store.get(record.run_id))


def _with_nights_of(version: RegisteredVersion, experiment: Any) -> RetrievalExperiment:
    if not isinstance(experiment, RetrievalExperiment):
        raise ConfigError(f"{experiment.name} is a translation experiment, expected one of `d2n retrieve`")
    night = replace(experiment.night, augmentation="generator", generator=f"{version.name}/{version.version}")
    return replace(experiment, night=night, register_as=None)


def _one_run(store: Store, version: RegisteredVersion, experiment: RetrievalExperiment) -> RunRecord:
    """The run of this version's arm, made where there is none; of several askers at once one makes it."""
    reference = f"{version.name}/{version.version}"
    where = names.experiment(experiment.dataset.name)
    with registry.exclusive(store, version.name):
        found = store.find_runs(experiment=where, tags={names.ARM_OF: reference})
        if found:
            return found[-1]  # the oldest
        tags = {
            names.KIND: experiment.kind,
            names.EXPERIMENT_NAME: experiment.name,
            names.ARM_OF: reference,
        }
        run = store.start_run(where, f"{experiment.name} of {reference.replace('/', ' ')}", tags=tags)
        run.release()
        return store.get(run.run_id)


def _is_at_work(record: RunRecord) -> bool:
    tags = record.tags
    if tags.get(names.PROCESSES) == environment.process_namespace() and tags.get(names.PID) == str(
        os.getpid()
    ):
        return False  # of this process, which does one thing at a time
    return bool(liveness.holder(record))


def _write_back(store: Store, version: RegisteredVersion, record: RunRecord) -> Mapping[str, float]:
    maps = {key: value for key, value in record.metrics.items() if key.startswith("map/")}
    tags = {names.arm_map(key): f"{value:.6g}" for key, value in maps.items()}
    for key, value in {**tags, names.ARM_RUN: record.run_id}.items():  # the run last: all is there then
        store.call(store.client.set_model_version_tag, version.name, version.version, key, value)
    links.describe_version(store, version)
    return {key.removeprefix("map/"): value for key, value in maps.items()}


def _written(version: RegisteredVersion) -> Mapping[str, float]:
    before = names.arm_map("map/")
    each = {
        tag.removeprefix(f"{before}/"): text for tag, text in version.tags.items() if tag.startswith(before)
    }
    return {key: float(text) for key, text in each.items()}
