"""What workers on one study prune is what Optuna's own pruner does with the same reports in the same order."""

from __future__ import annotations

import dataclasses
import random
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from d2n import studies
from d2n.studies.claims import Claim, claim
from d2n.studies.leases import this_process
from d2n.studies.samplers import build_pruner
from d2n.studies.study import OpenStudy
from d2n.studies.worker import ClaimedTrial

STUDY = """\
name: recorded
experiment: e.yaml
space: {translator.lr: {type: float, low: 1e-5, high: 1e-2}}
sampler: random
"""
WORKERS, STEPS = 9, 9


class _Quiet:
    """The heart of a worker that keeps its trial."""

    lost = stopped = threading.Event()


def opened(folder: Path, pruner: str) -> OpenStudy:
    (folder / "e.yaml").write_text("preset: toy\ntranslator: {method: pix2pix}\n")
    (folder / "s.yaml").write_text(f"{STUDY}pruner: {pruner}\n")
    return studies.open_study(studies.load_study(folder / "s.yaml"), f"sqlite:///{folder}/optuna.db")


def recorded_order() -> list[tuple[int, int, float]]:
    """(worker, step, value): each worker's steps in order, the workers at different speeds; later trials are worse."""
    rng = random.Random(4)
    speeds = [rng.uniform(0.5, 2.0) for _ in range(WORKERS)]
    at = [(step * speed, worker, step) for worker, speed in enumerate(speeds) for step in range(1, STEPS + 1)]
    return [(worker, step, worker + 10 / step + rng.random()) for _, worker, step in sorted(at)]


def decisions(trials: list[Any], report: Any, end: Any) -> dict[tuple[int, int], bool]:
    """What is decided at every report until a trial is pruned."""
    found: dict[tuple[int, int], bool] = {}
    over: set[int] = set()
    for worker, step, value in recorded_order():
        if worker in over:
            continue
        found[worker, step] = report(trials[worker], value, step)
        if found[worker, step] or step == STEPS:
            over.add(worker)
            end(trials[worker], value, found[worker, step])
    return found


@pytest.mark.parametrize(
    "pruner",
    [
        "{name: hyperband, min_resource: 1, max_resource: 9, reduction_factor: 3}",
        "{name: successive_halving, min_resource: 1, reduction_factor: 3}",
    ],
)
def test_asynchronous_halving_decides_as_optuna_does(tmp_path: Path, pruner: str) -> None:
    study = opened(tmp_path, pruner)
    held = []
    for i in range(WORKERS):
        me = dataclasses.replace(this_process(f"w{i}"), pid=i, processes=f"m{i}", pid_started=0.0)
        taken = claim(study, me)
        assert isinstance(taken, Claim)
        held.append(ClaimedTrial(study, taken, _Quiet()))  # type: ignore[arg-type] # all that is asked of a heart

    def end(trial: ClaimedTrial, value: float, pruned: bool) -> None:
        values = None if pruned else [value]
        study.optuna.tell(trial.number, values, state=TrialState.PRUNED if pruned else TrialState.COMPLETE)

    ours = decisions(held, lambda trial, value, step: trial.report(value, step), end)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plain = optuna.create_study(
        study_name="recorded",
        pruner=build_pruner(study.definition.config.pruner),
        sampler=optuna.samplers.RandomSampler(0),
    )

    def reported(trial: optuna.Trial, value: float, step: int) -> bool:
        trial.report(value, step)
        return trial.should_prune()

    def ended(trial: optuna.Trial, value: float, pruned: bool) -> None:
        plain.tell(
            trial, None if pruned else value, state=TrialState.PRUNED if pruned else TrialState.COMPLETE
        )

    theirs = decisions([plain.ask() for _ in range(WORKERS)], reported, ended)
    assert ours == theirs
    assert any(ours.values())
    assert not all(ours.values())
