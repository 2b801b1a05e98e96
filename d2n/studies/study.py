"""One study in a storage: created once, continued by whoever comes later with the same definition."""

from __future__ import annotations

import logging
import uuid
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import optuna
import sqlalchemy
from optuna.storages._rdb.models import TrialModel
from optuna.trial import FrozenTrial, Trial, TrialState

from d2n import config, secrets
from d2n.config import Scalar
from d2n.errors import ProtocolMismatchError, StudyError
from d2n.studies.definition import StudyDefinition, differences
from d2n.studies.leases import LeaseTable
from d2n.studies.samplers import build_pruner, build_sampler
from d2n.studies.space import distribution
from d2n.studies.storage import open_optuna, retried, shown
from d2n.studies.yielding import declare

logger = logging.getLogger(__name__)
# Parts of an identity, as differences() names them, that change what the scores are measured by.
_PROTOCOL_KNOBS = {
    f"experiment evaluation.{knob}"
    for knob in ("split", "extractor", "input", "resize", "resize_px", "num_images")
}
# Optuna's attributes of a study, and (run, protocol) of a trial
IDENTITY, DEFINITION, UID, DATASET = "d2n.identity", "d2n.definition", "d2n.uid", "d2n.dataset"
RUN_ID, RUN_URL, PROTOCOL = "mlflow_run_id", "mlflow_run_url", "d2n.protocol"
JOBS = "d2n.jobs"  # what was queued on clusters for the study
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Unfinished(NamedTuple):
    """A trial that has not ended."""

    number: int
    trial_id: int
    state: TrialState


@dataclass(frozen=True)
class OpenStudy:
    """A study that this process takes part in."""

    definition: StudyDefinition
    optuna: optuna.Study
    leases: LeaseTable
    url: str
    uid: str

    @property
    def name(self) -> str:
        """The study's name in the storage."""
        return self.definition.config.name

    def attr(self, key: str) -> Any:
        """A value stored with the study, or None."""
        return self.optuna.user_attrs.get(key)

    def attr_once(self, key: str, make: Callable[[], Any]) -> Any:
        """The value stored under ``key``; the first of all workers to ask makes it."""
        value = self.attr(key)
        if value is not None:
            return value

        def once() -> Any:
            with self.leases.exclusive(self.name):
                value = self.attr(key)
                if value is None:
                    value = make()
                    self.optuna.set_user_attr(key, secrets.scrub_values(value))
                return value

        return retrying(self, once)

    def trial(self, claimed: Trial) -> FrozenTrial:
        """One trial as it is stored now; not to be changed."""
        return self.optuna._storage.get_trial(claimed._trial_id)

    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number; not to be changed."""
        return self.optuna.get_trials(deepcopy=False)

    def unfinished(self) -> list[Unfinished]:
        """Trials that run or wait, by number, in one query: Optuna would read all that is stored with each of them."""
        row = TrialModel
        states = (TrialState.RUNNING, TrialState.WAITING)
        query = (
            sqlalchemy.select(row.number, row.trial_id, row.state)
            .where(row.study_id == self.optuna._study_id, row.state.in_(states))
            .order_by(row.number)
        )
        with self.optuna._storage._backend.engine.connect() as connection:  # type: ignore[attr-defined] # of _CachedStorage
            return [Unfinished(*found) for found in connection.execute(query)]


def open_study(definition: StudyDefinition, url: str, *, new_space: bool = False) -> OpenStudy:
    """Create the study, or continue the one of that name.

    Raises StudyError when the stored study has another space, objective, seed count or experiment: the message
    lists the differences. ``new_space`` accepts them, except what Optuna cannot mix in one study and
    (ProtocolMismatchError) scores of another protocol.
    """
    settings = definition.config
    storage = open_optuna(url)
    leases = LeaseTable(url)
    study = optuna.create_study(
        storage=storage,
        study_name=settings.name,
        sampler=build_sampler(settings),
        pruner=build_pruner(settings.pruner),
        directions=[objective.direction for objective in settings.objectives],
        load_if_exists=True,
    )
    leases.register(settings.name)
    if not new_space:
        definition = _as_begun(study, definition)

    def prepared() -> str:
        with leases.exclusive(settings.name):
            uid = _identified(study, definition, shown(url), new_space)
            declare(study, settings.yields_to, storage)
            _name_axes(study, [objective.score for objective in settings.objectives])
            if not study.user_attrs.get("d2n.enqueued"):
                _enqueue(study, definition, storage)
            return uid

    return OpenStudy(definition, study, leases, url, retried(prepared, shown(url))())


def load_optuna(url: str, name: str) -> optuna.Study:
    """A stored study, to look at. StudyError names those that are there when it is not."""
    storage = open_optuna(url)
    known = study_names(storage)
    if name not in known:
        found = f"found {', '.join(known)}" if known else "found none; `d2n search FILE` starts one"
        raise StudyError(f"no study {name!r} in {shown(url)}{config.nearest(name, known)} ({found})")
    return optuna.load_study(storage=storage, study_name=name)


def study_names(storage: optuna.storages.BaseStorage) -> list[str]:
    """Names of all studies of a storage."""
    return sorted(study.study_name for study in storage.get_all_studies())


def best_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The best feasible trial, or the Pareto front; empty before one is complete."""
    complete = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE and feasible(t)]
    if not complete:
        return []
    if len(study.directions) > 1:
        return list(study.best_trials)
    sign = 1 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1
    return [min(complete, key=lambda t: (sign * t.values[0], t.number))]


