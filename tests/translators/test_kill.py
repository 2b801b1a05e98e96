"""kill -9 at random moments, resumed each time: the end is the uninterrupted run's, to the bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from d2n.translators import checkpoint

RUN = Path(__file__).with_name("resumable_run.py")
N_EPOCHS = 40
KILLS = 10
PATIENCE_S = 1200  # of a machine that others use too


def start(method: str, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(RUN), method, str(folder), str(N_EPOCHS)], env=environment
    )


def ended(process: subprocess.Popen[bytes]) -> int:
    """How it ended; one that does not end is killed."""
    try:
        return process.wait(timeout=PATIENCE_S)
    except BaseException:  # pytest's own time limit too
        process.kill()
        raise


def saved(folder: Path) -> int:
    """Number of the newest checkpoint."""
    return max((int(p.stem.partition("-")[2]) for p in (folder / "checkpoints").glob("*.json")), default=0)


def tensors(value, prefix: str = "") -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {prefix: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {k: t for key, inner in items for k, t in tensors(inner, f"{prefix}/{key}").items()}


@pytest.mark.slow
@pytest.mark.timeout(4 * PATIENCE_S)
@pytest.mark.parametrize(
    "method", ["cyclegan", "pix2pix", "hedngan", "combogan", "stargan", "todaygan", "photometric"]
)
def test_killed_ten_times_and_resumed(method: str, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert ended(start(method, whole)) == 0
    moments, kills = random.Random(method), 0
    while kills < KILLS:
        before = saved(killed)
        process = start(method, killed)
        while saved(killed) < before + 1 and process.poll() is None:  # it got somewhere …
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))  # … and is inside a step, a save or a log line now
        assert process.poll() is None, f"ended with {process.returncode} before kill {kills + 1}"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        kills += 1
    assert not (killed / "done").exists()
    assert ended(start(method, killed)) == 0

    expected, found = (tensors(checkpoint.load(f / "checkpoints").state) for f in (whole, killed))
    assert expected.keys() == found.keys()
    assert len(expected) > 100
    differing = [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])]
    assert not differing

    lines = [json.loads(line) for line in (whole / "history.jsonl").read_text().splitlines()]
    again = [json.loads(line) for line in (killed / "history.jsonl").read_text().splitlines()]
    assert len({str(step) for step, _ in lines}) == len(lines)
    assert {str(step) for step, _ in again} == {str(step) for step, _ in lines}
    by_step = {str(step): losses for step, losses in lines}
    # a step that was logged but not yet saved comes again with the very same values: who logs drops it
    assert all(losses == by_step[str(step)] for step, losses in again)
