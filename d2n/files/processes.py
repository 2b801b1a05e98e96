"""Processes of this machine, told from later ones of the same id, whatever is done to the machine's clock.

When a process began is counted from the machine's start: what a system tells in seconds since 1970 moves with every
correction of the clock, and a process that lives would be taken for another.
"""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

import psutil

_SINCE_1970 = (
    1e8  # a larger start counts from 1970: of earlier releases, and where the system tells nothing else
)
_STEADY_S, _SINCE_1970_S = 0.05, 5.0  # two readings of one start differ by less
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@functools.cache
def boot() -> str:
    """What names this run of this machine: another after each start; its name where the system tells nothing else."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def started(pid: int) -> float:
    """When the process began, in seconds after the machine did; psutil.NoSuchProcess where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19]) / _TICKS
    except (OSError, ValueError, IndexError):  # no Linux, or not to be seen by this user
        return float(psutil.Process(pid).create_time())


def lives(pid: int, began: float) -> bool:
    """Whether the process that ``began`` then, as ``started`` told, is there still; a zombie is not."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if began > _SINCE_1970:
            return bool(abs(process.create_time() - began) < _SINCE_1970_S)
        return abs(started(pid) - began) < _STEADY_S
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:
        return True
