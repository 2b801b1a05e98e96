"""What asynchronous pruning costs in quality: the regret of workers of different speeds against a synchronous run.

    pytest benchmarks/test_pruning.py -s

Learning curves are drawn, nothing is trained: 81 settings, 27 epochs, nine workers whose speeds differ fourfold.
Regret is the final value of the setting that is chosen, less the least of all. The pruners are those that a study's
YAML makes; tests/studies/test_pruning.py shows that workers of a study decide as they do.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import optuna
import pytest
from optuna.trial import TrialState

from d2n.studies.definition import PrunerConfig
from d2n.studies.samplers import build_pruner

SETTINGS, EPOCHS, WORKERS, REPEATS = 81, 27, 9, 20


@dataclass(frozen=True)
class Curve:
    """A loss that falls to its end, faster or slower."""

    end: float
    pace: float
    noise: float

    def final(self) -> float:
        return self.at(EPOCHS)

    def at(self, epoch: int) -> float:
        return self.end + (1 - self.end) * math.exp(-self.pace * epoch)


@dataclass(frozen=True)
class Found:
    regret: float
    epochs: int


def curves(rng: random.Random) -> list[Curve]:
    return [Curve(rng.random() ** 0.5, rng.uniform(0.05, 0.5), 0.02) for _ in range(SETTINGS)]


def everything(made: list[Curve], rng: random.Random) -> Found:
    """Every setting to its end."""
    seen = {i: curve.final() + rng.gauss(0, curve.noise) for i, curve in enumerate(made)}
    return Found(_regret(made, min(seen, key=seen.__getitem__)), SETTINGS * EPOCHS)


def synchronous(made: list[Curve], rng: random.Random) -> Found:
    """Successive halving that waits at each rung for all: a third goes on (Jamieson and Talwalkar, 2016)."""
    left, epochs, rung, before = list(range(SETTINGS)), 0, 1, 0
    while True:
        seen = {i: made[i].at(rung) + rng.gauss(0, made[i].noise) for i in left}
        epochs += len(left) * (rung - before)
        if rung == EPOCHS:
            return Found(_regret(made, min(seen, key=seen.__getitem__)), epochs)
        left = sorted(left, key=seen.__getitem__)[: max(1, len(left) // 3)]
        before, rung = rung, 3 * rung


def asynchronous(pruner: PrunerConfig) -> Callable[[list[Curve], random.Random], Found]:
    """Workers of different speeds, each at once with the next setting, under the pruner of a study."""

    def run(made: list[Curve], rng: random.Random) -> Found:
        study = optuna.create_study(
            study_name="regret", pruner=build_pruner(pruner), sampler=optuna.samplers.RandomSampler(0)
        )
        speeds = [rng.uniform(0.5, 2.0) for _ in range(WORKERS)]
        todo, ends, epochs = iter(enumerate(made)), dict[int, float](), 0
        queue: list[tuple[float, int, int, int, optuna.Trial]] = []

        def begin(worker: int, now: float) -> None:
            nxt = next(todo, None)
            if nxt is not None:
                heapq.heappush(queue, (now + speeds[worker], worker, nxt[0], 1, study.ask()))

        for worker in range(WORKERS):
            begin(worker, 0.0)
        while queue:
            now, worker, number, epoch, trial = heapq.heappop(queue)
            epochs += 1
            value = made[number].at(epoch) + rng.gauss(0, made[number].noise)
            trial.report(value, epoch)
            if epoch == EPOCHS:
                ends[number] = value
                study.tell(trial, value)
            elif trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
            else:
                heapq.heappush(queue, (now + speeds[worker], worker, number, epoch + 1, trial))
                continue
            begin(worker, now)
        return Found(_regret(made, min(ends, key=ends.__getitem__)), epochs)

    return run


def _regret(made: list[Curve], chosen: int) -> float:
    return made[chosen].final() - min(curve.final() for curve in made)


def test_regret_of_asynchronous_pruning() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ways: dict[str, Callable[[list[Curve], random.Random], Found]] = {
        "every setting to its end": everything,
        "synchronous halving": synchronous,
        "successive_halving, nine workers": asynchronous(
            PrunerConfig(name="successive_halving", reduction_factor=3)
        ),
        "hyperband, nine workers": asynchronous(
            PrunerConfig(name="hyperband", max_resource=EPOCHS, reduction_factor=3)
        ),
        "median, nine workers": asynchronous(PrunerConfig(name="median")),
    }
    print(f"\n{'':>34} {'regret':>8} {'worst':>8} {'epochs':>8} of {SETTINGS * EPOCHS}, {REPEATS} draws")
    found: dict[str, list[Found]] = {}
    for name, way in ways.items():
        found[name] = [way(curves(random.Random(i)), random.Random(100 + i)) for i in range(REPEATS)]
        regrets = [one.regret for one in found[name]]
        epochs = statistics.fmean(one.epochs for one in found[name])
        print(f"{name:>34} {statistics.fmean(regrets):8.4f} {max(regrets):8.4f} {epochs:8.0f}")
    mean = {name: statistics.fmean(one.regret for one in some) for name, some in found.items()}
    assert mean["successive_halving, nine workers"] == pytest.approx(mean["synchronous halving"], abs=0.1)
