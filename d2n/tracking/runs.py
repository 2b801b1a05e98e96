"""The tracking store: open it, start, resume and find runs, fetch their artifacts."""

from __future__ import annotations

import functools
import logging
import os
import re
import shlex
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Run, ViewType

from d2n import databases, naming, secrets
from d2n.errors import TrackingError
from d2n.tracking import artifacts, bookkeeping, environment, knobs, names, places, schema
from d2n.tracking.answers import is_absent
from d2n.tracking.connection import Connection, display_uri, resolve_uri, sqlite_path, within
from d2n.tracking.labels import Labelled
from d2n.tracking.places import ARTIFACT_ROOT
from d2n.tracking.spool import disk, replay
from d2n.tracking.tracked_run import Status, TrackedRun
from d2n.tracking.values import tag_text

__all__ = ["RunRecord", "Status", "Store", "TrackedRun", "open_store"]

logger = logging.getLogger(__name__)
_PAGE = 1000
_GRACE_S = 1.0  # of an answer under way when the wait is over
_PLACE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")  # a URI, with or without a host


@dataclass(frozen=True)
class RunRecord(Labelled):
    """A run as it is in the store. Params are text, those that the pages do not show among them; metrics are the
    last values."""

    run_id: str
    name: str
    experiment: str
    status: str  # RUNNING, SCHEDULED, FINISHED, FAILED, KILLED
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    start_time: datetime
    end_time: datetime | None  # None while it is RUNNING, again for a resumed one
    artifact_uri: str = ""
    experiment_id: str = ""


def open_store(
    tracking_uri: str | None = None,
    *,
    artifact_root: str | None = None,
    wait_s: float = 15.0,
    retry_s: float = 300.0,
) -> Store:
    """The store of `tracking_uri`, else of MLFLOW_TRACKING_URI, else SQLite in ./mlruns; made where it is absent.

    Artifacts of a database go to `artifact_root`, else $D2N_ARTIFACT_ROOT, else beside a SQLite file, else to
    ./mlruns/artifacts; always stored as absolute places. A server decides itself. `wait_s` bounds the wait for a
    store that does not answer now, `retry_s` the retries of each later call.
    Raises TrackingError in one line: unreachable, read-only, full, half-made, of another MLflow.
    """
    uri = resolve_uri(tracking_uri)
    root = None if uri.startswith("http") else _artifact_root(uri, artifact_root)
    if root is not None:
        schema.ensure(uri, root, wait_s)
    logging.getLogger("mlflow.store.db.utils").setLevel(
        logging.CRITICAL
    )  # it logs a traceback before each retry
    probe = Connection(uri, root, retry_s=wait_s)

    def ask() -> None:
        probe.call(probe.client.search_experiments, max_results=1)

    if sqlite_path(uri) is None:  # a server may take the question and never answer
        within(wait_s + _GRACE_S, ask, uri)
    else:
        ask()
    _say_where_it_leads(uri, root)
    return Store(uri, root, retry_s)


