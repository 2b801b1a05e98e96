"""What is wrong with runs and logged models: left open by a process that is gone, without their files."""

from __future__ import annotations

from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException

from d2n.errors import TrackingError
from d2n.tracking import names
from d2n.tracking.findings import Finding
from d2n.tracking.liveness import OLD_SILENCE_S, Verdict, judge
from d2n.tracking.places import local_path
from d2n.tracking.runs import RunRecord, Store


def orphan_runs(store: Store, silence_s: float | None = None) -> list[Finding]:
    """RUNNING runs whose process is gone: by process on this machine, else by their last sign."""
    found = []
    for run in store.find_runs(status="RUNNING"):
        verdict = _verdict(store, run, silence_s)
        if verdict.state == "gone":
            message = f"run {run.name!r} of {run.experiment} is RUNNING, but {verdict.reason}"
            can = "; it can be resumed" if names.HOST in run.tags else ""
            found.append(Finding("orphan run", run.run_id, message, f"close it as KILLED{can}"))
    return found


def unnamed_runs(store: Store, silence_s: float | None = None) -> list[str]:
    """A line for each RUNNING run that names no process and logged something of late: nobody can tell yet."""
    return [
        f"run {run.run_id} ({run.name!r} of {run.experiment}) is RUNNING and names no process: left alone until it "
        f"has logged nothing for {(OLD_SILENCE_S if silence_s is None else silence_s) / 3600:g} h (`--silent-h`)"
        for run in store.find_runs(status="RUNNING")
        if not run.tags.get(names.PID, "").isdecimal() and _verdict(store, run, silence_s).state == "unknown"
    ]


def missing_folders(store: Store) -> list[Finding]:
    """Runs of d2n that ended, and whose artifacts on this machine are gone."""
    found = []
    for run in store.find_runs():
        if run.status == "RUNNING" or names.EXPERIMENT_NAME not in run.tags:
            continue  # that tag is written with the first artifact
        folder = local_path(run.artifact_uri)
        if folder is not None and not (folder.is_dir() and any(folder.iterdir())):
            message = (
                f"run {run.name!r} of {run.experiment} ({run.status}) has no artifacts: {folder} is missing"
            )
            advice = "bring the folder back from a copy, or delete the run: `mlflow runs delete --run-id "
            found.append(Finding("missing folder", run.run_id, message, "", f"{advice}{run.run_id}`"))
    return found


def unfinished_models(store: Store) -> list[Finding]:
    """Logged models still PENDING although their run has ended."""
    experiments = list(store._experiments(None))
    if not experiments:
        return []
    found = []
    token = None
    while True:
        page = store.call(store.client.search_logged_models, experiments, page_token=token)
        for model in page:  # MLflow's filter finds no model by its state
            if model.status == LoggedModelStatus.PENDING and _ended(store, model.source_run_id):
                message = f"logged model {model.name!r} was never finished by run {model.source_run_id}"
                found.append(Finding("unfinished model", model.model_id, message, "mark it FAILED"))
        token = page.token
        if not token:
            return found


def is_orphan(store: Store, run: RunRecord) -> bool:
    """Whether the process of a RUNNING run is gone, for sure or overdue."""
    return _verdict(store, run, None).state == "gone"


def close_orphan(store: Store, run_id: str) -> str:
    """Look again: since the examination the run may have ended or found another process."""
    run = store.get(run_id)
    if run.status != "RUNNING":
        return f"run {run_id} is {run.status} by now"
    if _verdict(store, run, None).state == "alive":
        raise TrackingError(f"run {run_id} is being written again")
    store.call(store.client.set_tag, run_id, names.CLOSED_BY, "doctor")
    store.call(store.client.set_terminated, run_id, "KILLED")
    return f"closed run {run_id} as KILLED"


def _verdict(store: Store, run: RunRecord, silence_s: float | None) -> Verdict:
    logged = store.call(store.client.get_run, run.run_id).data.to_proto().metrics
    last_ms = max((int(metric.timestamp) for metric in logged), default=0)
    return judge(run.tags, max(run.start_time.timestamp(), last_ms / 1000), silence_s)


def _ended(store: Store, run_id: str | None) -> bool:
    if not run_id:
        return True
    try:
        return bool(store.client.get_run(run_id).info.status != "RUNNING")
    except MlflowException:  # deleted
        return True
