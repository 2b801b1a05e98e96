"""``d2n search``: starts or continues a study with one or several workers, and tells how it stands."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d2n import config, studies
from d2n.devices import require_device
from d2n.files.writing import require_writable
from d2n.studies import report
from d2n.studies.leases import LeaseTable, this_process
from d2n.studies.storage import is_absent, open_optuna, shown
from d2n.studies.study import load_optuna, study_names
from d2n.tracking import names, runs
from d2n.tracking.signals import deferred, raise_unheard, termination_raises
from d2n.workflows import study_summary
from d2n.workflows.progress import Lines, scores_text
from d2n.workflows.trial_runs import Training, TrialRuns, train_trial
from d2n.workflows.worker_processes import supervise

logger = logging.getLogger(__name__)
PARENT_RUN = "mlflow_run_id"


@dataclass(frozen=True)
class SearchRequest:
    """Everything that a worker process needs to take part in a study."""

    path: Path
    tracking_uri: str
    study_storage: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    max_claims: int | None = None  # of the study, over all workers
    work_root: Path | None = None
    training: Training = train_trial
    data_digest: Callable[[config.TranslationExperiment], str] | None = None  # None: the index's
    num_threads: int = 0  # 0: as the machine offers
    progress: bool = False  # workers in processes of their own tell their evaluations


@dataclass(frozen=True)
class SearchResult:
    """Where a study stands when its workers have ended."""

    status: report.Status
    run_id: str  # of the parent run
    url: str
    reason: str  # why the workers ended


def search(path: Path, **options: Any) -> list[str]:
    """Start or continue the study; lines for people. Options as of run_search."""
    result = run_search(path, **options)
    leaders = ", ".join(
        f"trial {row.number} ({_values(result.status, row)})" for row in result.status.best[:10]
    )
    return [
        *summary(result.status),
        f"run {result.run_id}: d2n ui, then {result.url}",
        f"{result.reason}; best: {leaders or 'no complete trial'}",
    ]


def run_search(
    path: Path,
    *,
    trials: int | None = None,
    workers: int = 1,
    new_space: bool = False,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    tracking_uri: str | None = None,
    study_storage: str | None = None,
    work_root: Path | None = None,
    training: Training = train_trial,
    data_digest: Callable[[config.TranslationExperiment], str] | None = None,
    progress: bool = False,
) -> SearchResult:
    """Start or continue a study until its stop rule holds, or for ``trials`` more.

    One worker runs in this process, several in processes of their own with a fair share of the cores. Interrupted,
    the running trials are given back and resumed from their checkpoints by whoever comes next.
    """
    pairs = dict(overrides) if isinstance(overrides, Mapping) else dict(map(config.parse_override, overrides))
    definition = studies.load_study(path, pairs)
    require_device(definition.experiment.training.device)
    url = studies.storage_url(study_storage)
    store = runs.open_store(tracking_uri)
    if training is train_trial:
        from d2n.workflows import search_preflight

        search_preflight.check_study(definition, store)
    study = studies.open_study(definition, url, new_space=new_space)
    study.leases.set_stop(study.name, "")
    claimed, _ = study.leases.count(study.name)
    request = SearchRequest(
        path=path,
        tracking_uri=store.uri,
        study_storage=url,
        overrides=pairs,
        max_claims=None if trials is None else claimed + trials,
        work_root=work_root or _work_root(store),
        training=training,
        data_digest=data_digest,
        num_threads=max(1, cores() // workers) if workers > 1 else 0,
        progress=progress and not sys.stderr.isatty(),  # bars of several processes overwrite each other
    )
    run_id = parent_run(study, store)
    with (
        _ParentOpen(study, store, run_id),
        termination_raises(),
        _Bar(study, progress, request.max_claims) as advance,
    ):
        if workers == 1:
            reason = work(request, study, on_ended=advance, progress=progress)
        else:
            reason = supervise(request, workers, poll=advance)
    study_summary.refresh(store, study.optuna, study.leases, run_id, force=True)
    return SearchResult(
        report.status(study.optuna, study.leases), run_id, str(study.attr("mlflow_run_url") or ""), reason
    )


def work(
    request: SearchRequest,
    study: studies.OpenStudy | None = None,
    *,
    name: str = "",
    on_ended: Callable[[], None] = lambda: None,
    progress: bool = False,
) -> str:
    """One worker of a study that exists; why it ended."""
    if study is None:
        study = studies.open_study(studies.load_study(request.path, request.overrides), request.study_storage)
    taken = study
    store = runs.open_store(request.tracking_uri)
    run_id = str(study.attr(PARENT_RUN))

    def ended() -> None:
        raise_unheard()
        study_summary.refresh(store, taken.optuna, taken.leases, run_id)
        on_ended()

    runner = TrialRuns(
        study=study,
        store=store,
        parent_run_id=run_id,
        work_root=request.work_root or _work_root(store),
        training=request.training,
        progress=progress or request.progress,
        on_ended=ended,
        data_digest=(request.data_digest or _data_digest) if study.definition.config.reuse else None,
    )
    return studies.work(study, runner, name=name, max_claims=request.max_claims, undisturbed=deferred).reason


def status(
    study: str | None = None, *, tracking_uri: str | None = None, study_storage: str | None = None
) -> list[str]:
    """Lines about one study, or about every study of the storage."""
    url = studies.storage_url(study_storage)
    leases = _existing_leases(url)
    found = [study] if study else study_names(open_optuna(url))
    if not found:
        return [f"no studies in {shown(url)}; `d2n search FILE` starts one"]
    lines: list[str] = []
    for name in found:
        lines += summary(report.status(load_optuna(url, name), leases))
    return lines


def stop(study: str, *, tracking_uri: str | None = None, study_storage: str | None = None) -> list[str]:
    """Let the running trials end and start no more; the same search goes on later."""
    url = studies.storage_url(study_storage)
    leases = _existing_leases(url)
    load_optuna(url, study)
    leases.set_stop(study, "after")
    held = leases.open(study)
    return [
        f"{study}: {len(held)} running trials will end, no more are started; the same `d2n search` goes on"
    ]


def export(
    study: str, out: Path, *, tracking_uri: str | None = None, study_storage: str | None = None
) -> list[str]:
    """The trials (CSV), the summary (JSON) and the figures (HTML) into a folder."""
    require_writable(out)
    url = studies.storage_url(study_storage)
    leases = _existing_leases(url)
    return [f"wrote {path}" for path in study_summary.write(out, load_optuna(url, study), leases)]


def summary(state: report.Status) -> list[str]:
    """A study's status for people."""
    counts = ", ".join(f"{state.counts[key]} {key.lower()}" for key in report.STATES if key in state.counts)
    lines = [
        f"study {state.name} on {state.dataset}: {counts or 'no trials yet'}; {state.hours:.2f} h of trials"
    ]
    for row in state.best[:10]:
        values = _values(state, row)
        noise = f" +- {row.std:.2g}" if row.std is not None and len(state.objectives) == 1 else ""
        floor = f", real against real {row.floor:.4g}" if row.floor is not None else ""
        settings = ", ".join(f"{knob}={_brief(value)}" for knob, value in row.settings.items())
        lines.append(f"  best: trial {row.number}: {values}{noise}{floor} with {settings} (run {row.run_id})")
    lines += [f"  {text}" for text in (state.lead, state.left) if text]
    for lease, is_alive in state.working:
        seen = "" if is_alive else "; its worker is gone: the next claim resumes it"
        lines.append(f"  trial {lease.trial}, attempt {lease.attempt}: {lease.worker}{seen}")
    return [*lines, "  stopped: `d2n search` goes on"] if state.stop else lines