class Store(Connection):
    """An open tracking store."""

    def start_run(
        self,
        experiment: str,
        name: str,
        *,
        tags: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        parent_run_id: str | None = None,
        folder: Path | None = None,
    ) -> TrackedRun:
        """A new RUNNING run with environment, process and commit (of `folder`'s checkout, default here) as tags."""
        experiment_id = self.experiment_id(experiment)
        name = secrets.scrub_urls(naming.checked_title(name, "the run's name", TrackingError))
        token = uuid.uuid4().hex
        all_tags = {
            **environment.environment_tags(folder),
            **environment.process_tags(),
            names.ATTEMPT: "1",
            names.START_TOKEN: token,
            **({names.PARENT_RUN: parent_run_id} if parent_run_id else {}),
            **{names.checked(key, "tag"): tag_text(value) for key, value in (tags or {}).items()},
        }
        run_id = self._create_run(experiment_id, name, bookkeeping.packed(all_tags), token)
        run = TrackedRun(self, run_id, experiment_id)
        run.tags.update(all_tags)
        if params:
            run.log_params(params)
        return run

    def resume_run(self, run_id: str, work_root: Path | None = None) -> TrackedRun:
        """The run again, RUNNING and ours; its metrics of steps that are there will not be written twice.

        What of it waits on this machine's disk, below ``work_root`` (None: the store's own), is sent first.
        """
        folder = (work_root or self.work_root) / run_id
        if disk.holds(folder):
            logger.info("%s", replay.send(self, folder / disk.FOLDER))
        record = self._run(run_id)
        known = bookkeeping.read(record.data.tags)
        attempt = int(known.get(names.ATTEMPT, "1")) + 1
        self.call(self.client.update_run, run_id, "RUNNING")
        run = TrackedRun(self, run_id, record.info.experiment_id, resumed=True)
        run.attempt = attempt
        mine = {**environment.process_tags(), names.ATTEMPT: str(attempt)}
        written, former = bookkeeping.taken_up(record.data.tags, mine)
        run.set_tags(written)
        run.tags.update({**known, **mine})
        for tag in former:
            self.call(self.client.delete_tag, run_id, tag)
        return run

    def append_to(self, run_id: str) -> TrackedRun:
        """A run as it is, to add to: neither its state nor its process changes, and it is not to be closed."""
        return TrackedRun(self, run_id, self._run(run_id).info.experiment_id, resumed=True)

    def get(self, run_id: str) -> RunRecord:
        """One run; TrackingError when there is none of this id."""
        run = self._run(run_id)
        experiment = self.call(self.client.get_experiment, run.info.experiment_id)
        return _record(run, experiment.name)

    def find_runs(
        self,
        *,
        experiment: str | Iterable[str] | None = None,
        tags: Mapping[str, Any] | None = None,
        status: str | Iterable[str] | None = None,
        max_results: int = 10_000,
    ) -> list[RunRecord]:
        """Runs that have all these tags and one of these states, newest first; deleted ones left out."""
        known = self._experiments(experiment)
        if not known:
            return []
        each = {names.checked(key, "tag"): tag_text(value) for key, value in (tags or {}).items()}
        terms = [names.equals(f"tags.`{key}`", value) for key, value in each.items()]
        states = {status} if isinstance(status, str) else set(status or ())
        if len(states) == 1:
            terms.append(names.equals("attributes.status", next(iter(states))))
        is_whole = all(terms) and len(states) < 2  # else some of it is decided here
        found = self._search(
            list(known), " and ".join(filter(None, terms)), max_results if is_whole else 10**9
        )
        records = [_record(run, known[run.info.experiment_id]) for run in found]
        fitting = [r for r in records if all(r.tags.get(key) == value for key, value in each.items())]
        return [r for r in fitting if not states or r.status in states][:max_results]

    def experiments(self, prefix: str = "") -> list[str]:
        """Names of the experiments that begin so, sorted; deleted ones left out."""
        return sorted(name for name in self._experiments(None).values() if name.startswith(prefix))

    def search(self, wanted: str, max_results: int = 10_000) -> list[RunRecord]:
        """Runs of all experiments that a filter of MLflow finds, newest first; deleted ones left out."""
        known = self._experiments(None)
        found = self._search(list(known), wanted, max_results) if known else []
        return [_record(run, known[run.info.experiment_id]) for run in found]

    def artifact(self, run_id: str, path: str, dst: str | Path) -> Path:
        """Download a run's file or folder `path` into the folder `dst`; where it lies now."""
        try:
            return artifacts.fetch(self, run_id, path, Path(dst))
        except TrackingError as error:
            raise TrackingError(
                f"run {run_id} has no artifact {path!r}, or it cannot be read: {error}"
            ) from error

    def image_paths(self, run_id: str, key: str) -> dict[int, str]:
        """The artifact of each step of an image that a run logs again and again."""
        return artifacts.image_paths(self, run_id, key)

    def metric_history(self, run_id: str, key: str) -> list[tuple[int, float]]:
        """(step, value) of one metric in the order of steps."""
        history = self.call(self.client.get_metric_history, run_id, key)
        return [(m.step, m.value) for m in sorted(history, key=lambda m: (m.step, m.timestamp))]

    def datasets(self) -> list[str]:
        """The data sets that have an experiment here, sorted."""
        prefix = names.experiment("")
        return sorted(
            n.removeprefix(prefix) for n in self._experiments(None).values() if n.startswith(prefix)
        )

    def experiment_id(self, name: str) -> str:
        """The id of an experiment, made if there is none. Two processes may ask at once."""
        found = self.call(self.client.get_experiment_by_name, name)
        if found is None:
            self._create_experiment(name)
            found = self.call(self.client.get_experiment_by_name, name)
        if found is None or found.lifecycle_stage != "active":
            raise TrackingError(self._deleted(name, found.experiment_id if found is not None else "ID"))
        return str(found.experiment_id)

    def _deleted(self, name: str, experiment_id: str) -> str:
        """What a deleted experiment is, and the command that brings it back with all its runs."""
        uri = secrets.scrub_urls(self.uri)
        masked = "" if uri == self.uri else f" (with the password instead of {secrets.MASK})"
        return (
            f"experiment {name!r} was deleted in {self.display_uri}; `MLFLOW_TRACKING_URI={shlex.quote(uri)} "
            f"mlflow experiments restore --experiment-id {experiment_id}` brings it back with its runs{masked}"
        )

    def _create_experiment(self, name: str) -> None:
        location = databases.below(self.artifact_root, _folder_name(name)) if self.artifact_root else None
        try:
            self.call(self.client.create_experiment, name, artifact_location=location)
        except TrackingError as error:
            if "already exists" not in str(error).lower() and "unique" not in str(error).lower():
                raise

    def _create_run(self, experiment_id: str, name: str, tags: dict[str, str], token: str) -> str:
        """Create the run; before a second attempt, look whether the first one did and only its answer was lost."""
        attempts: list[str] = []

        def create() -> str:
            if attempts:
                wanted = names.equals(f"tags.`{names.START_TOKEN}`", token)
                found = self._search_page([experiment_id], wanted, 1, None)
                if found:
                    return str(found[0].info.run_id)
            attempts.append(token)
            return str(self.client.create_run(experiment_id, tags=tags, run_name=name).info.run_id)

        return self.call(create)

    def _run(self, run_id: str) -> Run:
        try:
            return self.call(self.client.get_run, run_id)
        except TrackingError as error:
            if is_absent(error):
                raise TrackingError(
                    f"no run {run_id!r} in {self.display_uri}: `d2n ui` shows what is there"
                ) from error
            raise

    def _experiments(self, wanted: str | Iterable[str] | None) -> dict[str, str]:
        """Experiment id → name."""
        if wanted is not None:
            each = [wanted] if isinstance(wanted, str) else list(wanted)
            found = [self.call(self.client.get_experiment_by_name, name) for name in each]
            return {e.experiment_id: e.name for e in found if e is not None and e.lifecycle_stage == "active"}
        listed: dict[str, str] = {}
        token = None
        while True:
            page = self.call(self.client.search_experiments, max_results=_PAGE, page_token=token)
            listed.update({e.experiment_id: e.name for e in page})
            if not (token := page.token):
                return listed

    def _search(self, experiment_ids: list[str], wanted: str, max_results: int) -> list[Run]:
        runs: list[Run] = []
        token = None
        while True:
            size = min(_PAGE, max_results - len(runs))
            page = self.call(self._search_page, experiment_ids, wanted, size, token)
            runs.extend(page)
            token = page.token
            if not token or len(runs) >= max_results:
                return runs

    def _search_page(self, experiment_ids: list[str], wanted: str, size: int, token: str | None) -> Any:
        return self.client.search_runs(
            experiment_ids,
            wanted,
            ViewType.ACTIVE_ONLY,
            size,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )


