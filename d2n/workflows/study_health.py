"""The studies' part of ``d2n doctor``: stale leases, trials and runs that do not know each other or differ in state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from d2n import studies
from d2n.errors import D2NError
from d2n.studies import storage
from d2n.studies.leases import Lease, LeaseTable, this_process
from d2n.studies.study import load_optuna, study_names
from d2n.tracking import names, runs
from d2n.tracking.runs import RunRecord, Store, TrackedRun
from d2n.workflows.trial_runs import RUN_ID, STATUS

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, and what mends it (None: only a person can)."""

    text: str
    mending: str = ""
    mend: Callable[[], None] | None = None


def examine(
    *, mend: bool, tracking_uri: str | None = None, study_storage: str | None = None
) -> tuple[list[str], bool]:
    """A line a finding in every study of the storage, and whether all is well or was mended."""
    url = studies.storage_url(study_storage)
    lines: list[str] = []
    is_well = True
    for finding in _findings(url, tracking_uri):
        lines.append(f"studies: {finding.text}")
        if mend and finding.mend is not None:
            finding.mend()
            lines.append(f"  mended: {finding.mending}")
        else:
            lines += [f"  `d2n doctor --mend` would: {finding.mending}"] if finding.mend else []
            is_well = False
    return lines, is_well


def _findings(url: str, tracking_uri: str | None) -> Iterator[Finding]:
    if storage.is_sqlite(url) and not Path(url.removeprefix("sqlite:///")).exists():
        return
    schema = storage.schema_problem(url)
    if schema is not None:
        yield Finding(schema, "upgrade Optuna's tables", lambda: storage.upgrade(url))
        return
    try:
        leases = LeaseTable(url)
        store = runs.open_store(tracking_uri)
        stored = study_names(storage.open_optuna(url))
    except D2NError as error:
        yield Finding(str(error))
        return
    for name in stored:
        study = load_optuna(url, name)
        if study.user_attrs.get("d2n.uid") is None:
            continue  # not ours
        yield from _of_study(study, leases, store)


def _of_study(study: optuna.Study, leases: LeaseTable, store: Store) -> Iterator[Finding]:
    name = study.study_name
    if name not in leases.names():
        yield Finding(f"{name}: has no row among the leases", "make it", lambda: leases.register(name))
    trials = study.get_trials(deepcopy=False)
    held = {lease.trial: lease for lease in leases.open(name)}
    yield from _stale(name, trials, leases)
    known = {
        record.run_id: record
        for record in store.find_runs(tags={names.STUDY_UID: study.user_attrs["d2n.uid"]})
    }
    for trial in trials:
        yield from _of_trial(name, trial, known, held, store)
    yield from _runs_without_trials(name, trials, known, store)


def _stale(name: str, trials: list[FrozenTrial], leases: LeaseTable) -> Iterator[Finding]:
    for lease, is_alive, silent_s in leases.judged(name, this_process()):
        if lease.state != "held" or is_alive:
            continue
        ended = trials[lease.trial].state.is_finished()
        to = "done" if ended else "released"
        yield Finding(
            f"{name}: trial {lease.trial} is held by {lease.worker}, which is gone since {silent_s:.0f} s",
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
            f"{name}: trial {trial.number} names the run {run_id}, which this tracking store does not have"
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
                f"{name}: run {record.run_id} says it is trial {record.tags[names.TRIAL]}, which does not know it",
                "delete the run (MLflow keeps it restorable)",
                lambda record=record: store.call(store.client.delete_run, record.run_id),  # type: ignore[misc] # as above
            )
