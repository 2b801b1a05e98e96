"""A cheap training for tests: no network, but real runs, real checkpoints on disk, and any time a kill may come."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from d2n.config import TranslationExperiment
from d2n.core import Evaluation, StepResult
from d2n.errors import TrainingError
from d2n.tracking.runs import Store, TrackedRun
from d2n.workflows.kinds import KINDS, DataSets
from d2n.workflows.tracked import Tracked

STEP_S = "step_s"  # a file in work_root with the seconds that a step takes


def fid(experiment: TranslationExperiment, step: int) -> float:
    """Falls with the steps to a value that depends on the settings: least at lambda_l1 = 50."""
    knobs = experiment.translator
    distance = abs(knobs.lambda_l1 - 50.0) / 50.0 + (0.5 if knobs.dropout else 0.0)
    return 10.0 + distance + 0.01 * (experiment.seed % 7) + 5.0 / (1 + step)


@contextlib.contextmanager
def fake_training(
    experiment: TranslationExperiment,
    *,
    store: Store,
    run: TrackedRun,
    work_root: Path,
    resume: bool,
    progress: bool,
) -> Iterator[Tracked[None]]:
    """n_epochs steps; each is checkpointed after it was logged, as a real training's is."""
    training: Tracked[None] = Tracked(run, _steps(experiment, run, work_root / run.run_id, resume))
    with contextlib.closing(training.steps):
        yield training
    done = _done(work_root / run.run_id)
    training.status = "FINISHED" if done == experiment.training.n_epochs else "KILLED"
    training.scores = {"fid": fid(experiment, done), "kid": 0.1}
    run.close("FINISHED" if training.status == "FINISHED" else "KILLED")


def _steps(
    experiment: TranslationExperiment, run: TrackedRun, folder: Path, resume: bool
) -> Generator[StepResult, None, None]:
    folder.mkdir(parents=True, exist_ok=True)
    slow = folder.parent / STEP_S
    pause = float(slow.read_text()) if slow.exists() else 0.0
    done, n_epochs = _done(folder) if resume else 0, experiment.training.n_epochs
    _event(folder, "start", done)
    run.log_params({"n_epochs": n_epochs})
    if experiment.translator.lr > 9e-3:
        raise TrainingError("loss_g is nan at step 1: lr too high")
    for step in range(done + 1, n_epochs + 1):
        yield StepResult(step - 1)
        time.sleep(pause)
        _event(folder, "step", step)
        scores = {"fid": fid(experiment, step), "kid": 0.1}
        run.log_metrics({"score/fid": scores["fid"], "score/kid": 0.1, "score_std/fid": 0.05}, step=step)
        temporary = (folder / "checkpoint.json").with_suffix(".tmp")
        temporary.write_text(json.dumps({"step": step}))
        temporary.replace(folder / "checkpoint.json")
        yield Evaluation(step, scores=scores, is_last=step == n_epochs)


def _done(folder: Path) -> int:
    state = folder / "checkpoint.json"
    return int(json.loads(state.read_text())["step"]) if state.exists() else 0


def trains(experiment: TranslationExperiment, data: DataSets, store: Store) -> None:
    """Whatever the experiment is."""


def logs(experiment: TranslationExperiment, data: DataSets, store: Store) -> list[str]:
    """What an objective may be; `fidd` is told beforehand, and then never logged."""
    return ["fid", "kid", "fidd"]


def digest(experiment: TranslationExperiment) -> str:
    """Of no data."""
    return ""


FAKE = dataclasses.replace(
    KINDS["translation"], tracked=fake_training, can_train=trains, logged_scores=logs, data_digest=digest
)


def events(work_root: Path, run_id: str) -> list[dict[str, Any]]:
    """What the trial's workers did, in order: pid, time, start or step, and the step."""
    path = work_root / run_id / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _event(folder: Path, what: str, step: int) -> None:
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    known = {"pid": os.getpid(), "time": time.time(), "gpu": gpu, "cores": cores}
    line = json.dumps({**known, "what": what, "step": step})
    with (folder / "events.jsonl").open("a") as file:
        file.write(f"{line}\n")
