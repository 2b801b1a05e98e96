"""A study under attack, and what must hold afterwards."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from fake_training import FAKE, STEP_S, events

from d2n.signals import exit_code, termination_raises
from d2n.studies.leases import LeaseTable
from d2n.studies.storage import storage_url
from d2n.studies.study import load_optuna
from d2n.tracking.runs import Store, open_store
from d2n.workflows.search import SearchRequest, run_search

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
EXPERIMENT = """\
preset: toy
name: fake
translator: {method: pix2pix}
training: {n_epochs: 8}
"""
STUDY = """\
name: survivor
experiment: experiment.yaml
space:
  translator.lr: {type: float, low: 1.0e-5, high: 1.0e-2, log: true}
  translator.dropout: {type: bool}
  translator.lambda_l1: {type: float, low: 1, high: 200}
objective: fid
sampler: {name: tpe, n_startup_trials: 5}
pruner: {name: median, n_startup_trials: 5}
enqueue:
  - {translator.lr: 0.0002, translator.dropout: false, translator.lambda_l1: 100}
  - {translator.lr: 0.0004, translator.dropout: true, translator.lambda_l1: 100}
stop: {trials: 40}
max_attempts: 100
lease_s: 60
"""


@dataclass(frozen=True)
class Place:
    """Where a test's study lives."""

    folder: Path
    tracking_uri: str
    study_storage: str

    @property
    def study(self) -> Path:
        return self.folder / "study.yaml"

    @property
    def work(self) -> Path:
        return self.folder / "work"


def lay_out(folder: Path, *, study: str = STUDY, experiment: str = EXPERIMENT, step_s: float = 0.0) -> Place:
    """Both YAMLs and a work folder; stores are SQLite files beside them."""
    (folder / "experiment.yaml").write_text(experiment)
    (folder / "study.yaml").write_text(study)
    (folder / "work").mkdir(exist_ok=True)
    (folder / "work" / STEP_S).write_text(str(step_s))
    return Place(folder, f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/optuna.db")


class Attacker(threading.Thread):
    """Calls an attack every few seconds until it is stopped."""

    def __init__(self, attack: Callable[[], bool], every_s: float) -> None:
        super().__init__(daemon=True)
        self._attack, self._every_s, self._end = attack, every_s, threading.Event()
        self.count = 0

    def run(self) -> None:
        while not self._end.wait(self._every_s):
            self.count += self._attack()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def __enter__(self) -> Attacker:
        self.start()
        return self


def kill_a_worker(place: Place, seed: int) -> Callable[[], bool]:
    """kill -9 of a random worker process that holds a trial."""
    rng = random.Random(seed)

    def attack() -> bool:
        mine = {process.pid: process for process in psutil.Process().children()}
        holders = [mine[pid] for pid in holders_of(place) if pid in mine]
        if not holders:
            return False
        rng.choice(holders).kill()
        return True

    return attack


def holders_of(place: Place, name: str = "survivor") -> list[int]:
    """Processes that hold a trial now."""
    if place.study_storage.startswith("sqlite") and not (place.folder / "optuna-leases.db").exists():
        return []
    return [
        lease.pid
        for lease in LeaseTable(storage_url(place.study_storage)).open(name)
        if lease.state == "held"
    ]


def search_on(place: Place, workers: int | None, **options: object) -> None:
    """The whole study with the fake training."""
    run_search(
        SearchRequest(
            place.study,
            workers=workers,
            tracking_uri=place.tracking_uri,
            study_storage=place.study_storage,
            work_root=place.work,
            **options,  # type: ignore[arg-type]  # as the test gives them
        ),
        FAKE,
    )


def search_in_a_group(place: Place, workers: int) -> None:
    """As `search_on`, in a process group of its own."""
    os.setpgrp()
    search_on(place, workers)


def search_until_told(place: Place) -> None:
    """As `search_on`; a signal ends the process with its exit code, as it ends `d2n`."""
    try:
        with termination_raises():
            search_on(place, None)
    except KeyboardInterrupt as error:
        os._exit(exit_code(error))


def check_whole(place: Place, trials: int, name: str = "survivor") -> dict[str, int]:
    """Every trial claimed once at a time, none lost, none RUNNING, runs and states right, no metric step twice."""
    url = storage_url(place.study_storage)
    study = load_optuna(url, name)
    store = open_store(place.tracking_uri)
    found = study.get_trials()
    assert [trial.number for trial in found] == list(range(trials))
    assert all(trial.state.is_finished() for trial in found)
    leases = LeaseTable(storage_url(place.study_storage)).all(name)
    assert [(lease.trial, lease.state) for lease in leases] == [(i, "done") for i in range(trials)]
    children = {run.tags["d2n.trial"]: run for run in store.find_runs() if "d2n.trial" in run.tags}
    assert len(store.find_runs()) == trials + 1  # the parent
    resumed = 0
    for trial in found:
        run = children[str(trial.number)]
        assert run.run_id == trial.user_attrs["mlflow_run_id"]
        assert run.status == STATUS[trial.state.name], (trial.number, run.status, trial.state.name)
        assert run.tags["d2n.trial.state"] == trial.state.name
        resumed += check_trial(place.work, store, run.run_id)
    return {"resumed": resumed, "attempts": sum(lease.attempt for lease in leases)}


def check_trial(work: Path, store: Store, run_id: str) -> int:
    """Steps logged once each, in order; attempts one after the other, each from the last checkpoint. Resumptions."""
    steps = [step for step, _ in store.metric_history(run_id, "score/fid")]
    assert steps == list(range(1, len(steps) + 1)), (run_id, steps)
    resumed, done, pid = 0, 0, None
    ended: set[int] = set()
    for event in events(work, run_id):
        if event["what"] == "start":
            # killed between the log and the checkpoint, a step is computed again
            assert event["step"] in (done, done - 1), (run_id, event, done)
            resumed += event["step"] > 0
            ended |= {pid} if pid not in (None, event["pid"]) else set()
            pid = event["pid"]
        assert event["pid"] not in ended, f"{run_id}: two workers at once"
        done = event["step"]
    return resumed


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll; an AssertionError when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.1)
