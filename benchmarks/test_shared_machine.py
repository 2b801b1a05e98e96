"""Seconds of a training step alone and beside busy processes, for ways in which torch's threads may wait.

    pytest benchmarks/test_shared_machine.py -s

torch's threads spin while they wait for each other. On a machine with another busy process one of them is always
off its core and the others burn theirs until it is back. d2n bounds the spinning before torch loads (GOMP_SPINCOUNT,
d2n/__init__.py); here are torch's default, d2n's bound and one thread, in processes of their own, in turns, alone and
beside one and two processes that are always busy. The median of all steps counts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

ROUNDS = int(os.environ.get("D2N_BENCH_REPEATS", "3"))
STEPS = int(os.environ.get("D2N_BENCH_STEPS", "12"))
LIMIT_S = 15.0  # of a process's steps: beside others the default may take a hundred times as long
WAYS = ("default", "d2n", "one thread", *filter(None, os.environ.get("D2N_BENCH_SPINS", "").split(",")))
_WAIT = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def child(way: str, method: str) -> None:
    """Train a few steps and print the seconds of each; what waits how is decided before torch loads."""
    if way == "d2n":
        import d2n  # noqa: F401
    import torch

    from d2n.config import translator_config
    from d2n.core import Compute
    from d2n.devices import resolve_precision
    from d2n.translators import build

    translator = build(
        translator_config(method, "toy"),
        total_steps=1000,
        seed=0,
        compute=Compute("cpu", resolve_precision("auto", torch.device("cpu")), channels_last=True),
    )
    torch.manual_seed(0)
    day, night = (torch.rand(2, 3, 64, 64) * 2 - 1 for _ in range(2))
    translator.step(day, night)  # allocates and picks algorithms
    seconds: list[float] = []
    while len(seconds) < STEPS and sum(seconds) < LIMIT_S:
        start = time.perf_counter()
        translator.step(day, night)
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds))


def measured(way: str, method: str) -> list[float]:
    environment = {key: value for key, value in os.environ.items() if key not in _WAIT}
    if way == "one thread":
        environment["OMP_NUM_THREADS"] = "1"
    elif way.isdigit():
        environment["GOMP_SPINCOUNT"] = way
    done = subprocess.run(
        [sys.executable, __file__, way, method], env=environment, capture_output=True, text=True, check=True
    )
    seconds: list[float] = json.loads(done.stdout)
    return seconds


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that never rest."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", ["cyclegan", "pix2pix"])
def test_a_step_alone_and_beside_busy_processes(method: str) -> None:
    medians: dict[tuple[str, int], float] = {}
    for others in (0, 1, 2):
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way in WAYS:
                with busy(others):
                    seconds[way] += measured(way, method)
        for way, values in seconds.items():
            medians[way, others] = statistics.median(values)
    print(f"\n{method}, ms a step {'alone':>16} {'beside one':>12} {'beside two':>12}")
    for way in WAYS:
        cells = " ".join(f"{1000 * medians[way, others]:12.0f}" for others in (0, 1, 2))
        print(f"{way:28} {cells}")
    alone = medians["d2n", 0] / medians["default", 0]
    beside = [medians["one thread", others] / medians["d2n", others] for others in (1, 2)]
    print(
        f"alone {alone:.2f} x of the default's time; beside, {beside[0]:.2f} and {beside[1]:.2f} x of one thread"
    )


if __name__ == "__main__":
    child(sys.argv[1], sys.argv[2])
