"""Processor seconds before anything happens: `d2n --help` over click, a training's first step over torch.

    pytest benchmarks/test_start.py -s

Medians of user and system seconds of whole processes, in turn; on one thread.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

REPEATS = int(os.environ.get("D2N_BENCH_REPEATS", "5"))
_FIRST_STEP = """
import os
from d2n.translators import pix2pix
pix2pix.Pix2Pix.step = lambda *_, **__: os._exit(0)
from d2n.cli import main
knobs = ("evaluation.extractor=random-squeezenet1_0", "training.num_threads=1")
main(["train", "pix2pix_toycity", *(word for knob in knobs for word in ("--set", knob))])
"""


def processor_s(command: Sequence[str], folder: Path) -> float:
    """User and system seconds of a process."""
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, log.read_text()[-2000:]
    return used.ru_utime + used.ru_stime


def medians(commands: Mapping[str, Sequence[str]], folder: Path) -> dict[str, float]:
    """Each command's, run in turn."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(REPEATS):
        for name, command in commands.items():
            taken[name].append(processor_s(command, folder))
    return {name: statistics.median(each) for name, each in taken.items()}


def test_help_over_click(tmp_path: Path) -> None:
    python = [sys.executable, "-c"]
    found = medians(
        {"click": [*python, "import click"], "help": [sys.executable, "-m", "d2n", "--help"]}, tmp_path
    )
    print(f"\nd2n --help: {found['help']:.2f} s, {found['help'] - found['click']:.2f} s over click alone")


def test_first_step_over_torch(tmp_path: Path) -> None:
    python = [sys.executable, "-c"]
    subprocess.run([sys.executable, "-m", "d2n", "data", "make", "toycity"], cwd=tmp_path, check=True)
    subprocess.run([*python, "from d2n.tracking import runs; runs.open_store()"], cwd=tmp_path, check=True)
    found = medians({"torch": [*python, "import torch"], "train": [*python, _FIRST_STEP]}, tmp_path)
    over = found["train"] - found["torch"]
    print(f"\nd2n train to its first step: {found['train']:.2f} s, {over:.2f} s over torch alone")