def parent_run(study: studies.OpenStudy, store: runs.Store) -> str:
    """The study's run in MLflow, made once; it carries the YAML, the summary and the figures."""

    def make() -> str:
        definition = study.definition
        tags = {
            names.KIND: "study",
            names.STUDY: study.name,
            names.STUDY_UID: study.uid,
            names.DATASET: definition.dataset,
        }
        experiment = names.experiment(definition.dataset)
        known = store.find_runs(experiment=experiment, tags=tags)
        if known:
            return known[-1].run_id
        run = store.start_run(experiment, study.name, tags=tags, params={})
        run.log_text(Path(definition.source).read_text(encoding="utf-8"), "config/study.yaml")
        run.log_text(json.dumps(config.to_dict(definition.config), indent=2), "config/study.json")
        run.log_text(json.dumps(config.to_dict(definition.experiment), indent=2), names.CONFIG_JSON)
        study.optuna.set_user_attr("mlflow_run_url", run.url)
        return run.run_id

    return str(study.attr_once(PARENT_RUN, make))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _ParentOpen:
    """The parent run is RUNNING inside; at the end FINISHED or KILLED, unless workers elsewhere go on."""

    def __init__(self, study: studies.OpenStudy, store: runs.Store, run_id: str) -> None:
        self._study, self._store, self._run_id = study, store, run_id

    def __enter__(self) -> None:
        self._run = self._store.resume_run(self._run_id)

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        me = this_process()
        judged = self._study.leases.judged(self._study.name, me)
        others = [lease for lease, is_alive, _ in judged if is_alive and lease.pid != me.pid]
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

    def __enter__(self) -> Callable[[], None]:
        from tqdm import tqdm

        self._tqdm = tqdm(
            total=self._total, desc=self._study.name, unit="trial", disable=None if self._progress else True
        )
        self.advance()
        return self.advance

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


def _existing_leases(url: str) -> LeaseTable:
    if is_absent(url):
        from d2n.errors import StudyError

        raise StudyError(f"no studies yet: {shown(url)} does not exist; `d2n search FILE` starts one")
    return LeaseTable(url)


def _work_root(store: runs.Store) -> Path:
    from d2n.workflows import evaluation

    return evaluation.work_root(store)


def _values(state: report.Status, row: report.TrialRow) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(state.objectives, row.values, strict=False))


def _brief(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _data_digest(experiment: config.TranslationExperiment) -> str:
    from d2n.workflows import evaluation

    data = experiment.dataset
    return str(evaluation.open_dataset(data).info().digest)
