"""Workers whose clock is off, or jumps while they hold trials, keep what docs/reliability.md promises.

libfaketime (the package faketime) stands before the time of day of one process; without it these are skipped.
FAULTS_TRIALS=300 is the long form.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.swarm import Swarm

TRIALS = int(os.environ.get("FAULTS_TRIALS", "300"))
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def clock(file: Path) -> dict[str, str]:
    """The environment of a process whose time of day is off by what a file says, such as ``+3600``."""
    if not LIBRARIES:
        pytest.skip("no libfaketime here: apt-get install faketime")
    return {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # as a correction of the clock does
    }


def jumps(file: Path, every_s: float) -> Callable[[Swarm], None]:
    """The clock goes an hour ahead, back, a day ahead …"""
    chance, due = random.Random(0), time.monotonic() + every_s

    def trouble(_: Swarm) -> None:
        nonlocal due
        if time.monotonic() > due:
            file.write_text(chance.choice(["+0", "+3600", "-3600", "+86400", "+400"]) + "\n")
            due = time.monotonic() + every_s

    return trouble


@pytest.fixture
def offset(tmp_path: Path) -> Path:
    file = tmp_path / "offset"
    file.write_text("+0\n")
    return file


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_worker_whose_clock_is_an_hour_ahead(
    tmp_path: Path, offset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offset.write_text("+3600\n")
    swarm = Swarm(tmp_path, TRIALS, workers=3, lease_s=30.0, environments=({}, clock(offset), {}))
    found = swarm.run(lambda _: None)
    with capsys.disabled():
        sys.stdout.write(f"\n{swarm.told(found)}")
    assert found == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_machine_whose_clock_jumps_on_the_way(
    tmp_path: Path, offset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swarm = Swarm(tmp_path, TRIALS, workers=3, lease_s=30.0, environments=(clock(offset),))
    found = swarm.run(jumps(offset, 0.7))
    with capsys.disabled():
        sys.stdout.write(f"\n{swarm.told(found)}")
    assert found == []
