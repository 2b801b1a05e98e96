"""A long search in two workers and a tracking server: what they hold does not grow with the trials.

FAULTS_TRIALS=500 is the long form. The seconds a trial are those of the machine: other work on it is seen in them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from d2n.datasets import toycity
from d2n.tracking.connection import sqlite_uri
from tests.faults import tiny
from tests.faults.soaking import Growth, Sampler, growth
from tests.tracking.servers import MlflowServer

MEMORY_MB = {"worker": 0.05, "server": 0.03}  # a trial of the study, of which each worker makes half
TRIALS = int(os.environ.get("FAULTS_TRIALS", "500"))
STUDY = {
    "name": "soak",
    "experiment": "soak.yaml",
    "space": {"translator.lr": {"type": "float", "low": 1e-5, "high": 1e-3, "log": True}},
    "objective": "fid",
    "sampler": "random",
    "pruner": "none",
}


def lay_out(folder: Path, trials: int) -> None:
    toycity.make(folder / "city", seed=0, scale=0.02, workers=1)
    experiment = tiny.experiment(
        "soak", {"root": str(folder / "city")}, n_epochs=1, batch_size=2, num_threads=1
    )
    (folder / "soak.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "study.yaml").write_text(yaml.safe_dump({**STUDY, "stop": {"trials": trials}}))


def ended(database: Path) -> int:
    try:
        with contextlib.closing(
            sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=20)
        ) as opened:
            return int(opened.execute("select count(*) from trials where state = 'COMPLETE'").fetchone()[0])
    except sqlite3.Error:
        return 0  # not made yet


def soak(folder: Path, trials: int) -> Sampler:
    """The whole search; what its processes held after each trial."""
    lay_out(folder, trials)
    server = MlflowServer(folder, sqlite_uri(folder / "mlflow.db"))
    server.start()
    assert server.pid is not None
    command = [sys.executable, "-m", "d2n", "search", "study.yaml", "--workers", "2"]
    command += ["--tracking-uri", server.uri, "--study-storage", f"sqlite:///{folder}/optuna.db"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "search.log").open("wb") as log:
        searching = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    def roles() -> dict[str, list[psutil.Process]]:
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(searching.pid).children()
            workers = [one for one in children if "spawn_main" in " ".join(one.cmdline())]
            return {"worker": workers, "server": psutil.Process(server.pid).children(recursive=True)}
        return {}

    try:
        with Sampler(roles, lambda: ended(folder / "optuna.db"), folder / "samples.jsonl") as sampler:
            assert searching.wait() == 0, (folder / "search.log").read_text()[-3000:]
    finally:
        server.stop()
    return sampler


def growths(sampler: Sampler, role: str, what: str) -> list[Growth]:
    """Of each process of a role, over the later two thirds of the trials: the first fill caches."""
    samples = [one for one in sampler.samples if one.role == role]
    most = max(one.trials for one in samples)
    found = []
    for pid in sorted({one.pid for one in samples}):
        late = [one for one in samples if one.pid == pid and one.trials >= most / 3]
        if len(late) >= most / 4:  # a helper that ended early is no part of the long run
            found.append(growth([one.trials for one in late], [getattr(one, what) for one in late]))
    assert found
    return found


def seconds_a_trial(sampler: Sampler) -> Growth:
    times: dict[int, float] = {}
    for one in sampler.samples:
        times.setdefault(one.trials, one.at_s)
    trials = np.array(sorted(times))
    late = trials[trials >= trials.max() / 3]
    at_s = np.array([times[int(one)] for one in late])
    return growth(late[1:], np.diff(at_s) / np.diff(late))


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_what_a_long_search_holds_does_not_grow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sampler = soak(tmp_path, TRIALS)
    if kept := os.environ.get("FAULTS_KEEP"):
        shutil.copy(tmp_path / "samples.jsonl", kept)
    lines, faults = [], []
    for role in ("worker", "server"):
        for what, allowed in (("memory_mb", MEMORY_MB[role]), ("handles", 0.01), ("threads", 0.02)):
            for one in growths(sampler, role, what):
                lines.append(f"{role} {what}: {one}")
                if one.least > allowed:
                    faults.append(lines[-1])
    slower = seconds_a_trial(sampler)
    lines.append(f"seconds a trial: {slower}")
    if slower.least > 0.002:
        faults.append(lines[-1])
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
    assert faults == []
