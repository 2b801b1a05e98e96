"""A cheap training for tests: no network, but real runs, real checkpoints on disk, and any time a kill may come."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2n.config import TranslationExperiment
from d2n.errors import TrainingError
from d2n.tracking.runs import Store, TrackedRun

STEP_S = "step_s"  # a file in work_root with the seconds that a step takes


@dataclass(frozen=True)
class Result:
    status: str
    scores: Mapping[str, float]


def fid(experiment: TranslationExperiment, step: int) -> float:
    """Falls with the steps to a value that depends on the settings: least at lambda_l1 = 50."""
    knobs = experiment.translator
    distance = abs(knobs.lambda_l1 - 50.0) / 50.0 + (0.5 if knobs.dropout else 0.0)
    return 10.0 + distance + 0.01 * (experiment.seed % 7) + 5.0 / (1 + step)


def fake_training(
    experiment: TranslationExperiment,
    *,
    store: Store,
    run: TrackedRun,
    work_root: Path,
    resume: bool,
    on_scores: Callable[[int, Mapping[str, float]], bool],
    heartbeat: Callable[[], None],
    progress: bool,
) -> Result:
    """n_epochs steps; each is checkpointed after it was logged, as a real training's is."""
    folder = work_root / run.run_id
    folder.mkdir(parents=True, exist_ok=True)
    pause = float((work_root / STEP_S).read_text()) if (work_root / STEP_S).exists() else 0.0
    state = folder / "checkpoint.json"
    done = json.loads(state.read_text())["step"] if resume and state.exists() else 0
    _event(folder, "start", done)
    run.log_params({"n_epochs": experiment.training.n_epochs})
    if experiment.translator.lr > 9e-3:
        raise TrainingError("loss_g is nan at step 1: lr too high")
    for step in range(done + 1, experiment.training.n_epochs + 1):
        heartbeat()
        time.sleep(pause)
        _event(folder, "step", step)
        scores = {"fid": fid(experiment, step), "kid": 0.1}
        run.log_metrics({"score/fid": scores["fid"], "score/kid": 0.1, "score_std/fid": 0.05}, step=step)
        temporary = state.with_suffix(".tmp")
        temporary.write_text(json.dumps({"step": step}))
        temporary.replace(state)
        if on_scores(step, scores) and step < experiment.training.n_epochs:
            run.close("KILLED")
            return Result("KILLED", scores)
    run.close("FINISHED")
    return Result("FINISHED", {"fid": fid(experiment, experiment.training.n_epochs), "kid": 0.1})


def events(work_root: Path, run_id: str) -> list[dict[str, Any]]:
    """What the trial's workers did, in order: pid, time, start or step, and the step."""
    path = work_root / run_id / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _event(folder: Path, what: str, step: int) -> None:
    line = json.dumps({"pid": os.getpid(), "time": time.time(), "what": what, "step": step})
    with (folder / "events.jsonl").open("a") as file:
        file.write(f"{line}\n")
