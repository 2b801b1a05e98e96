"""Runs on a tracking server that goes away, in every way that one can, log what an undisturbed run logs: all, once.

make faults     the long form: FAULTS_OUTAGES=10 outages of FAULTS_OUTAGE_S=30 seconds, of a real server
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from away_server import AwayServer, Memory, Mode

from d2n.datasets import toycity
from d2n.files import journal
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, TrackedRun, open_store
from d2n.tracking.spool import disk
from d2n.tracking.spool.sender import Waits
from d2n.workflows import train
from tests.faults.checker import Found, anomalies, read
from tests.tracking.servers import MlflowServer
from tests.workflows.conftest import tiny_translation

OUTAGES = int(os.environ.get("FAULTS_OUTAGES", "10"))
OUTAGE_S = float(os.environ.get("FAULTS_OUTAGE_S", "30"))
MODES: tuple[Mode, ...] = ("hang", "500", "cut", "rubbish", "html", "other json", "lose")
STEP_S, WAIT_S = 0.3, 2.0  # of the short form, of the long one
_BUSY_S = 5.0  # a busy machine's part of a wait
Histories = dict[str, list[tuple[int, float]]]


def logged(run: TrackedRun, step: int) -> float:
    """One step of a training as far as the server sees it; how long it waited."""
    began = time.monotonic()
    run.log_metrics({"loss/g": 1.0 / (1 + step), "loss/d": float(step)}, step=step)
    waited = time.monotonic() - began
    if step % 10 == 0:
        run.log_image(np.full((8, 8, 3), step % 256, np.uint8), "samples/grid", step)
    return waited


def expected(steps: int) -> Histories:
    """The histories of an undisturbed run."""
    return {
        "loss/g": [(step, 1.0 / (1 + step)) for step in range(steps)],
        "loss/d": [(step, float(step)) for step in range(steps)],
    }


def test_a_run_through_every_kind_of_outage_has_the_histories_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "history.jsonl"
    monkeypatch.setenv(journal.VARIABLE, str(path))
    memory, steps = Memory(), 2 * (len(MODES) + 1)
    server = AwayServer(memory)
    store = open_store(server.uri)
    quiet, noisy = (store.start_run("d2n/a", name) for name in ("quiet", "noisy"))
    waits, longest = Waits(step_s=STEP_S, patience_s=60.0, pause_s=0.05), 0.0
    with quiet.spooled(tmp_path / "quiet", waits), quiet:
        for step in range(steps):
            logged(quiet, step)
    with noisy.spooled(tmp_path / "noisy", waits), noisy:
        for step in range(steps):
            server.mode = MODES[step // 2] if step % 2 and step // 2 < len(MODES) else "well"
            if step == steps - 2:
                server.down()
            longest = max(longest, logged(noisy, step))
        server.up()
    server.close()
    assert memory.histories(noisy.run_id) == memory.histories(quiet.run_id) == expected(steps)
    assert memory.runs[noisy.run_id]["status"] == "FINISHED"
    assert longest < STEP_S + _BUSY_S
    points = {
        run_id: Counter((one["key"], int(one["step"])) for one in each)
        for run_id, each in memory.points.items()
    }
    assert anomalies(read(path), Found(points=points)) == []
    assert any(one["what"] == "kept" for one in read(path))


@pytest.fixture
def real(tmp_path: Path, migrated: Path) -> Iterator[MlflowServer]:
    shutil.copyfile(migrated, tmp_path / "server.db")
    served = MlflowServer(tmp_path, sqlite_uri(tmp_path / "server.db"))
    served.start()
    yield served
    served.stop()


def attacked(
    store: Store, folder: Path, away: Callable[[], None], back: Callable[[], None]
) -> tuple[str, int, float]:
    """A run under OUTAGES outages: its id, its steps of a tenth of a second, and the longest that one waited."""
    run = store.start_run("d2n/a", "attacked")

    def attack() -> None:
        for _ in range(OUTAGES):
            time.sleep(3.0)
            away()
            time.sleep(OUTAGE_S)
            back()

    attacker = threading.Thread(target=attack, daemon=True)
    longest, steps = 0.0, 0
    with run.spooled(folder, Waits(step_s=WAIT_S)), run:
        attacker.start()
        while attacker.is_alive():
            longest = max(longest, logged(run, steps))
            steps += 1
            time.sleep(0.1)
    assert not (folder / disk.FOLDER).exists()
    return run.run_id, steps, longest


def told(how: str, steps: int, longest: float) -> str:
    attacks = f"{OUTAGES} outages of {OUTAGE_S:g} s ({how})"
    return f"\n{attacks}, {steps} steps, the longest wait {longest:.1f} s: nothing lost, nothing twice"


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("how", ["down", *MODES])
def test_a_run_through_long_outages_loses_and_doubles_nothing(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = Memory()
    server = AwayServer(memory)

    def set_mode(mode: str) -> None:
        server.mode = mode  # type: ignore[assignment] # one of MODES, or well

    if how == "down":
        away, back = server.down, server.up
    else:
        away, back = partial(set_mode, how), partial(set_mode, "well")
    run_id, steps, longest = attacked(open_store(server.uri), tmp_path / "run", away, back)
    server.close()
    assert memory.histories(run_id) == expected(steps)
    assert len(memory.files) == 2 * len(range(0, steps, 10))
    assert memory.runs[run_id]["status"] == "FINISHED"
    with capsys.disabled():
        sys.stdout.write(told(how, steps, longest))
    assert longest < WAIT_S + _BUSY_S


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_run_through_long_outages_of_a_real_server_loses_and_doubles_nothing(
    real: MlflowServer, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(real.uri)
    if how == "killed":
        run_id, steps, longest = attacked(store, tmp_path / "run", real.kill, real.start)
    else:
        stopped, sent_on = (partial(real.signal, one) for one in (signal.SIGSTOP, signal.SIGCONT))
        run_id, steps, longest = attacked(store, tmp_path / "run", stopped, sent_on)
    assert {key: store.metric_history(run_id, key) for key in expected(1)} == expected(steps)
    assert store.get(run_id).status == "FINISHED"
    images = [one.path for one in store.client.list_artifacts(run_id, "images")]
    assert len(images) == len(set(images)) == 2 * len(range(0, steps, 10))
    with capsys.disabled():
        sys.stdout.write(told(how, steps, longest))
    assert longest < WAIT_S + _BUSY_S


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_training_whose_server_is_stopped_and_killed_has_the_histories_of_an_undisturbed_one(
    real: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    toycity.make("data/toycity", scale=0.02, workers=1)
    experiment = tiny_translation(
        "cyclegan",
        "evaluation.extractor=random-squeezenet1_0",
        "training.n_epochs=4",
        "training.log_every_steps=1",
        "training.log_system=false",
        "training.tracking_wait_s=1.0",
    )
    store, found = open_store(real.uri), []
    for is_disturbed in (False, True):
        with train.tracked(experiment, store=store) as training:
            for number, _ in enumerate(training.steps):
                if is_disturbed and number == 2:
                    real.signal(signal.SIGSTOP)
                elif is_disturbed and number == 6:
                    real.signal(signal.SIGCONT)
                elif is_disturbed and number == 9:
                    real.kill()
            if is_disturbed:
                real.start()
        keys = [
            key for key in store.get(training.run.run_id).metrics if not key.startswith(("time/", "speed/"))
        ]
        found.append({key: store.metric_history(training.run.run_id, key) for key in keys})
        assert store.get(training.run.run_id).status == "FINISHED"
    assert found[0] == found[1]
    assert 12 in {len(one) for one in found[0].values()}  # a loss of every step
