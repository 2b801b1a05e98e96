"""A search from its first worker to its last: preflight, the parent run, the workers, the progress shown."""

from __future__ import annotations

import itertools
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2n import config, studies
from d2n.devices import require_device, visible_gpus
from d2n.errors import StudyError
from d2n.signals import termination_raises
from d2n.studies import report
from d2n.studies.leases import this_process
from d2n.studies.storage import is_sqlite
from d2n.studies.study import RUN_ID, RUN_URL
from d2n.tracking import names, runs
from d2n.tracking.records import StudyRecord
from d2n.workflows.kinds import ExperimentKind, kind_of
from d2n.workflows.progress import Lines, scores_text
from d2n.workflows.search import figures, several
from d2n.workflows.search.arm import with_arm
from d2n.workflows.search.processes import supervise
from d2n.workflows.search.worker import Seat, WorkerRequest, work

logger = logging.getLogger(__name__)
SKEW_S = 60.0  # between this machine's clock and the database's, from which it is told


@dataclass(frozen=True)
class SearchRequest:
    """What `d2n search` is asked."""

    path: Path
    trials: int | None = None  # how many more; None: the study's stop rule
    workers: int | None = None  # None: one, or one a GPU where workers_per_gpu is given
    workers_per_gpu: int | None = None  # each sees one GPU alone
    pin_cores: bool = False  # each of several workers keeps to cores of its own
    new_space: bool = False
    overrides: Iterable[str] | Mapping[str, Any] = ()
    tracking_uri: str | None = None
    study_storage: str | None = None
    work_root: Path | None = None
    progress: bool = False
    max_claims: int | None = (
        None  # of the study, over all workers: what --trials came to when they were queued
    )
    carry: bool | None = (
        None  # checkpoints go through the artifact store; None: where machines share the storage
    )
    program: Sequence[str] = ()  # how d2n is called on a cluster's node; (): by this Python
    seat: Seat | None = None  # of a worker that a cluster runs; it lifts no wish to stop


@dataclass(frozen=True)
class SearchResult:
    """Where a study stands when its workers have ended."""

    status: report.Status
    run_id: str  # of the parent run
    url: str
    reason: str  # why the workers ended


@dataclass(frozen=True)
class Prepared:
    """A study that exists, with its run: what workers take part in, here or elsewhere."""

    study: studies.OpenStudy
    store: runs.Store
    run_id: str
    asked: WorkerRequest
    workers: int


def run_search(request: SearchRequest, kind: ExperimentKind | None = None) -> SearchResult:
    """Start or continue a study until its stop rule holds, or for ``request.trials`` more.

    One worker runs in this process, several in processes of their own with a fair share of the cores. Interrupted,
    the running trials are given back and resumed from their checkpoints by whoever comes next. ``kind`` is how a
    trial trains: the row of the study's experiment, unless another is given.
    """
    ready = prepared(request, kind)
    several.refuse_workers(ready.study.definition.experiment.kind, ready.workers, bool(ready.asked.gpus))
    study, store, run_id, asked = ready.study, ready.store, ready.run_id, ready.asked
    if request.seat is None:
        study.leases.set_stop(study.name, "")
    reason = ""
    with (
        _ParentOpen(study, store, run_id),
        termination_raises(),
        _Bar(study, request.progress, asked.max_claims) as bar,
        closing(
            work(asked, study, progress=request.progress)
            if ready.workers == 1 and not asked.gpus and not asked.pins
            else supervise(asked, ready.workers)
        ) as found,
    ):
        for said in found:
            reason = said
            bar.advance()
        several.end()
    figures.refresh(store, study.optuna, study.leases, run_id, force=True)
    return SearchResult(
        report.status(study.optuna, study.leases), run_id, str(study.attr(RUN_URL) or ""), reason
    )


