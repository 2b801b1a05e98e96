"""Claiming a trial: a dead worker's first, else a new one; never one that another worker holds.

Trials are counted as they are claimed, so that a limit is met exactly however many workers there are.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import Connection

from d2n.errors import StudyError
from d2n.files import journal
from d2n.studies.leases import Lease, Me
from d2n.studies.samplers import ONE_SEQUENCE
from d2n.studies.space import grid
from d2n.studies.storage import is_sqlite, shown
from d2n.studies.study import FINISHED, OpenStudy, Unfinished, feasible, retrying

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """A trial that this worker holds."""

    trial: optuna.trial.Trial
    lease: Lease
    is_resumed: bool = False  # another worker, or this one, held it before


@dataclass(frozen=True)
class Settled:
    """A dead worker's trial that will not be resumed: it had ended, or its attempts are used up."""

    trial: FrozenTrial
    lease: Lease


@dataclass(frozen=True)
class Waiting:
    """Nothing to claim now; others still hold trials that may have to be resumed."""

    reason: str


@dataclass(frozen=True)
class Ended:
    """Nothing left to do."""

    reason: str


@dataclass(frozen=True)
class _Held:
    """A new trial that this worker holds, and that has no settings yet."""

    trial_id: int
    lease: Lease


def claim(study: OpenStudy, me: Me, max_claims: int | None = None) -> Claim | Settled | Waiting | Ended:
    """The next thing for a worker that holds no trial. ``max_claims`` bounds the study's claims, over all workers."""

    def exclusively() -> _Held | Claim | Settled | Waiting | Ended:
        with study.leases.exclusive(study.name) as connection:
            return _next(study, me, max_claims, connection)

    began = journal.now()
    result: _Held | Claim | Settled | Waiting | Ended = retrying(study, exclusively)
    if isinstance(result, _Held | Claim):
        held = result.lease
        known = {"study": study.name, "trial": held.trial, "token": held.token, "lease_s": held.lease_s}
        journal.note("claim", began, **known)
    if isinstance(result, _Held):  # the sampler thinks while others claim
        trial = retrying(study, lambda: optuna.trial.Trial(study.optuna, result.trial_id))
        return Claim(trial, result.lease)
    return result


def stop_reason(study: OpenStudy, claims: int, hours: float, max_claims: int | None = None) -> str | None:
    """The rule that ends the study, or None."""
    stop = study.definition.config.stop
    if max_claims is not None and claims >= max_claims:
        return f"{claims} trials claimed, as asked for"
    if stop.trials is not None and claims >= stop.trials:
        return f"stop.trials: {claims} of {stop.trials} trials claimed"
    if stop.hours is not None and hours >= stop.hours:
        return f"stop.hours: {hours:.2f} of {stop.hours:g} hours of trials used"
    if stop.gpu_hours is not None and (used := hours * stop.gpus_per_trial) >= stop.gpu_hours:
        return f"stop.gpu_hours: {used:.2f} of {stop.gpu_hours:g} GPU hours used"
    if stop.euros is not None and (spent := hours * (stop.euros_per_hour or 0.0)) >= stop.euros:
        return f"stop.euros: {spent:.2f} of {stop.euros:g} euros spent"
    if study.definition.config.sampler.name == "grid" and claims >= (size := _grid_size(study)):
        return f"the grid's {size} points are claimed"
    if stop.no_improvement is not None and (idle := _since_best(study)) >= stop.no_improvement:
        return f"stop.no_improvement: {idle} trials ended since the best one"
    return None


def _next(
    study: OpenStudy, me: Me, max_claims: int | None, connection: Connection
) -> _Held | Claim | Settled | Waiting | Ended:
    if study.leases.stop_wish(study.name, connection):
        return Ended("stopped; the same command goes on")
    held = study.leases.open(study.name, connection)
    now = study.leases.now(connection)
    alive = [lease for lease in held if not (_is_mine(lease, me) or study.leases.is_dead(lease, now, me))]
    _refuse_other_machines(study, alive, me)
    _refuse_other_version(study, alive, me, connection)
    others = study.definition.config.yields_to
    if others and (other := study.leases.at_work(others, me, connection)):
        claimed = study.leases.count(study.name, connection)
        reason = None if held else stop_reason(study, *claimed, max_claims)
        return Ended(reason) if reason is not None else Waiting(f"yields to {other}")
    for lease in held:
        if lease not in alive:
            return _take_over(study, lease, me, connection)
    unfinished = study.unfinished()
    if (orphan := _unleased(study, held, unfinished)) is not None:
        return _take(study, orphan, me, connection)
    reason = stop_reason(study, *study.leases.count(study.name, connection), max_claims)
    if reason is not None:
        return Waiting(reason) if alive else Ended(reason)
    if study.definition.config.sampler.name in ONE_SEQUENCE:  # two must not draw the same point
        return _take(study, study.optuna.ask(), me, connection)
    return _new(study, unfinished, me, connection)


