"""What no registered version, no study and no run that can be resumed needs: found first, freed on request."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlflow.entities import LoggedModelStatus, ViewType

from d2n.errors import TrackingError
from d2n.files.reading import files_below
from d2n.tracking import liveness, names, registry
from d2n.tracking.connection import sqlite_path
from d2n.tracking.places import local_path
from d2n.tracking.runs import RunRecord, Store
from d2n.tracking.spool import disk

logger = logging.getLogger(__name__)
Kind = Literal["work folder", "cache", "logged model"]
_CACHES = ("features", "descriptors", "light")  # below the work folder: computed again where they are missing
_RUN_FOLDER = re.compile(r"[0-9a-f]{32}")
_OVER = ("COMPLETE", "PRUNED")  # states of a trial that nobody takes up again


@dataclass(frozen=True)
class Spare:
    """One thing that can go."""

    kind: Kind
    subject: str  # a run id, a cache's name, a logged model's id
    reason: str
    path: Path | None  # None: not on this machine
    size_bytes: int = 0


def find(store: Store) -> list[Spare]:
    """Everything that can go, of a store nobody has to stop for."""
    runs = {run.run_id: run for run in store.find_runs(max_results=10**9)}
    return [*_work_folders(store, runs), *_caches(store, runs), *_orphaned_models(store, runs)]


def free(store: Store, spare: Spare) -> int:
    """Free it, if nobody took it up since; the bytes that were freed on this machine. TrackingError where it stays."""
    if spare.kind == "logged model":
        if spare not in _orphaned_models(
            store, {run.run_id: run for run in store.find_runs(max_results=10**9)}
        ):
            raise TrackingError(f"logged model {spare.subject} is needed by now: it stays")
        store.call(store.client.delete_logged_model, spare.subject)
    if spare.path is None:
        return 0
    with contextlib.ExitStack() as stack:
        if spare.kind == "work folder":
            stack.enter_context(liveness.locked(spare.path, spare.subject))
        try:
            shutil.rmtree(spare.path)
        except OSError as error:
            raise TrackingError(f"{spare.path} cannot be removed ({error.strerror}): it stays") from error
    return spare.size_bytes


def _work_folders(store: Store, runs: Mapping[str, RunRecord]) -> Iterator[Spare]:
    """Of runs that are over, and, beside a database of its own, of runs that are gone."""
    is_own = sqlite_path(store.uri) is not None  # else the folder may serve several servers
    for folder in _folders(store.work_root):
        if not _RUN_FOLDER.fullmatch(folder.name):
            continue
        run = runs.get(folder.name)
        reason = ""
        if run is not None and _is_over(run, runs):
            reason = f"run {run.name!r} of {run.experiment} is {run.status}"
        elif run is None and is_own:
            reason = "its run was deleted"
        if reason and not _is_locked(folder) and not disk.holds(folder):  # what waits in it goes nowhere else
            yield Spare("work folder", folder.name, reason, folder, _size(folder))


def _caches(store: Store, runs: Mapping[str, RunRecord]) -> Iterator[Spare]:
    """Cached features and descriptors, unless a run is at work."""
    if any(run.status in ("RUNNING", "SCHEDULED") for run in runs.values()):
        return
    for folder in _folders(store.work_root):
        if folder.name in _CACHES:
            yield Spare("cache", folder.name, "computed again where it is missing", folder, _size(folder))


def _orphaned_models(store: Store, runs: Mapping[str, RunRecord]) -> list[Spare]:
    """Logged models whose run is gone, and that no version and no other run names."""
    needed = {
        version.model_id
        for model in registry.list_models(store)
        for version in registry.list_versions(store, model)
    }
    for run in runs.values():
        needed |= {run.logged_model, run.tags.get(names.GENERATOR_MODEL_ID, "")}
    root = local_path(store.artifact_root)
    found = []
    for model in _logged_models(store):
        if model.model_id in needed or model.source_run_id in runs or not model.source_run_id:
            continue
        if model.status == LoggedModelStatus.PENDING:  # somebody may be writing it
            continue
        folder = local_path(model.artifact_location)
        is_here = folder is not None and root is not None and folder.is_dir() and folder.is_relative_to(root)
        own = _own_folder(folder, model.model_id) if is_here else None
        reason = f"its run {model.source_run_id} was deleted, and no version names it"
        found.append(Spare("logged model", model.model_id, reason, own, _size(own) if own else 0))
    return found


def _own_folder(folder: Path | None, model_id: str) -> Path | None:
    """The folder of one model alone: models/<its id>/artifacts, or the folder above."""
    if folder is None:
        return None
    return next((one for one in (folder, folder.parent) if one.name == model_id), None)


def _logged_models(store: Store) -> Iterator[Any]:
    experiments = list(store._experiments(None))
    token = None
    while experiments:
        page = store.call(store.client.search_logged_models, experiments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _is_over(run: RunRecord, runs: Mapping[str, RunRecord]) -> bool:
    """Whether nobody will take the run up again. A trial is over when its study says so, and with it its seeds."""
    if names.TRIAL in run.tags:
        above = runs.get(run.parent_run)
        states = [one.tags.get(names.TRIAL_STATE) for one in (run, above) if one is not None]
        return run.status in ("FINISHED", "KILLED") and any(state in _OVER for state in states)
    has_model = names.MODEL_ID in run.tags or run.kind not in ("translation", "retrieval")
    return run.status == "FINISHED" and has_model


def _is_locked(folder: Path) -> bool:
    try:
        with liveness.locked(folder, folder.name):
            return False
    except (TrackingError, OSError):
        return True


def _folders(root: Path) -> list[Path]:
    """Folders of this store's own; a link leads to what may be another's."""
    if not root.is_dir():
        return []
    return sorted(one for one in root.iterdir() if one.is_dir() and not one.is_symlink())


def _size(folder: Path) -> int:
    return sum(found.st_size for _, found in files_below(folder))


def deleted_runs(store: Store) -> int:
    """How many runs were deleted: their artifacts stay until `mlflow gc`."""
    experiments = list(store._experiments(None))
    if not experiments:
        return 0
    page = store.call(
        store.client.search_runs, experiments, run_view_type=ViewType.DELETED_ONLY, max_results=1000
    )
    return len(page)
