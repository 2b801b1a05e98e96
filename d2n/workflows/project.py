"""``d2n.open``: what was tracked, as tidy tables, one row a run, a trial, a study or a champion."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from d2n import studies
from d2n.errors import StudyError
from d2n.studies import report
from d2n.studies.leases import LeaseTable
from d2n.studies.storage import is_absent, open_optuna, shown
from d2n.studies.study import load_optuna, study_names
from d2n.tracking import names, registry, runs
from d2n.tracking.connection import sqlite_path
from d2n.workflows import preflight

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from d2n.tracking.runs import RunRecord

_ABOUT = ("run_id", "name", "experiment", "status", "start", "end")
_STATES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
_STUDIES = ("study", "dataset", "objective", "direction", "trials", *(state.lower() for state in _STATES))
_CHAMPIONS = (
    "reference",
    "model",
    "version",
    "dataset",
    "method",
    "run_id",
    "model_id",
    "moved_at",
    "reason",
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf|nan")
_TAGS = "d2n."  # before the tags that d2n writes; those of MLflow are left out


def open_project(tracking_uri: str | None = None, *, study_storage: str | None = None) -> Project:
    """The tracked work of a store: its runs, studies and champions as pandas tables, its figures as plotly's.

    ``tracking_uri`` is MLflow's (default: MLFLOW_TRACKING_URI, else mlruns/mlflow.db), ``study_storage`` Optuna's
    (default: D2N_STUDY_STORAGE, else optuna.db beside mlflow.db). Raises TrackingError in one line where nothing was
    tracked yet or the store does not answer.
    """
    preflight.store(tracking_uri)
    store = runs.open_store(tracking_uri)
    return Project(store, study_storage or os.environ.get("D2N_STUDY_STORAGE") or _beside(store.uri))


class Project:
    """What a tracking store and a study storage hold, to read; made by ``d2n.open``."""

    def __init__(self, store: runs.Store, study_storage: str | None = None) -> None:
        self._store = store
        self._url = studies.storage_url(study_storage)

    def __repr__(self) -> str:
        return f"<d2n project: runs in {self._store.display_uri}, studies in {shown(self._url)}>"

    def runs(
        self, dataset: str | None = None, *, kind: str | None = None, status: str | None = None
    ) -> pd.DataFrame:
        """One row a run, newest first: of one data set, kind (translation, retrieval, trial, study …) or status.

        Columns: run_id, name, experiment, status, start, end; then d2n's tags without their ``d2n.``, the params as
        the YAML names them (``translator.lr``) and the last value of each metric (``score/fid``). A name that two of
        them share is ``params.NAME`` or ``metrics.NAME`` for the later one. Params that are numbers are numbers.
        """
        found = self._store.find_runs(
            experiment=names.experiment(dataset) if dataset else None,
            tags={names.KIND: kind} if kind else None,
            status=status,
        )
        return _run_table(found)

    def history(self, run_id: str, metric: str) -> pd.DataFrame:
        """One metric of a run over its steps (columns step, value), oldest first: ``loss/d``, ``score/fid`` …

        Raises TrackingError, which names the store, where there is no such run.
        """
        return pd.DataFrame(self._store.metric_history(run_id, metric), columns=["step", "value"])

    def trials(self, study: str) -> pd.DataFrame:
        """One row a trial: state, objective, its deviation and floor, the knobs tried, scores, run_id, error.

        Raises StudyError, which names the studies that are there, where ``study`` is not.
        """
        leases = self._leases()
        optuna_study = load_optuna(self._url, study)
        state = report.status(optuna_study, leases)
        return pd.DataFrame(report.columns(report.rows(optuna_study, leases), state.objectives))

    def studies(self) -> pd.DataFrame:
        """One row a study: data set, objective, direction, trials by state, and the best (of one objective)."""
        if is_absent(self._url):
            return pd.DataFrame(columns=[*_STUDIES, "best_trial", "best_value", "best_run_id", "hours"])
        leases = self._leases()
        found = [report.status(load_optuna(self._url, name), leases) for name in self._names()]
        return pd.DataFrame(
            [_study_row(state) for state in found],
            columns=[*_STUDIES, "best_trial", "best_value", "best_run_id", "hours"],
        )

    def champions(self) -> pd.DataFrame:
        """One row a registered generator with a champion: what load_generator takes, its version, run and reason."""
        rows = []
        for model in registry.list_models(self._store, "d2n-"):
            version = registry.list_aliases(self._store, model).get(names.CHAMPION)
            if version is not None:
                rows.append(self._champion(model, version))
        return pd.DataFrame(rows, columns=list(_CHAMPIONS))

    def figures(self, study: str) -> dict[str, go.Figure]:
        """The figures of a study by name: history, parallel coordinates, slices, timeline, importances …"""
        from d2n.workflows.search import figures

        leases = self._leases()
        optuna_study = load_optuna(self._url, study)
        return figures.figures(optuna_study, report.rows(optuna_study, leases))

    def _champion(self, model: str, version: str) -> dict[str, Any]:
        found = next(v for v in registry.list_versions(self._store, model) if v.version == version)
        moves = registry.alias_history(self._store, model, names.CHAMPION)
        return {
            "reference": f"{model}@{names.CHAMPION}",
            "model": model,
            "version": int(version),
            "dataset": found.dataset or None,
            "method": found.method or None,
            "run_id": found.run_id,
            "model_id": found.model_id,
            "moved_at": moves[-1].at if moves else None,
            "reason": moves[-1].reason if moves else None,
        }

    def _names(self) -> list[str]:
        return study_names(open_optuna(self._url))

    def _leases(self) -> LeaseTable:
        if is_absent(self._url):
            raise StudyError(
                f"no studies yet: {shown(self._url)} does not exist; `d2n search FILE` starts one"
            )
        return LeaseTable(self._url)


def _beside(uri: str) -> str | None:
    """The optuna.db that lies beside a SQLite tracking store; None where there is none."""
    path = sqlite_path(uri)
    found = None if path is None else path.absolute().with_name("optuna.db")
    return f"sqlite:///{found}" if found is not None and found.exists() else None


def _study_row(state: report.Status) -> dict[str, Any]:
    best = state.best[0] if len(state.objectives) == 1 and state.best else None
    return {
        "study": state.name,
        "dataset": state.dataset,
        "objective": ", ".join(state.objectives),
        "direction": ", ".join(state.directions),
        "trials": sum(state.counts.values()),
        **{name.lower(): state.counts.get(name, 0) for name in _STATES},
        "best_trial": best.number if best else None,
        "best_value": best.values[0] if best else None,
        "best_run_id": best.run_id if best else None,
        "hours": state.hours,
    }


def _run_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    about = pd.DataFrame([_about(record) for record in records], columns=list(_ABOUT))
    tags: list[Mapping[str, Any]] = [_own_tags(record.tags) for record in records]
    params: list[Mapping[str, Any]] = [record.params for record in records]
    metrics: list[Mapping[str, Any]] = [record.metrics for record in records]
    table = {name: about[name] for name in about}
    for kind, rows in (("tags", tags), ("params", params), ("metrics", metrics)):
        for name in sorted({name for row in rows for name in row}):
            values = [row.get(name) for row in rows]
            column = pd.Series(_numbers(values) if kind == "params" else values)
            table[f"{kind}.{name}" if name in table else name] = column
    return pd.DataFrame(table)


def _about(record: RunRecord) -> tuple[Any, ...]:
    return record.run_id, record.name, record.experiment, record.status, record.start_time, record.end_time


def _own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key.removeprefix(_TAGS): value for key, value in tags.items() if key.startswith(_TAGS)}


def _numbers(texts: Iterable[str | None]) -> list[Any]:
    """The params of a column: numbers where all are numbers, True and False where all are these, None for null."""
    values = [None if text == "null" else text for text in texts]
    there = [value for value in values if value is not None]
    if set(there) <= {"true", "false"}:
        return [None if value is None else value == "true" for value in values]
    if not all(map(_NUMBER.fullmatch, there)):
        return values
    whole = all(value.lstrip("+-").isdigit() for value in there)
    return [None if value is None else int(value) if whole else float(value) for value in values]
