from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from d2n.files import processes


def test_this_process_lives_and_a_later_one_of_its_id_is_another() -> None:
    mine = processes.started(os.getpid())
    assert processes.lives(os.getpid(), mine)
    assert not processes.lives(os.getpid(), mine - 1.0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count from 1970")
def test_a_start_counts_from_the_machines_start_whatever_its_clock_says() -> None:
    assert 0 < processes.started(os.getpid()) < time.clock_gettime(time.CLOCK_BOOTTIME)


def test_starts_of_earlier_releases_count_from_1970() -> None:
    began = psutil.Process().create_time()
    assert processes.lives(os.getpid(), began)
    assert not processes.lives(os.getpid(), began - 3600)


def test_one_that_ended_does_not_live_not_even_as_a_zombie() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    began = processes.started(child.pid)
    assert child.stdout is not None
    child.stdout.read()  # ended, and nobody asked how
    deadline = time.monotonic() + 20
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not processes.lives(child.pid, began)
    child.wait()
    assert not processes.lives(child.pid, began)
    child.stdout.close()
