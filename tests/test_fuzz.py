"""Damaged files of every format: read, or refused in one line; never a trace, a hang or gigabytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DRIVER = Path(__file__).parent / "fakes" / "fuzzing.py"
MAX_MB = 900


def fuzz(seed: int, mutations: int, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(seed), str(mutations), str(folder)],
        capture_output=True,
        text=True,
        timeout=280 if mutations < 5000 else 3000,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]  # a crash or a hang of a library shows its stack here
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(found: dict[str, Any], mutations: int) -> None:
    assert found["failures"] == []
    assert found["read"] + found["refused"] == mutations
    assert found["refused"] > mutations / 2  # the damage is real
    assert found["grown_mb"] < MAX_MB


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    check(fuzz(0, 620, tmp_path), 620)


@pytest.mark.slow
@pytest.mark.timeout(3300)
@pytest.mark.parametrize("seed", [1, 2])
def test_many_damaged_files(tmp_path: Path, seed: int) -> None:
    check(fuzz(seed, 15_000, tmp_path), 15_000)
