"""Which interrupted run goes on, and what must hold before it is touched: a refusal leaves it as it was."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from d2n import __version__, config
from d2n.config import RetrievalExperiment, Scalar, TranslationExperiment, decisive, flatten
from d2n.config.kinds import VERBS
from d2n.core import DatasetInfo, ScoreProtocol
from d2n.errors import ConfigError, TrackingError
from d2n.signals import StopRequested, exit_code
from d2n.tracking import liveness, names, records
from d2n.tracking.runs import RunRecord, Store
from d2n.tracking.spool import disk, replay
from d2n.tracking.values import param_text
from d2n.workflows.saved import FREE_KNOBS, Saved, refuse_differing

logger = logging.getLogger(__name__)
LAST = "last"
_HOPELESS = ("TrainingError", "ScoreError")  # what ended in these ends in them again
E = TypeVar("E", TranslationExperiment, RetrievalExperiment)


def interrupted_run(
    store: Store, reference: str, experiment: TranslationExperiment | RetrievalExperiment
) -> RunRecord:
    """The run that ``--resume`` names, a run id or ``last``, untouched.

    Raises ConfigError, TrackingError or OtherKnobsError, each in one line, where it is of another kind, of a study,
    FINISHED, worked on by a living process, or of other knobs.
    """
    wanted = reference.strip()
    if not wanted:
        raise ConfigError(f"--resume {reference!r} names no run: expected a run id, or `{LAST}`")
    record = _caught_up(store, _last(store, experiment) if wanted == LAST else store.get(wanted))
    _refuse_other_kind(record, experiment.kind)
    _refuse_later_release(record)
    if record.status == "FINISHED":
        raise TrackingError(
            f"run {record.run_id} is FINISHED, nothing of it is left to do; leave --resume out to start another"
        )
    if who := liveness.holder(record):
        raise TrackingError(f"run {record.run_id} is being worked on by {who}: wait for it, or end it first")
    refuse_other_knobs(
        record, flatten(config.with_values(experiment, config.former_values(experiment, record.params)))
    )
    if wanted == LAST:
        logger.warning("--resume last: run %s (%s)", record.run_id, record.status)
    return record


def _caught_up(store: Store, record: RunRecord) -> RunRecord:
    """The record with all that waited for the server on this machine's disk."""
    folder = store.work_root / record.run_id
    if not disk.holds(folder):
        return record
    logger.warning("%s", replay.send(store, folder / disk.FOLDER))
    return store.get(record.run_id)


def former_values(
    experiment: TranslationExperiment | RetrievalExperiment, record: RunRecord | None
) -> dict[str, Scalar]:
    """What the preset set when the run began, where it sets something else now; told as a warning."""
    if record is None:
        return {}
    found = config.former_values(experiment, record.params)
    for knob, value in found.items():
        logger.warning(
            "run %s was begun when its preset said %s=%s: it goes on so", record.run_id, knob, value
        )
    return found


def refuse_other_knobs(record: RunRecord, knobs: Mapping[str, Any]) -> None:
    """OtherKnobsError where a run's params say something else.

    How and where it is computed may change, and which scores are logged beside the one that chooses.
    """
    records.require_knobs(record)
    now = {key: param_text(value) for key, value in knobs.items()}
    differing = [
        f"{key}: {record.params[key]} in the run, {text} now"
        for key, text in now.items()
        if key not in FREE_KNOBS and decisive(key, record.params.get(key, text)) != decisive(key, text)
    ]
    refuse_differing(record.run_id, differing)


def refuse_other_data(record: RunRecord, info: DatasetInfo, protocol: ScoreProtocol | None = None) -> None:
    """OtherKnobsError where the data set or what scores are measured by changed since the run began."""
    now = {names.DATASET_DIGEST: info.digest}
    if protocol is not None:
        now[names.PROTOCOL] = protocol.identity
    differing = [
        f"{tag}: {record.tags[tag][:16]} in the run, {value[:16]} now"
        for tag, value in now.items()
        if record.tags.get(tag, value) != value
    ]
    refuse_differing(record.run_id, differing)


def pinned(experiment: TranslationExperiment, record: RunRecord | None) -> TranslationExperiment:
    """With the version of an extractor of the registry that the run has been scored by, wherever its alias points."""
    protocol = records.protocol(record) if record is not None else None
    if protocol is None or not protocol.extractor.startswith(names.EXTRACTOR):
        return experiment
    evaluation = dataclasses.replace(experiment.evaluation, extractor=protocol.extractor)
    return dataclasses.replace(experiment, evaluation=evaluation)


@contextlib.contextmanager
def told_when_interrupted(run_id: str, saved: Saved) -> Iterator[None]:
    """A KeyboardInterrupt inside becomes a StopRequested that names the run and says what of it is saved."""
    try:
        yield
    except KeyboardInterrupt as error:
        if saved.is_over:
            raise
        raise StopRequested(run_id, saved.text, exit_code(error)) from error


def _last(store: Store, experiment: TranslationExperiment | RetrievalExperiment) -> RunRecord:
    """The newest interrupted run of this experiment: KILLED, ended by what can be mended, or left by a dead process."""
    found = [
        record
        for record in store.find_runs(
            experiment=names.experiment(experiment.dataset.name),
            tags={names.EXPERIMENT_NAME: experiment.name},
            status=("KILLED", "FAILED", "RUNNING"),
        )
        if record.kind == experiment.kind and names.TRIAL not in record.tags
    ]
    left = [record for record in found if _is_interrupted(record)]
    if left:
        return left[0]
    alive = f"; run {found[0].run_id} is being worked on" if any(map(liveness.holder, found)) else ""
    raise TrackingError(
        f"--resume {LAST}: no interrupted run of {experiment.name} on {experiment.dataset.name} in "
        f"{store.display_uri}{alive}; leave --resume out to start one"
    )


def _is_interrupted(record: RunRecord) -> bool:
    if record.status == "FAILED":
        return not record.tags.get(names.ERROR, "").startswith(_HOPELESS)
    return record.status == "KILLED" or not liveness.holder(record)


def _refuse_later_release(record: RunRecord) -> None:
    """What a later d2n logged and saved, this one may not know."""
    theirs = record.tags.get(names.VERSION, "")
    if _release(theirs) > _release(__version__):
        raise TrackingError(
            f"run {record.run_id} was begun by d2n {theirs}, this is d2n {__version__}: it stays as it is; install "
            "that one to go on with it (pip install -U d2n)"
        )


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version, such as 1.2.0; none of a text that is no version."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _refuse_other_kind(record: RunRecord, kind: str) -> None:
    study, trial = record.study, record.trial
    found = record.kind
    if trial:
        raise TrackingError(
            f"run {record.run_id} is trial {trial} of the study {study}: `d2n search` goes on with it"
        )
    if not found and names.VERSION in record.tags and not record.params:
        return  # killed before it could say what it is
    if found != kind:
        expected = f"expected a run of `d2n {VERBS[kind]}`"
        verb = f": `d2n {VERBS[found]} --resume` goes on with it" if found in VERBS else ""
        raise TrackingError(f"run {record.run_id} is of kind {found or 'unknown'}, {expected}{verb}")
