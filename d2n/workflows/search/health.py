"""The studies' part of ``d2n doctor``: stale leases, trials and runs that do not know each other or differ in state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from d2n import studies
from d2n.errors import D2NError
from d2n.studies import storage
from d2n.studies.leases import Lease, LeaseTable, this_process
from d2n.studies.study import RUN_ID, UID, load_optuna, study_names
from d2n.tracking import connection, names, runs
from d2n.tracking.runs import RunRecord, Store, TrackedRun
from d2n.workflows.search.trial import STATUS

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)
_PASSES = 3  # mended tables show what was behind them


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, and what mends it (None: only a person can)."""

    text: str
    mending: str = ""
    mend: Callable[[], object] | None = None
    advice: str = ""


def examine(
    *, mend: bool, tracking_uri: str | None = None, study_storage: str | None = None
) -> tuple[list[str], bool]:
    """A line a finding in every study of the storage, and whether all is well or was mended."""
    url = studies.storage_url(study_storage)
    lines: list[str] = []
    tried: set[str] = set()
    for _ in range(_PASSES):
        count, mended = 0, False
        for finding in _findings(url, tracking_uri):
            count += 1
            if finding.text in tried:
                continue
            tried.add(finding.text)
            lines.append(f"studies: {finding.text}")
            lines += _mended(finding) if mend else _offered(finding)
            mended |= finding.mend is not None
        if not mend or not mended:
            break
    return lines, count == 0


def _offered(finding: Finding) -> list[str]:
    offer = [f"  `d2n doctor --mend` would: {finding.mending}"] if finding.mend else []
    return offer + ([f"  to do: {finding.advice}"] if finding.advice else [])


def _mended(finding: Finding) -> list[str]:
    if finding.mend is None:
        return _offered(finding)
    try:
        finding.mend()
    except D2NError as error:
        return [f"  not mended: {error}"]
    return [f"  mended: {finding.mending}"]


def _findings(url: str, tracking_uri: str | None) -> list[Finding]:
    try:
        if storage.is_absent(url):
            return []
        problem = storage.examine_schema(url)
        if problem is not None:
            mend = (lambda: storage.upgrade(url)) if problem.mending else None
            return [Finding(problem.text, problem.mending, mend, problem.advice)]
        stored = study_names(storage.open_optuna(url))
    except D2NError as error:
        return [Finding(str(error))]
    except Exception as error:  # noqa: BLE001 - a damaged table shows as one of many kinds
        return [_unforeseen(f"study storage {storage.shown(url)}", error)]
    found, store = _tracking(tracking_uri) if stored else ([], None)
    try:
        leases = LeaseTable(url)
        found += _leases_without_study(leases, stored)
    except D2NError as error:
        advice = "stop every worker and move that file away: the next start makes a new one"
        text = f"the leases in {storage.shown_leases(url)}: {error}"
        return [*found, Finding(text, advice=advice if storage.is_sqlite(url) else "")]
    for name in stored:
        found += _examined(name, lambda name=name: _of_study(url, name, leases, store))  # type: ignore[misc] # bound now
    return found


def _tracking(tracking_uri: str | None) -> tuple[list[Finding], Store | None]:
    """The store of the trials' runs; one that is not there is a finding, and is not made."""
    path = connection.sqlite_path(connection.resolve_uri(tracking_uri))
    if path is not None and (not path.exists() or (path.is_file() and not path.stat().st_size)):
        text = f"the tracking store {path} is not there: the trials' runs are lost with it"
        return [Finding(text, advice="bring it back from a copy, or name it with --tracking-uri")], None
    try:
        return [], runs.open_store(tracking_uri)
    except Exception as error:  # MLflow's too; the tracking store's own part says more
        logger.debug("the trials' runs cannot be looked at", exc_info=True)
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        return [Finding(f"the trials' runs cannot be looked at: {reason}")], None


