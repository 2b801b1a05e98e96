"""A study on PostgreSQL that is restarted, killed, cut off and slowed down: what docs/reliability.md promises holds.

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

from tests.faults.proxy import Proxy
from tests.faults.swarm import Swarm
from tests.tracking.servers import Postgres

TRIALS = int(os.environ.get("FAULTS_TRIALS", "300"))
pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(3600)]


def now_and_then(every: int, what: Callable[[int], None]) -> Callable[[Swarm], None]:
    """``what`` whenever so many more operations were acknowledged, with how often it was, however fast that goes."""
    times = 0

    def trouble(swarm: Swarm) -> None:
        nonlocal times
        if len(swarm.history()) >= every * (times + 1):
            what(times)
            times += 1

    return trouble


def checked(swarm: Swarm, trouble: Callable[[Swarm], None], capsys: pytest.CaptureFixture[str]) -> None:
    found = swarm.run(trouble)
    with capsys.disabled():
        sys.stdout.write(f"\n{swarm.told(found)}")
    assert found == []


def test_restarted_and_killed(tmp_path: Path, postgres: Postgres, capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []

    def again(times: int) -> None:
        if times % 2:
            postgres.kill()
        else:
            postgres.stop()
        time.sleep(1.0)
        postgres.start()
        done.append("killed" if times % 2 else "restarted")

    swarm = Swarm(tmp_path, TRIALS, workers=3, lease_s=30.0, storage=postgres.uri)
    checked(swarm, now_and_then(6, again), capsys)
    with capsys.disabled():
        sys.stdout.write(f", {done.count('restarted')} restarts, {done.count('killed')} kills of the server")
    assert len(done) >= 2


def test_cut_off_and_slow(tmp_path: Path, postgres: Postgres, capsys: pytest.CaptureFixture[str]) -> None:
    way, chance = Proxy(postgres.port), random.Random(0)

    def hamper(times: int) -> None:
        way.delay_s = chance.choice([0.0, 0.0, 0.02, 0.1])
        way.refuses = times % 5 == 4
        way.cut()
        if way.refuses:
            time.sleep(3.0)  # not until more operations were acknowledged: none is meanwhile
            way.refuses = False

    through = postgres.uri.replace(str(postgres.port), str(way.port))
    try:
        swarm = Swarm(
            tmp_path, TRIALS, workers=3, lease_s=30.0, storage=postgres.uri, seen_by_workers=through
        )
        checked(swarm, now_and_then(5, hamper), capsys)
    finally:
        way.close()
    with capsys.disabled():
        sys.stdout.write(f", {way.cuts} connections cut")
    assert way.cuts > 3