def _take(
    study: OpenStudy, trial: optuna.trial.Trial, me: Me, connection: Connection, is_resumed: bool = False
) -> Claim:
    lease_s = study.definition.config.lease_s
    return Claim(trial, study.leases.take(connection, study.name, trial.number, me, lease_s), is_resumed)


def _new(study: OpenStudy, unfinished: list[Unfinished], me: Me, connection: Connection) -> _Held:
    """What ``ask`` does up to the sampler: the next enqueued trial, else a new one."""
    storage, trial_id = study.optuna._storage, None
    if any(trial.state == TrialState.WAITING for trial in unfinished):
        trial_id = study.optuna._pop_waiting_trial_id()
    if trial_id is None:
        trial_id = storage.create_new_trial(study.optuna._study_id)
    study.optuna._thread_local.cached_all_trials = None
    number = storage.get_trial_number_from_id(trial_id)
    return _Held(
        trial_id, study.leases.take(connection, study.name, number, me, study.definition.config.lease_s)
    )


def _take_over(study: OpenStudy, lease: Lease, me: Me, connection: Connection) -> Claim | Settled:
    frozen = next((one for one in study.trials() if one.number == lease.trial), None)
    if frozen is None:
        raise StudyError(
            f"trial {lease.trial} of {study.name} is held by {lease.worker} and is not in {shown(study.url)}: was an "
            "older copy of it brought back? give the study another name (and warm_start it from this one)"
        )
    if frozen.state.is_finished():
        return Settled(frozen, study.leases.take(connection, study.name, lease.trial, me, lease.lease_s))
    taken = _take(study, optuna.trial.Trial(study.optuna, frozen._trial_id), me, connection, is_resumed=True)
    most = study.definition.config.max_attempts
    if taken.lease.attempt <= most:
        logger.info(
            "trial %d of %s lost its worker %s: attempt %d",
            lease.trial,
            study.name,
            lease.worker,
            taken.lease.attempt,
        )
        return taken
    taken.trial.set_user_attr("error", f"{most} workers died on this trial (max_attempts {most})")
    study.optuna.tell(taken.trial, state=TrialState.FAIL)
    return Settled(study.trials()[lease.trial], taken.lease)


def _unleased(study: OpenStudy, held: list[Lease], unfinished: list[Unfinished]) -> optuna.trial.Trial | None:
    """A trial that was created by a worker which died before it could write its lease."""
    known = {lease.trial for lease in held}
    for one in unfinished:
        if one.state == TrialState.RUNNING and one.number not in known:
            logger.info("trial %d of %s has no worker: claimed", one.number, study.name)
            study.trials()  # Optuna gives settings only to a trial that it made or read itself
            return optuna.trial.Trial(study.optuna, one.trial_id)
    return None


def _is_mine(lease: Lease, me: Me) -> bool:
    """A lease of this very process, which holds none while it claims: an earlier claim's answer was lost."""
    return (lease.processes, lease.pid, lease.pid_started) == (me.processes, me.pid, me.pid_started)


def _refuse_other_machines(study: OpenStudy, alive: list[Lease], me: Me) -> None:
    others = sorted({lease.worker for lease in alive if lease.machine != me.machine})
    if others and is_sqlite(study.url):
        raise StudyError(
            f"{shown(study.url)} is in use by {', '.join(others)} on another machine: SQLite's locks do not hold "
            "between machines; share a PostgreSQL (--study-storage postgresql://…)"
        )


def _refuse_other_version(study: OpenStudy, alive: list[Lease], me: Me, connection: Connection) -> None:
    """One version at a time: a study whose workers have all ended goes on with another."""
    known = study.leases.version(study.name, connection)
    if known == me.version:
        return
    if known and alive:
        workers = ", ".join(sorted({lease.worker for lease in alive})[:3])
        raise StudyError(
            f"study {study.name} is worked on by d2n {known} ({workers}), this is d2n {me.version} ({sys.executable}): "
            f"install d2n {known} here, or wait until those workers have ended"
        )
    study.leases.set_version(study.name, me.version, connection)


def _grid_size(study: OpenStudy) -> int:
    size = 1
    for values in grid(study.definition.config.space).values():
        size *= len(values)
    return size


def _since_best(study: OpenStudy) -> int:
    """Trials that ended after the best one did; for several objectives, after the front last changed."""
    ended = [t for t in study.trials() if t.state in FINISHED]
    ended.sort(key=lambda t: (t.datetime_complete is None, t.datetime_complete, t.number))
    signs = [1 if o.direction == "minimize" else -1 for o in study.definition.config.objectives]
    front: list[list[float]] = []
    since = 0
    for trial in ended:
        point = [s * v for s, v in zip(signs, trial.values or [], strict=False)]
        is_new = (
            trial.state == TrialState.COMPLETE
            and feasible(trial)
            and not any(all(a <= b for a, b in zip(other, point, strict=True)) for other in front)
        )
        front, since = ([*front, point], 0) if is_new else (front, since + 1)
    return since
