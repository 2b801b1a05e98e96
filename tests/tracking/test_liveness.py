from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import pytest

from d2n.errors import TrackingError
from d2n.tracking import liveness, names
from d2n.tracking.runs import RunRecord, Store


def record(store: Store, **tags: str) -> RunRecord:
    found = store.get(store.start_run("d2n/a", "one").run_id)
    return dataclasses.replace(
        found, tags={**found.tags, **{f"d2n.{key}": value for key, value in tags.items()}}
    )


def test_a_run_of_this_process_is_alive_and_one_of_a_dead_one_is_not(store: Store) -> None:
    mine = record(store)
    assert "process" in liveness.holder(mine)
    assert liveness.holder(dataclasses.replace(mine, status="KILLED")) == ""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = dataclasses.replace(mine, tags={**mine.tags, names.PID: str(child.pid)})
    assert liveness.holder(dead) == ""
    reused = dataclasses.replace(mine, tags={**mine.tags, names.PROCESS_START: "1000"})
    assert liveness.holder(reused) == ""


def test_of_another_machine_or_container_the_sign_counts(store: Store) -> None:
    now = time.time()
    elsewhere = {"host": "elsewhere", "processes": "another boot", "pid": "1"}
    assert "process 1 on elsewhere" in liveness.holder(
        record(store, **elsewhere, heartbeat=f"{now - 100:.0f}")
    )
    assert liveness.holder(record(store, **elsewhere, heartbeat=f"{now - 400:.0f}")) == ""
    container = {"processes": "another namespace"}  # of the same name: its process ids are others
    assert liveness.holder(record(store, **container, heartbeat=f"{now:.0f}"))


def test_the_sign_is_renewed_while_nothing_is_logged(store: Store) -> None:
    run = store.start_run("d2n/a", "one", tags={names.HEARTBEAT: "1000"})
    with liveness.pulse(store, run.run_id, every_s=0.05):
        deadline = time.monotonic() + 20
        while store.get(run.run_id).tags[names.HEARTBEAT] == "1000":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert float(store.get(run.run_id).tags[names.HEARTBEAT]) == pytest.approx(time.time(), abs=60)


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom d2n.tracking.liveness import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), 'r'):\n    print('in', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        with (
            pytest.raises(TrackingError, match="being worked on by another process"),
            liveness.locked(tmp_path, "r"),
        ):
            pytest.fail("entered")
        other.kill()
    with liveness.locked(tmp_path, "r"):
        pass
