"""A disk whose writes fail now and then (EIO): workers end in a line, others go on, the promises hold.

No trial ends as FAIL for it.

libfiu (the packages fiu-utils and libfiu0) stands before the writes of SQLite; without it this is skipped.
FAULTS_TRIALS=300 is the long form.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.faults.swarm import Swarm

TRIALS = int(os.environ.get("FAULTS_TRIALS", "300"))
FOLDER = Path("/usr/lib/fiu")
FAILING = ("posix/io/rw/pwrite", "posix/io/sync/fsync", "posix/io/sync/fdatasync", "posix/io/rw/ftruncate")


def failing(probability: float) -> dict[str, str]:
    """The environment of a process whose writes fail with this probability."""
    libraries = [FOLDER / name for name in ("fiu_run_preload.so", "fiu_posix_preload.so")]
    if not all(one.exists() for one in libraries):
        pytest.skip("no libfiu here: apt-get install fiu-utils libfiu0")
    switches = [f"enable_random name={name},probability={probability},failinfo=5" for name in FAILING]
    return {"LD_PRELOAD": " ".join(map(str, libraries)), "FIU_ENABLE": "\n".join(switches)}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_study_on_a_disk_whose_writes_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swarm = Swarm(tmp_path, TRIALS, workers=3, lease_s=30.0, environments=(failing(0.02),))
    found = swarm.run(lambda _: None)
    said = swarm.log().read_text()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{swarm.told(found)}, {swarm.started} workers, {said.count('disk I/O error')} errors"
        )
    assert found == []
    assert "disk I/O error" in said
