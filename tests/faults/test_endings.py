"""Workers told to end at any moment: each does, at once, and gives its trial back."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from survival import holders_of, lay_out, search_until_told, wait_until

_PATIENCE_S = 60.0  # a database that its own process has locked is waited for longer


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM cannot be handled there")
def test_a_worker_told_to_end_at_any_moment_gives_its_trial_back(tmp_path: Path) -> None:
    """Trials of no length keep it in the databases: an interruption in one of their callbacks would be dropped."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["survival", "d2n.workflows.search.start", "d2n.workflows.search.worker"])
    rng = random.Random(0)
    for number in range(int(os.environ.get("FAULTS_ENDINGS", "40"))):
        (tmp_path / str(number)).mkdir()
        place = lay_out(tmp_path / str(number))
        worker = context.Process(target=search_until_told, args=(place,))
        worker.start()
        assert worker.pid is not None
        wait_until(lambda where=place: holders_of(where) != [])  # type: ignore[misc]
        time.sleep(rng.uniform(0.0, 1.5))
        os.kill(worker.pid, signal.SIGTERM)
        worker.join(_PATIENCE_S)
        found = (worker.exitcode, holders_of(place))
        worker.kill()
        assert found == (128 + signal.SIGTERM, []), f"worker {number}"
