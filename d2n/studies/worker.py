"""A worker: claim, run, tell, until the study has enough. What a trial does is the runner's matter."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DBAPIError

from d2n import config, secrets
from d2n.config import Scalar
from d2n.errors import D2NError, ProtocolMismatchError, ScoreError, StudyError, TrainingError
from d2n.files import journal
from d2n.files.refusals import causes, is_disk_fault
from d2n.signals import behind
from d2n.studies.claims import Claim, Ended, Settled, Waiting, claim
from d2n.studies.leases import Lease, Me, this_process
from d2n.studies.samplers import trial_seed
from d2n.studies.space import log10_twins, suggest
from d2n.studies.study import OpenStudy, retrying

logger = logging.getLogger(__name__)
_PLATFORMS = (OSError, ImportError, BrokenExecutor, DBAPIError, optuna.exceptions.StorageInternalError)
# What torch says of other processes of a trial that ended, and of a GPU that broke, in words alone
_BROKEN = re.compile(
    r"\b(gloo|nccl)\b|connection (closed|reset) by peer|uncorrectable ecc|device\(s\) is/are busy or unavailable",
    re.IGNORECASE,
)
_FAILURES_IN_A_ROW = 3  # unexpected ones, after which the study rather than the settings is to blame


class LeaseLostError(StudyError):
    """Another worker holds the trial now: this one took too long to give a sign."""


class StoppedError(StudyError):
    """The study was stopped at once; the trial can be resumed."""


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: its values, or pruned with whatever it last had."""

    values: tuple[float, ...] = ()
    pruned: bool = False
    constraints: Mapping[str, float] = field(default_factory=dict)  # <= 0 holds
    attrs: Mapping[str, Any] = field(default_factory=dict)


class ClaimedTrial:
    """One trial in the hands of its worker."""

    def __init__(self, study: OpenStudy, claimed: Claim, heart: _Heart) -> None:
        trial, lease = claimed.trial, claimed.lease
        self._study, self._trial, self._heart = study, trial, heart
        self.is_resumed = claimed.is_resumed
        fixed = config.flatten(study.definition.experiment)
        self.number = trial.number
        self.attempt = lease.attempt
        self.worker = lease.worker
        self.settings: dict[str, Scalar] = suggest(trial, study.definition, fixed)
        self.seed = trial_seed(study.definition.config.sampler.seed, trial.number, lease.attempt)
        self._reported = set(trial.storage.get_trial(trial._trial_id).intermediate_values)

    @property
    def trial_id(self) -> int:
        """The trial's id in the storage, unique over studies."""
        return self._trial._trial_id

    def attr(self, key: str) -> Any:
        """A value stored with the trial, or None."""
        return self._trial.user_attrs.get(key)

    def set_attr(self, key: str, value: Any) -> None:
        """Store a value with the trial."""
        self._trial.set_user_attr(key, secrets.scrub_values(value))

    def log10_twins(self) -> dict[str, float]:
        """log10 of the settings of logarithmic dimensions."""
        return log10_twins(self._study.definition.config.space, self.settings)

    def note(self, text: str) -> None:
        """Markdown that optuna-dashboard shows with the trial; it reads notes from these attributes of the study."""
        storage, study_id = self._trial.storage, self._study.optuna._study_id
        storage.set_study_system_attr(study_id, f"dashboard:{self.trial_id}:note_ver", 1)
        storage.set_study_system_attr(study_id, f"dashboard:{self.trial_id}:note_str:0", secrets.scrub(text))

    def report(self, value: float, step: int) -> bool:
        """Tell the pruner a value on the way; True when the trial should end now."""
        self.check()
        if step not in self._reported:
            self._trial.report(value, step)
            self._reported.add(step)
        return self._trial.should_prune()

    def check(self) -> None:
        """Raise LeaseLostError or StoppedError when this worker must leave the trial."""
        if self._heart.lost.is_set():
            raise LeaseLostError(f"trial {self.number} of {self._study.name} is held by another worker now")
        if self._heart.stopped.is_set():
            why = f"yields to {self._heart.other}" if self._heart.other else "was stopped"
            raise StoppedError(f"study {self._study.name} {why}; trial {self.number} can be resumed")