def feasible(trial: FrozenTrial) -> bool:
    """Whether every constraint of the trial holds."""
    return all(value <= 0 for value in trial.constraints.values())


def _as_begun(study: optuna.Study, definition: StudyDefinition) -> StudyDefinition:
    """The definition with what the experiment's preset set when the study began."""
    stored = _stored_identity(study)
    former = config.former_values(definition.experiment, stored.get("experiment", {}))
    for knob, value in former.items():
        logger.warning(
            "study %s was begun when its preset said %s=%s: it goes on so", study.study_name, knob, value
        )
    return definition.with_values(former)


def _stored_identity(study: optuna.Study) -> Mapping[str, Any]:
    """What the study was made of; empty for one that says nothing, StudyError where it was edited into nonsense."""
    found = study.user_attrs.get(IDENTITY, {})
    if not isinstance(found, Mapping) or not isinstance(found.get("experiment", {}), Mapping):
        raise StudyError(
            f"study {study.study_name}: its attribute {IDENTITY} cannot be read, expected what d2n wrote; bring its "
            "storage back from a copy, or give this study another name"
        )
    return found


def _identified(study: optuna.Study, definition: StudyDefinition, where: str, new_space: bool) -> str:
    """The study's uid, after its identity was written or found equal."""
    now, attrs = secrets.scrub_values(definition.identity()), study.user_attrs
    directions = [objective.direction for objective in definition.config.objectives]
    if [d.name.lower() for d in study.directions] != directions:
        raise StudyError(
            f"study {study.study_name} in {where} has the directions {[d.name.lower() for d in study.directions]}, "
            f"{definition.source} says {directions}; give this one another name"
        )
    if IDENTITY not in attrs and study.get_trials(deepcopy=False):
        raise StudyError(
            f"study {study.study_name} in {where} was not made by d2n; give this one another name"
        )
    changed = differences(_stored_identity(study), now) if IDENTITY in attrs else []
    if protocol := [text for text in changed if text.partition(":")[0] in _PROTOCOL_KNOBS]:
        raise ProtocolMismatchError(
            f"study {study.study_name} in {where} and {definition.source} score by different protocols: "
            f"{'; '.join(protocol)}. One study cannot rank both; give this one another name"
        )
    if changed and not new_space:
        raise StudyError(
            f"study {study.study_name} in {where} differs from {definition.source}: {'; '.join(changed)}. "
            "Continue it with --new-space, or give this one another name (and warm_start it from the old one)"
        )
    if changed:
        _refuse_incompatible(study, definition)
    if changed or IDENTITY not in attrs:
        study.set_user_attr(IDENTITY, now)
        study.set_user_attr(DEFINITION, secrets.scrub_values(config.to_dict(definition.config)))
        study.set_user_attr(DATASET, definition.dataset)
    uid = attrs.get(UID) or uuid.uuid4().hex
    if UID not in attrs:
        study.set_user_attr(UID, uid)
    return str(uid)


def _name_axes(study: optuna.Study, objectives: list[str]) -> None:
    """The names that optuna-dashboard writes at its axes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if study.metric_names is None:
            study.set_metric_names(objectives)


def _refuse_incompatible(study: optuna.Study, definition: StudyDefinition) -> None:
    stored = {
        knob: d for trial in study.get_trials(deepcopy=False) for knob, d in trial.distributions.items()
    }
    for knob, dimension in definition.config.space.items():
        if knob not in stored:
            continue
        try:
            optuna.distributions.check_distribution_compatibility(stored[knob], distribution(dimension))
        except ValueError as error:
            raise StudyError(
                f"study {study.study_name}: {knob} cannot change like this within one study ({error}); "
                f"give this one another name and warm_start: [{study.study_name}]"
            ) from error


def _enqueue(study: optuna.Study, definition: StudyDefinition, storage: optuna.storages.BaseStorage) -> None:
    """The settings that the YAML names, then the best of the studies it starts warm from."""
    waiting: list[Mapping[str, Scalar]] = list(definition.config.enqueue)
    for name in definition.config.warm_start:
        waiting += _best_settings(name, definition, storage)
    for settings in waiting:
        study.enqueue_trial(dict(settings), skip_if_exists=True)
    study.set_user_attr("d2n.enqueued", True)


def _best_settings(
    name: str, definition: StudyDefinition, storage: optuna.storages.BaseStorage
) -> list[Mapping[str, Scalar]]:
    known = study_names(storage)
    if name not in known:
        raise StudyError(
            f"{definition.source}: warm_start names {name}{config.nearest(name, known)}; studies here: {known}"
        )
    space = definition.config.space
    best = best_trials(optuna.load_study(storage=storage, study_name=name))
    if not best:
        logger.warning("warm_start: study %s has no complete trial yet", name)
    return [{k: v for k, v in t.params.items() if k in space and space[k].contains(v)} for t in best]


def retrying(study: OpenStudy, call: Callable[[], Any]) -> Any:
    """``call`` again while the study's storage is away."""
    return retried(call, shown(study.url))()