def _say_where_it_leads(uri: str, root: str | None) -> None:
    """A warning where a SQLite store was moved or copied, and its artifact places were not."""
    path = sqlite_path(uri)
    if path is None:
        return
    for home in places.former_homes(path, experiments_only=True, chosen=places.local_path(root)):
        mending = (
            "`d2n doctor --mend` makes them its own" if home.state in ("moved", "copied") else "`d2n doctor`"
        )
        _warn_once(f"tracking store {display_uri(uri)}: {home.describe(path)}: {mending}")


@functools.cache
def _warn_once(text: str) -> None:
    logger.warning("%s", text)


def _record(run: Run, experiment: str) -> RunRecord:
    info, data = run.info, run.data
    tags = bookkeeping.read(data.tags)
    return RunRecord(
        run_id=info.run_id,
        name=info.run_name or "",
        experiment=experiment,
        status=info.status,
        params=knobs.whole(tags, data.params),
        metrics=dict(data.metrics),
        tags=tags,
        start_time=_moment(info.start_time),
        end_time=_moment(info.end_time) if info.end_time and info.status != "RUNNING" else None,
        artifact_uri=info.artifact_uri or "",
        experiment_id=info.experiment_id,
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _folder_name(experiment: str) -> str:
    """``d2n/toycity`` → ``d2n-toycity``: a folder a person recognises."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in experiment)


def _artifact_root(uri: str, given: str | None) -> str:
    chosen = given or os.environ.get(ARTIFACT_ROOT)
    if chosen and _PLACE.match(chosen):
        if secrets.scrub_urls(chosen) != chosen:
            raise TrackingError(
                f"artifact root {secrets.scrub_urls(chosen)!r} holds a password, which every experiment would store "
                f"for all to read: leave it out of {ARTIFACT_ROOT} and give it in the store's own variables or files "
                "(AWS_SECRET_ACCESS_KEY, ~/.ssh/config, …)"
            )
        return chosen.rstrip("/")
    if chosen:
        return Path(chosen).absolute().as_uri()
    path = sqlite_path(uri)
    folder = path.parent if path is not None else Path.cwd() / "mlruns"
    if path is None:
        logger.info(
            "artifacts of %s go to %s (set %s)", display_uri(uri), folder / "artifacts", ARTIFACT_ROOT
        )
    return (folder / "artifacts").as_uri()
