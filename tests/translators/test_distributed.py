"""Two processes on the same global batches give the losses of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("data_parallel_run.py")


def run(method: str, processes: int, out: Path) -> dict:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, str(RUN), method, str(out)], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["cyclegan", "pix2pix", "cut", "hedngan", "combogan", "stargan", "todaygan", "photometric"]
)
def test_two_processes_equal_one(method: str, tmp_path: Path) -> None:
    one, two = (run(method, n, tmp_path / f"{n}.json") for n in (1, 2))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert [step for step, _ in two["history"]] == [1, 2, 3, 4, 5, 6]
    for (step, expected), (_, found) in zip(one["history"], two["history"], strict=True):
        for name, value in expected.items():
            if name == "d_accuracy":
                continue  # counts, which a logit at the threshold may tip
            assert found[name] == pytest.approx(value, rel=1e-9), (step, name)
