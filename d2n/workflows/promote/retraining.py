"""The missing seeds of a setting, trained by the workflow of ``d2n train``; an interrupted one goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from d2n.errors import CheckpointError, TrackingError, TrainingError
from d2n.tracking import liveness, names
from d2n.workflows import train
from d2n.workflows.promote import scoring
from d2n.workflows.promote.field import Entry

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord, Store

logger = logging.getLogger(__name__)


def missing(entries: Sequence[Entry], wanted: int) -> list[int]:
    """The smallest seeds that a setting has no run of, as many as it lacks."""
    used = {entry.seed for entry in entries}
    free = (seed for seed in range(wanted + len(used)) if seed not in used)
    return [next(free) for _ in range(max(0, wanted - len(entries)))]


def retrain(
    store: Store,
    dataset: str,
    entries: Sequence[Entry],
    seeds: Sequence[int],
    *,
    progress: bool,
    training: Callable[..., train.TrainResult] = train.train,
) -> tuple[list[RunRecord], list[str]]:
    """The finished runs of those seeds, and what is to be said of seeds whose training failed."""
    first = entries[0]
    experiment = scoring.run_experiment(store, first.record)
    here = replace(experiment.training, device="auto")
    done, notes = [], []
    for seed in seeds:
        one = replace(experiment, seed=seed, training=here)
        begun = _interrupted(store, dataset, first.setting, seed)
        tags = {names.SETTING: first.setting, names.SEED: str(seed), names.DATASET: dataset}
        logger.info("training seed %d of the setting of run %s", seed, first.record.run_id)
        try:
            try:
                result = training(one, store=store, run=begun, progress=progress, tags=tags)
            except CheckpointError:
                if begun is None:
                    raise
                result = training(one, store=store, progress=progress, tags=tags)
            done.append(store.get(result.run_id))
        except TrainingError as error:
            notes.append(f"seed {seed} of the setting of run {first.record.run_id} failed: {error}")
    return done, notes


def _interrupted(store: Store, dataset: str, setting: str, seed: int) -> RunRecord | None:
    """A run of this seed that an earlier promotion began; TrackingError where another process is at it."""
    found = store.find_runs(
        experiment=names.experiment(dataset),
        tags={names.SETTING: setting, names.SEED: str(seed)},
        status=("RUNNING", "FAILED", "KILLED"),
    )
    for record in found:
        if who := liveness.holder(record):
            raise TrackingError(
                f"run {record.run_id} trains seed {seed} for another promotion ({who}): wait for it, or promote with "
                "--no-retrain"
            )
    return found[0] if found else None
