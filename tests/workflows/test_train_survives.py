"""kill -9 at random moments of `d2n train`, and several processes: the run of one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from d2n.datasets import toycity
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import RunRecord, Store, open_store
from d2n.translators import checkpoint
from tests.workflows.conftest import TINY_TRANSLATION

KILLS = 10
TIMED = ("time/", "system/")  # these differ between any two runs


class Training:
    """`d2n train` of one tiny experiment in a folder with a store of its own."""

    def __init__(
        self, folder: Path, city: Path, method: str, processes: int = 1, **changes: dict[str, Any]
    ) -> None:
        folder.mkdir()
        self.folder, self.uri, self.processes = folder, sqlite_uri(folder / "mlflow.db"), processes
        experiment = {
            **TINY_TRANSLATION,
            "name": "survivor",
            "dataset": {"name": "toycity", "image_size_px": 32, "root": str(city)},
            "translator": {**TINY_TRANSLATION["translator"], "method": method, "dropout": True},
            "training": {"n_epochs": 60, "steps_per_epoch": 10, "batch_size": 2, "log_every_steps": 3},
            "evaluation": {
                **TINY_TRANSLATION["evaluation"],
                "extractor": "random-squeezenet1_1",
                "resize_px": 48,
                "every_epochs": 10,
            },
        }
        for room, knobs in changes.items():
            experiment[room] = {**experiment[room], **knobs}
        (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment))

    def start(self) -> subprocess.Popen[bytes]:
        run = self.run()
        resume = ["--resume", run.run_id] if run else []
        many = ["torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}", "-m"]
        launcher = [sys.executable, "-m", *(many if self.processes > 1 else [])]
        command = [*launcher, "d2n", "train", "experiment.yaml", "--tracking-uri", self.uri, *resume]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def finish(self) -> None:
        assert self.start().wait(timeout=300) == 0, (self.folder / "log.txt").read_text()[-3000:]

    def store(self) -> Store:
        return open_store(self.uri)

    def run(self) -> RunRecord | None:
        if not (self.folder / "mlflow.db").exists():
            return None
        found = self.store().find_runs(experiment="d2n/toycity")
        assert len(found) <= 1  # gone on with, never begun anew
        return found[0] if found else None

    def checkpoints(self) -> Path:
        run = self.run()
        assert run is not None
        return self.store().work_root / run.run_id / "checkpoint"

    def saved(self) -> int:
        """Number of the newest checkpoint."""
        if self.run() is None:
            return 0
        return max((int(p.stem.partition("-")[2]) for p in self.checkpoints().glob("*.json")), default=0)

    def metrics(self) -> dict[str, list[tuple[int, float]]]:
        run = self.run()
        assert run is not None
        client = self.store().client
        return {
            key: [(point.step, point.value) for point in client.get_metric_history(run.run_id, key)]
            for key in run.metrics
        }


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city") / "toycity"
    toycity.make(folder, seed=0, scale=0.02, workers=1)
    return folder


def tensors(value: Any, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield prefix, value
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from tensors(inner, f"{prefix}/{key}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", ["cyclegan", "pix2pix"])
def test_killed_ten_times_and_gone_on_with(method: str, city: Path, tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole", city, method)
    killed = Training(tmp_path / "killed", city, method)
    whole.finish()
    moments = random.Random(method)
    for kill in range(KILLS):
        before, started = killed.saved(), time.monotonic()
        process = killed.start()
        if kill % 3 == 2:  # perhaps before the first step …
            time.sleep(moments.uniform(1, 8))
        else:  # … or inside a step, a save, a score or a log line
            while killed.saved() <= before and process.poll() is None and time.monotonic() - started < 120:
                time.sleep(0.05)
            time.sleep(moments.uniform(0, 1))
        assert process.poll() is None, (
            f"ended before kill {kill + 1}: {(killed.folder / 'log.txt').read_text()}"
        )
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        after_s = time.monotonic() - started
        sys.stdout.write(f"kill {kill + 1}: checkpoint {before} to {killed.saved()} after {after_s:.1f} s\n")
    killed.finish()

    expected, found = (dict(tensors(checkpoint.load(t.checkpoints()).state)) for t in (whole, killed))
    assert expected.keys() == found.keys()
    assert len(expected) > 50
    assert not [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])]

    run = killed.run()
    assert run is not None
    assert run.status == "FINISHED"
    expected_metrics, found_metrics = whole.metrics(), killed.metrics()
    for key, points in found_metrics.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), f"{key} has a step twice: {steps}"
    told = {key for key in expected_metrics if not key.startswith(TIMED)}
    assert told <= found_metrics.keys()
    for key in told:
        assert found_metrics[key] == expected_metrics[key], key


ALIKE: dict[str, dict[str, Any]] = {
    # What differs by nature between one process and two: batch statistics, the pool's and dropout's draws. At the
    # preset's learning rate float32's rounding grows past 1e-5 in six steps; in float64 it does not
    # (tests/translators/test_distributed.py).
    "translator": {
        "generator_norm": "instance",
        "discriminator_norm": "instance",
        "pool_size": 0,
        "dropout": False,
        "lr": 1e-5,
    },
    "training": {
        "n_epochs": 3,
        "steps_per_epoch": 4,
        "batch_size": 4,
        "log_every_steps": 1,
        "precision": "fp32",
    },
    "evaluation": {"every_epochs": 3},
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", ["cyclegan", "pix2pix"])
def test_two_processes_are_one_run_with_the_losses_of_one(method: str, city: Path, tmp_path: Path) -> None:
    one, two = (Training(tmp_path / str(n), city, method, n, **ALIKE) for n in (1, 2))
    for training in (one, two):
        training.finish()
    expected, found = one.metrics(), two.metrics()
    losses = [key for key in expected if key.startswith("loss/") and "accuracy" not in key]
    assert len(losses) >= 4
    for key in losses:
        steps, values = zip(*expected[key], strict=True)
        assert [step for step, _ in found[key]] == list(steps) == list(range(1, 13))
        assert [value for _, value in found[key]] == pytest.approx(values, rel=1e-5, abs=1e-5), key
    scores = {key: value for key, value in expected.items() if key.startswith("score/")}
    assert scores
    assert scores.keys() <= found.keys()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_told_to_stop_are_gone_on_with(city: Path, tmp_path: Path) -> None:
    training = Training(tmp_path / "two", city, "cyclegan", 2, training={"n_epochs": 30})
    process = training.start()
    while training.saved() < 2:
        assert process.poll() is None, (training.folder / "log.txt").read_text()[-3000:]
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) != 0
    run = training.run()
    assert run is not None
    assert run.status == "KILLED"
    training.finish()
    run = training.run()
    assert run is not None
    assert run.status == "FINISHED"
    steps = [step for step, _ in training.metrics()["loss/g"]]
    assert steps == sorted(set(steps))