class TrialRunner(Protocol):
    """Runs a trial's training as a tracked run."""

    def run(self, trial: ClaimedTrial) -> Outcome:
        """Train and score; leaves the run open. An exception closes it."""
        ...

    def settle(self, trial: FrozenTrial) -> None:
        """Close the run of an ended trial with the trial's state; does nothing when it is closed already."""
        ...


@dataclass(frozen=True)
class WorkSummary:
    """What one worker did, and at last why it ended."""

    trials: tuple[int, ...]
    reason: str = ""


def work(
    study: OpenStudy,
    runner: TrialRunner,
    *,
    name: str | Me = "",
    max_claims: int | None = None,
    poll_s: float = 5.0,
    pause: Callable[[float], None] = time.sleep,
    undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Generator[WorkSummary, None, None]:
    """Work on the study until a stop rule holds and no trial is left that might have to be resumed.

    Yields after every trial, and at last with the reason of its end. ``undisturbed`` keeps signals away while a trial
    is claimed, told or given back: an interruption comes before or after, and a trial that is held then is given back.
    ``name``: of this process among the workers, or who else holds the trials.
    """
    me = name if isinstance(name, Me) else this_process(name)
    done, failures = list[int](), 0
    wait_s, waits_for = 0.2, ""
    while True:
        step = _claimed(study, me, max_claims, undisturbed)
        if isinstance(step, Ended):
            yield WorkSummary(tuple(done), step.reason)
            return
        if isinstance(step, Waiting):
            if step.reason != waits_for:
                logger.info("%s waits: %s", study.name, step.reason)
                waits_for = step.reason
            pause(wait_s)
            wait_s = min(wait_s * 1.5, poll_s)
            continue
        wait_s, waits_for = 0.2, ""
        if isinstance(step, Settled):
            runner.settle(step.trial)
            _end_lease(study, step.lease, "done")
            continue
        try:
            error = _work_on(study, step, runner, undisturbed)
        except (KeyboardInterrupt, SystemExit):
            with undisturbed():
                _end_lease(study, step.lease, "released")  # nothing where it was ended or given back already
            raise
        failures = 0 if error is None else failures + 1
        if error is not None and failures >= _FAILURES_IN_A_ROW:
            raise StudyError(
                f"{failures} trials in a row ended with an error, the last: {error!r}"
            ) from error
        done.append(step.trial.number)
        yield WorkSummary(tuple(done))


def _claimed(
    study: OpenStudy,
    me: Me,
    max_claims: int | None,
    undisturbed: Callable[[], AbstractContextManager[None]],
) -> Claim | Settled | Waiting | Ended:
    """The next thing to do; a trial claimed as an interruption arrived is given back."""
    step: Claim | Settled | Waiting | Ended | None = None
    try:
        with undisturbed():
            step = claim(study, me, max_claims)
    except (KeyboardInterrupt, SystemExit):
        if isinstance(step, Claim):
            with undisturbed():
                _end_lease(study, step.lease, "released")
        raise
    return step


def _work_on(
    study: OpenStudy,
    claimed: Claim,
    runner: TrialRunner,
    undisturbed: Callable[[], AbstractContextManager[None]],
) -> Exception | None:
    """One trial to its end; the unexpected error that ended it, if one did."""
    lease = claimed.lease
    with _Heart(study, lease) as heart:
        try:
            trial = ClaimedTrial(study, claimed, heart)
            outcome = _checked(runner.run(trial), study)
            trial.check()
        except LeaseLostError as error:
            logger.warning("%s", error)
            return None
        except StoppedError as error:
            logger.info("%s", error)
            _end_lease(study, lease, "released")
            return None
        except ProtocolMismatchError as error:
            _end(study, claimed, runner, Outcome(attrs={"error": secrets.scrub(str(error))}), TrialState.FAIL)
            raise
        except (TrainingError, ScoreError) as error:
            if _is_platforms(error):
                _end_lease(study, lease, "released")
                raise
            _end(study, claimed, runner, Outcome(attrs={"error": secrets.scrub(str(error))}), TrialState.FAIL)
            logger.warning("trial %d failed: %s", lease.trial, error)
            return None
        except (D2NError, KeyboardInterrupt, SystemExit):
            _end_lease(study, lease, "released")  # not the settings' fault: whoever comes next resumes it
            raise
        except Exception as error:
            if _is_platforms(error):
                _end_lease(study, lease, "released")  # as above
                raise
            logger.exception("trial %d failed", lease.trial)
            _end(
                study,
                claimed,
                runner,
                Outcome(attrs={"error": f"{type(error).__name__}: {secrets.scrub(str(error))}"}),
                TrialState.FAIL,
            )
            return error
        state = TrialState.PRUNED if outcome.pruned else TrialState.COMPLETE
        with undisturbed():
            _end(study, claimed, runner, outcome, state)
    return None


def _is_platforms(error: Exception) -> bool:
    """Whether what the trial ran on failed, and not its settings; a memory that was too small is theirs.

    So does whoever interrupts it, where Python made another error of that.
    """
    return (
        is_disk_fault(error)
        or behind(error) is not None
        or any(
            isinstance(one, _PLATFORMS)
            or (isinstance(one, RuntimeError) and _BROKEN.search(str(one)) is not None)
            for one in causes(error)
        )
    )


def _checked(outcome: Outcome, study: OpenStudy) -> Outcome:
    wanted = [objective.score for objective in study.definition.config.objectives]
    if not outcome.pruned and (
        len(outcome.values) != len(wanted) or not all(map(math.isfinite, outcome.values))
    ):
        raise ScoreError(f"expected finite values of {', '.join(wanted)}, found {outcome.values}")
    return outcome


def _end(study: OpenStudy, claimed: Claim, runner: TrialRunner, outcome: Outcome, state: TrialState) -> None:
    """Tell Optuna, close the run, give the lease back: in this order, so that whoever finds a part of it can end it."""

    def tell() -> bool:
        with study.leases.exclusive(study.name) as connection:
            if not study.leases.end(connection, claimed.lease, "held"):
                return False
            if not study.trial(claimed.trial).state.is_finished():
                _note(claimed.trial, outcome)
                values = outcome.values if state == TrialState.COMPLETE else None
                study.optuna.tell(claimed.trial, values, state=state)
            return True

    began = journal.now()
    has_told = retrying(study, tell)
    journal.note("tell", began, **_known(claimed.lease), ok=has_told, state=state.name)
    if not has_told:
        logger.warning("trial %d of %s was taken over by another worker", claimed.lease.trial, study.name)
        return
    runner.settle(study.trial(claimed.trial))
    _end_lease(study, claimed.lease, "done")


def _note(trial: optuna.trial.Trial, outcome: Outcome) -> None:
    for key, value in outcome.attrs.items():
        trial.set_user_attr(key, secrets.scrub_values(value))
    known = trial.constraints
    for key, value in outcome.constraints.items():
        if key not in known:
            trial.set_constraint(key, value)


def _end_lease(study: OpenStudy, lease: Lease, state: str) -> None:
    def end() -> bool:
        with study.leases.engine.begin() as connection:
            return study.leases.end(connection, lease, state)

    began = journal.now()
    journal.note("end", began, **_known(lease), ok=retrying(study, end), state=state)


def _known(lease: Lease) -> dict[str, object]:
    return {"study": lease.study, "trial": lease.trial, "token": lease.token}


class _Heart:
    """Renews a lease from a thread while the trial computes."""

    def __init__(self, study: OpenStudy, lease: Lease) -> None:
        self.lost, self.stopped = threading.Event(), threading.Event()
        self.other = ""  # the study that this one yields to now
        self._study, self._lease, self._end = study, lease, threading.Event()
        self._me = this_process()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{lease.trial}", daemon=True)

    def __enter__(self) -> _Heart:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(timeout=10)

    def _beat(self) -> None:
        interval_s = min(30.0, max(0.2, self._lease.lease_s / 6))
        while not self._end.wait(interval_s):
            try:
                began = journal.now()
                is_ours = self._study.leases.renew(self._lease)
                journal.note("renew", began, **_known(self._lease), ok=is_ours)
                if not is_ours:
                    self.lost.set()
                    return
                self.other = self._goes_first()
                if self.other or self._study.leases.stop_wish(self._study.name) == "now":
                    self.stopped.set()
            except StudyError as error:  # away for long; the trial goes on, the next beat tries again
                logger.warning("%s", error)

    def _goes_first(self) -> str:
        others = self._study.definition.config.yields_to
        if not others:
            return ""
        return str(retrying(self._study, lambda: self._study.leases.at_work(others, self._me)))
