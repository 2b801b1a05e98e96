"""What a study costs: seconds of the platform a trial, by the number of trials already there; and workers' speed-up.

    pytest benchmarks/test_studies.py -s

A trial here trains nothing: its time is claim, sampling, MLflow run, reports, tell, and the share of the figures.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from d2n import studies
from d2n.core import Evaluation, StepResult
from d2n.studies.leases import _leases
from d2n.studies.space import distribution
from d2n.tracking.runs import open_store
from d2n.tracking.tracked_run import TrackedRun
from d2n.workflows import search
from d2n.workflows.kinds import KINDS
from d2n.workflows.search import figures as study_figures
from d2n.workflows.search.trial import TrialRuns
from d2n.workflows.tracked import Tracked

COUNTS = (10, 100, 1000, 5000, 10_000)
MEASURED = 8
STUDY = """\
name: cost
experiment: e.yaml
space:
  translator.lr: {type: float, low: 1.0e-5, high: 1.0e-2, log: true}
  translator.lambda_l1: {type: float, low: 10, high: 300, log: true}
  translator.dropout: {type: bool}
  translator.normalize_loss_weights: {type: bool}
stop: {trials: 100000}
pruner: none
"""


@contextlib.contextmanager
def one_report(experiment: Any, *, run: TrackedRun, **_: Any) -> Iterator[Tracked[None]]:
    """Five epochs' worth of reports and no training."""
    training: Tracked[None] = Tracked(run, reports(experiment, run))
    yield training
    training.status, training.scores = "FINISHED", {"fid": abs(experiment.translator.lambda_l1 - 50) + 1.0}
    run.close("FINISHED")


def reports(experiment: Any, run: TrackedRun) -> Generator[StepResult, None, None]:
    """Scores that fall towards a value which depends on the settings."""
    for step in range(1, 6):
        value = abs(experiment.translator.lambda_l1 - 50) + 5 / step
        run.log_metrics({"score/fid": value, "score_std/fid": 0.1}, step=step)
        yield Evaluation(step, scores={"fid": value}, is_last=step == 5)


REPORTING = dataclasses.replace(KINDS["translation"], tracked=one_report)


def test_cost_a_trial_stays_flat() -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        study, store, run_id = begun(folder)
        runner = TrialRuns(study, store, run_id, folder, REPORTING)
        deque(studies.work(study, runner, max_claims=2), maxlen=0)  # imports and caches
        study_figures.refresh(store, study.optuna, study.leases, run_id, force=True)
        print(
            f"\n{'trials':>7} {'s a trial':>10} {'figures s':>10} {'figures s a trial':>18} {'share of 60 s':>14}"
        )
        totals = [cost(study, store, run_id, runner, count) for count in COUNTS]
    print(f"most / least: {max(totals) / min(totals):.2f} x")


def cost(study: studies.OpenStudy, store: Any, run_id: str, runner: TrialRuns, count: int) -> float:
    """Seconds a trial with ``count`` trials in the study."""
    fill(study, count)
    deque(studies.work(study, runner, max_claims=count + 1), maxlen=0)  # reads what was put in
    start = time.perf_counter()
    deque(studies.work(study, runner, max_claims=count + 1 + MEASURED), maxlen=0)
    a_trial = (time.perf_counter() - start) / MEASURED
    start = time.perf_counter()
    study_figures.refresh(store, study.optuna, study.leases, run_id, force=True)
    figures = time.perf_counter() - start
    share = figures / ((study_figures.GROWTH - 1) * count)  # made when a quarter more ended
    print(f"{count:7d} {a_trial:10.3f} {figures:10.2f} {share:18.4f} {(a_trial + share) / 60:13.2%}")
    return a_trial + share


def begun(folder: Path) -> tuple[studies.OpenStudy, Any, str]:
    """An empty study with its parent run."""
    (folder / "e.yaml").write_text("preset: toy\ntranslator: {method: pix2pix}\n")
    (folder / "s.yaml").write_text(STUDY)
    url = studies.storage_url(f"sqlite:///{folder}/o.db")
    study = studies.open_study(studies.load_study(folder / "s.yaml"), url)
    store = open_store(f"sqlite:///{folder}/mlflow.db")
    return study, store, search.parent_run(study, store)


def fill(study: studies.OpenStudy, count: int) -> None:
    """Put ended trials into the study until it has ``count``."""
    space = {knob: distribution(dimension) for knob, dimension in study.definition.config.space.items()}
    sampler = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=count))
    rows = []
    for number in range(len(study.trials()), count):
        trial = sampler.ask(space)
        value = abs(trial.params["translator.lambda_l1"] - 50)
        known = {"score": {"fid": value}, "score_std": {"fid": 0.1}}
        study.optuna.add_trial(
            optuna.trial.create_trial(
                params=trial.params,
                distributions=space,
                value=value,
                intermediate_values={step: value + 5 / step for step in range(1, 6)},
                user_attrs={"mlflow_run_id": "0" * 32, "scores": known},
            )
        )
        lease = {
            "study": "cost",
            "trial": number,
            "state": "done",
            "token": "",
            "attempt": 1,
            "worker": "filled",
        }
        process = {"machine": "", "processes": "", "pid": 0, "pid_started": 0.0}
        rows.append({**lease, **process, "seen": 0.0, "lease_s": 300.0, "busy_s": 60.0})
    with study.leases.engine.begin() as connection:
        connection.execute(_leases.insert(), rows)


@pytest.mark.parametrize("trials", [12])
def test_two_workers_on_two_cores(trials: int) -> None:
    """Seconds of a study of trials of one thread, with 1 and with 2 worker processes (their start left out)."""
    seconds = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as text:
            seconds[workers] = worked(Path(text), workers, trials)
            print(f"\n{workers} worker{'s'[: workers - 1]}: {seconds[workers]:.1f} s for {trials} trials")
    print(f"speed-up with 2 workers: {seconds[1] / seconds[2]:.2f} x")


def worked(folder: Path, workers: int, trials: int) -> float:
    """Seconds from the first claim to the last trial's end, in processes either way."""
    from d2n.workflows.search.processes import supervise

    (folder / "e.yaml").write_text("preset: toy\ntranslator: {method: pix2pix}\n")
    (folder / "s.yaml").write_text(STUDY.replace("100000", str(trials)))
    url, uri = studies.storage_url(f"sqlite:///{folder}/o.db"), f"sqlite:///{folder}/mlflow.db"
    study, store = studies.open_study(studies.load_study(folder / "s.yaml"), url), open_store(uri)
    search.parent_run(study, store)
    kind = dataclasses.replace(KINDS["translation"], tracked=spin)
    request = search.WorkerRequest(folder / "s.yaml", uri, url, work_root=folder, kind=kind, num_threads=1)
    deque(supervise(request, workers), maxlen=0)
    ended = [trial for trial in study.trials() if trial.datetime_start and trial.datetime_complete]
    first = min(trial.datetime_start for trial in ended if trial.datetime_start)
    last = max(trial.datetime_complete for trial in ended if trial.datetime_complete)
    return (last - first).total_seconds()


def spin(experiment: Any, **given: Any) -> Any:
    """Four seconds of one core's work."""
    end = time.process_time() + 4.0
    while time.process_time() < end:
        sum(i * i for i in range(10_000))
    return one_report(experiment, **given)