def _examined(name: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """A study that cannot be looked at is a finding, and the others are looked at."""
    try:
        return list(check())
    except D2NError as error:
        return [Finding(f"{name}: {error}")]
    except Exception as error:  # noqa: BLE001 - as above
        return [_unforeseen(name, error)]


def _unforeseen(what: str, error: Exception) -> Finding:
    logger.debug("%s could not be examined", what, exc_info=error)
    reason = (str(error).strip().splitlines() or [""])[0][:300]
    return Finding(f"{what}: cannot be examined: {type(error).__name__}: {reason}")


def _leases_without_study(leases: LeaseTable, stored: list[str]) -> list[Finding]:
    """A later study of the same name would count their trials as its own."""
    me, found = this_process(), []
    for name in leases.names():
        if name in stored or not stored or any(is_alive for _, is_alive, _ in leases.judged(name, me)):
            continue  # without any study it is the storage that was lost
        mend = lambda name=name: leases.forget(name)  # noqa: E731 - bound now, not at the call
        text = f"{name}: has leases, and no study of this name is in the storage"
        found.append(Finding(text, "remove them", mend))
    return found


def _of_study(url: str, name: str, leases: LeaseTable, store: Store | None) -> Iterator[Finding]:
    study = load_optuna(url, name)
    if study.user_attrs.get(UID) is None:
        return  # not ours
    if name not in leases.names():
        yield Finding(f"{name}: has no row among the leases", "make it", lambda: leases.register(name))
    trials = study.get_trials(deepcopy=False)
    held = {lease.trial: lease for lease in leases.open(name)}
    yield from _stale(name, trials, leases)
    if store is None:
        return
    known = {
        record.run_id: record for record in store.find_runs(tags={names.STUDY_UID: study.user_attrs[UID]})
    }
    for trial in trials:
        yield from _of_trial(name, trial, known, held, store)
    yield from _runs_without_trials(name, trials, known, store)


def _stale(name: str, trials: list[FrozenTrial], leases: LeaseTable) -> Iterator[Finding]:
    for lease, is_alive, silent_s in leases.judged(name, this_process()):
        if lease.state != "held" or is_alive:
            continue
        is_there = 0 <= lease.trial < len(trials)
        ended = not is_there or trials[lease.trial].state.is_finished()
        to = "done" if ended else "released"
        lost = "" if is_there else " (the study has no such trial)"
        yield Finding(
            f"{name}: trial {lease.trial} is held by {lease.worker}, which is gone since {silent_s:.0f} s{lost}",
            "close the lease" if ended else "release the trial, so that the next `d2n search` resumes it",
            lambda lease=lease, to=to: _end(leases, lease, to),  # type: ignore[misc] # bound now, not at the call
        )


def _end(leases: LeaseTable, lease: Lease, state: str) -> None:
    with leases.engine.begin() as connection:
        leases.end(connection, lease, state)


def _of_trial(
    name: str, trial: FrozenTrial, known: dict[str, RunRecord], held: dict[int, Lease], store: Store
) -> Iterator[Finding]:
    run_id = trial.user_attrs.get(RUN_ID)
    if run_id is None:
        if trial.state.name in ("COMPLETE", "PRUNED"):
            yield Finding(f"{name}: trial {trial.number} is {trial.state.name} and has no run")
        return
    if run_id not in known:
        yield Finding(
            f"{name}: trial {trial.number} names the run {run_id}, which this tracking store does not have",
            advice="choose the store it is in with --tracking-uri, or bring the run back: "
            f"`mlflow runs restore --run-id {run_id}`",
        )
        return
    wanted = STATUS.get(trial.state.name)
    if wanted is not None and known[run_id].status != wanted and trial.number not in held:
        yield Finding(
            f"{name}: trial {trial.number} is {trial.state.name}, its run {run_id} is {known[run_id].status}",
            f"close the run as {wanted}",
            lambda: TrackedRun(store, run_id, "").close(wanted),  # type: ignore[arg-type] # one of MLflow's three
        )


def _runs_without_trials(
    name: str, trials: list[FrozenTrial], known: dict[str, RunRecord], store: Store
) -> Iterator[Finding]:
    theirs = {trial.user_attrs.get(RUN_ID) for trial in trials}
    for record in known.values():
        is_trials_own = names.TRIAL in record.tags and names.SEED_OF_TRIAL not in record.tags
        if is_trials_own and record.run_id not in theirs:
            yield Finding(
                f"{name}: run {record.run_id} says it is trial {record.trial}, which does not know it",
                "delete the run (MLflow keeps it restorable)",
                lambda record=record: store.call(store.client.delete_run, record.run_id),  # type: ignore[misc] # as above
            )