def prepared(request: SearchRequest, kind: ExperimentKind | None = None, *, here: bool = True) -> Prepared:
    """The study, made or opened, when nothing is left that could refuse its trials.

    ``here``: they will run on this machine, which has their device; else on others.
    """
    pairs = knobs(request.overrides)
    definition = studies.load_study(request.path, pairs)
    if here:
        require_device(definition.experiment.training.device)
    url = studies.storage_url(request.study_storage)
    store = runs.open_store(request.tracking_uri)
    kind = kind or kind_of(definition.experiment)
    from d2n.workflows.search import preflight

    gpus = visible_gpus() if here and request.workers_per_gpu else ()
    if here and request.workers_per_gpu and not gpus:
        raise StudyError(
            "--workers-per-gpu: no GPU is visible here; expected --workers, or a machine that has some"
        )
    workers = request.workers or max(1, len(gpus) * (request.workers_per_gpu or 1))
    pins = pinned(workers) if here and request.pin_cores else ()
    preflight.check_study(definition, with_arm(kind, definition.arm), store)
    study = studies.open_study(definition, url, new_space=request.new_space)
    if here and abs(skew_s := study.leases.skew_s()) > SKEW_S:
        logger.warning(
            "this machine's clock is %.0f s %s the study storage's: leases go by that one, times in MLflow by this",
            abs(skew_s),
            "ahead of" if skew_s > 0 else "behind",
        )
    asked = WorkerRequest(
        path=request.path,
        tracking_uri=store.uri,
        study_storage=url,
        overrides=pairs,
        max_claims=_max_claims(request, study),
        work_root=request.work_root or store.work_root,
        kind=kind,
        num_threads=max(1, cores() // workers) if workers > 1 else 0,
        progress=request.progress
        and not sys.stderr.isatty(),  # bars of several processes overwrite each other
        gpus=gpus,
        pins=pins,
        seat=request.seat or Seat(),
        carry=not is_sqlite(url) if request.carry is None else request.carry,
    )
    return Prepared(study, store, parent_run(study, store), asked, workers)


def knobs(overrides: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Overrides by knob."""
    if isinstance(overrides, Mapping):
        return dict(overrides)
    return dict(map(config.parse_override, overrides))


def _max_claims(request: SearchRequest, study: studies.OpenStudy) -> int | None:
    if request.trials is None:
        return request.max_claims
    claimed, _ = study.leases.count(study.name)
    return claimed + request.trials


def parent_run(study: studies.OpenStudy, store: runs.Store) -> str:
    """The study's run in MLflow, made once; it carries the YAML, the summary and the figures."""

    def make() -> str:
        definition = study.definition
        tags = StudyRecord(study.name, study.uid, definition.dataset).identity
        experiment = names.experiment(definition.dataset)
        known = store.find_runs(experiment=experiment, tags=tags)
        if known:
            return known[-1].run_id
        run = store.start_run(experiment, study.name, tags=tags, params={})
        StudyRecord.begun(
            Path(definition.source).read_text(encoding="utf-8"),
            config.to_dict(definition.config),
            config.to_dict(definition.experiment),
        ).write(run)
        study.optuna.set_user_attr(RUN_URL, run.url)
        return run.run_id

    return str(study.attr_once(RUN_ID, make))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pinned(workers: int) -> tuple[tuple[int, ...], ...]:
    """The cores of each of so many workers: neighbours, which share caches and memory; StudyError for too few."""
    if not hasattr(os, "sched_getaffinity"):
        raise StudyError("--pin-cores: this system does not pin processes to cores; leave it out")
    free = sorted(os.sched_getaffinity(0))
    if workers > len(free):
        raise StudyError(
            f"--pin-cores: {workers} workers and {len(free)} cores; expected a core for each: lower --workers, or "
            "leave --pin-cores out"
        )
    ends = [round(number * len(free) / workers) for number in range(workers + 1)]
    return tuple(tuple(free[start:end]) for start, end in itertools.pairwise(ends))


class _ParentOpen:
    """The parent run is RUNNING inside; at the end FINISHED or KILLED, unless workers elsewhere go on."""

    def __init__(self, study: studies.OpenStudy, store: runs.Store, run_id: str) -> None:
        self._study, self._store, self._run_id = study, store, run_id

    def __enter__(self) -> None:
        self._run = self._store.resume_run(self._run_id)

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        me = this_process()
        judged = self._study.leases.judged(self._study.name, me)
        mine = (me.processes, me.pid)
        others = [lease for lease, is_alive, _ in judged if is_alive and (lease.processes, lease.pid) != mine]
        if others:
            return
        if kind is None:
            self._run.close("FINISHED")
        else:
            self._run.__exit__(kind, error, trace)


class _Bar:
    """A progress bar over the study's trials; without a terminal, a line a finished trial."""

    def __init__(self, study: studies.OpenStudy, progress: bool, max_claims: int | None) -> None:
        self._study, self._progress = study, progress
        self._total = max_claims or study.definition.config.stop.trials
        self._ended = self._ended_now()
        self._lines = Lines(study.name, self._total or 0, len(self._ended), wanted=progress)

    def __enter__(self) -> _Bar:
        from tqdm import tqdm

        self._tqdm = tqdm(
            total=self._total, desc=self._study.name, unit="trial", disable=None if self._progress else True
        )
        self.advance()
        return self

    def advance(self) -> None:
        """Show how many trials have ended."""
        if not (self._lines.is_on or not self._tqdm.disable):
            return
        ended = self._ended_now()
        for number in sorted(set(ended) - set(self._ended)):
            self._ended[number] = ended[number]
            if self._total:
                self._lines.tell(
                    f"{ended[number]}; {len(self._ended)} of {self._total} trials", len(self._ended)
                )
            else:  # until so many hours are used up
                left = report.status(self._study.optuna, self._study.leases).left
                self._lines.say(f"{ended[number]}; {len(self._ended)} trials, {left}")
        self._tqdm.n = len(self._ended)
        self._tqdm.refresh()

    def __exit__(self, *_: object) -> None:
        self.advance()
        self._tqdm.close()

    def _ended_now(self) -> dict[int, str]:
        """The ended trials by number, each in a few words."""
        objectives = self._study.definition.config.objectives
        texts = {}
        for trial in self._study.trials():
            if trial.state.is_finished():
                values = dict(zip((one.score for one in objectives), trial.values or (), strict=False))
                scores = f", {scores_text(values)}" if values else ""
                texts[trial.number] = f"trial {trial.number} {trial.state.name.lower()}{scores}"
        return texts
