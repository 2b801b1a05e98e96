"""What is wrong in a tracking store, and mending it: orphan runs, versions that do not load, half-made tables."""

from __future__ import annotations

import logging
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException

from d2n.errors import TrackingError
from d2n.tracking import names, registry, schema
from d2n.tracking.connection import display_uri, resolve_uri, sqlite_path
from d2n.tracking.runs import RunRecord, Store, open_store

logger = logging.getLogger(__name__)

Kind = Literal["schema", "leftover", "orphan run", "broken version", "unfinished model"]
SILENCE_S = 3600.0  # a run of another host that logged nothing for so long is taken for dead
_CLOCK_S = 5.0  # two readings of a process's start differ by less


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: Kind
    subject: str  # a run id, NAME/VERSION, a logged model's id, a file
    message: str  # one line
    mending: str  # what mend() does; '' where a person has to decide


def examine(tracking_uri: str | None = None, silence_s: float = SILENCE_S) -> list[Finding]:
    """Everything wrong in the store; a store that is not there yet has nothing wrong.

    TrackingError where the store cannot be reached at all.
    """
    uri = resolve_uri(tracking_uri)
    if not uri.startswith("http"):
        found = examine_files(uri) + examine_schema(uri)
        if any(one.kind == "schema" for one in found) or schema.state(uri) == "absent":
            return found
    else:
        found = []
    store = open_store(uri)
    return found + orphan_runs(store, silence_s) + broken_versions(store) + unfinished_models(store)


def mend(tracking_uri: str | None, finding: Finding) -> str:
    """Do what `finding.mending` says; one line of what was done. TrackingError where there is nothing to do."""
    uri = resolve_uri(tracking_uri)
    if not finding.mending:
        raise TrackingError(f"{finding.subject}: {finding.message}: this needs a person")
    if finding.kind == "schema":
        return _mend_schema(uri, finding)
    if finding.kind == "leftover":
        Path(finding.subject).unlink(missing_ok=True)
        return f"removed {finding.subject}"
    store = open_store(uri)
    if finding.kind == "orphan run":
        return _close_orphan(store, finding.subject)
    if finding.kind == "unfinished model":
        store.call(store.client.finalize_logged_model, finding.subject, "FAILED")
        return f"marked logged model {finding.subject} FAILED"
    return _retire_version(store, finding)


def examine_schema(uri: str) -> list[Finding]:
    """The database's tables against those of the installed MLflow."""
    found = schema.state(uri)
    if found in ("current", "absent"):
        return []
    path = sqlite_path(uri)
    mending = ""
    if path is not None and found == "older":
        mending = "keep a copy and upgrade the tables (stop everything that writes first)"
    elif path is not None and found == "half-made":
        mending = "move the file aside; the next start makes a new one"
    return [Finding("schema", display_uri(uri), f"the tables are {found} for the installed MLflow", mending)]


def examine_files(uri: str) -> list[Finding]:
    """Files that a killed process left while it made or upgraded a SQLite store."""
    path = sqlite_path(uri)
    if path is None or not path.parent.is_dir():
        return []
    found = []
    for file in sorted(path.parent.glob(f".{path.name}.*")):
        pid = file.name.removeprefix(f".{path.name}.").partition(".")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            found.append(Finding("leftover", str(file), "left by a process that is gone", "remove it"))
    return found


def orphan_runs(store: Store, silence_s: float = SILENCE_S) -> list[Finding]:
    """RUNNING runs of d2n whose process is gone: by process on this machine, by heartbeat on others."""
    found = []
    for run in store.find_runs(status="RUNNING"):
        reason = _why_orphan(run, silence_s)
        if reason:
            message = f"run {run.name!r} of {run.experiment} is RUNNING, but {reason}"
            found.append(Finding("orphan run", run.run_id, message, "close it as KILLED; it can be resumed"))
    return found


def broken_versions(store: Store) -> list[Finding]:
    """Versions of d2n's registered models whose files are missing; READY says nothing about that."""
    found = []
    for name in registry.list_models(store, prefix="d2n-"):
        for version in registry.list_versions(store, name):
            lack = registry.missing_files(store, version)
            if lack:
                aliases = "".join(f"@{alias}" for alias in version.aliases)
                subject = f"{name}/{version.version}"
                mending = f"take the alias {aliases} away" if aliases else ""
                message = f"version does not load{f' and is {aliases}' if aliases else ''}: {lack}"
                found.append(Finding("broken version", subject, message, mending))
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


def _why_orphan(run: RunRecord, silence_s: float) -> str:
    """'' where the run may be alive, or is not d2n's."""
    host, pid = run.tags.get(names.HOST), run.tags.get(names.PID, "")
    if host is None or not pid.isdigit():
        return ""
    silent_s = time.time() - float(run.tags.get(names.HEARTBEAT, "0"))
    if host != socket.gethostname():
        if silent_s > silence_s:
            return f"{host} has logged nothing for {silent_s / 3600:.1f} h"
        return ""
    if not _alive(int(pid), float(run.tags.get(names.PROCESS_START, "0"))):
        return f"its process {pid} on this machine is gone"
    return ""


def _alive(pid: int, started: float) -> bool:
    """Whether the process is there and no later one of the same id."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < _CLOCK_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _ended(store: Store, run_id: str | None) -> bool:
    if not run_id:
        return True
    try:
        return bool(store.client.get_run(run_id).info.status != "RUNNING")
    except MlflowException:  # deleted
        return True


def _close_orphan(store: Store, run_id: str) -> str:
    """Look again: since the examination the run may have ended or found another process."""
    run = store.get(run_id)
    if run.status != "RUNNING":
        return f"run {run_id} is {run.status} by now"
    store.call(store.client.set_tag, run_id, names.CLOSED_BY, "doctor")
    store.call(store.client.set_terminated, run_id, "KILLED")
    return f"closed run {run_id} as KILLED"


def _retire_version(store: Store, finding: Finding) -> str:
    version = registry.resolve(store, finding.subject)
    for alias in version.aliases:
        store.call(store.client.delete_registered_model_alias, version.name, alias)
        registry.record_move(store, version.name, alias, "", version.version, "version does not load")
    return f"took {', '.join(version.aliases)} away from {finding.subject}: promote another version"


def _mend_schema(uri: str, finding: Finding) -> str:
    path = sqlite_path(uri)
    if path is None:
        raise TrackingError(f"{finding.subject}: back it up and run `mlflow db upgrade` with its URI")
    if "upgrade" in finding.mending:
        return f"upgraded {finding.subject}; the former file is {schema.upgrade(path).name}"
    return f"moved {finding.subject} aside to {schema.set_aside(path).name}"
