"""Whether somebody still writes a RUNNING run: by its process on this machine, by its last sign elsewhere."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import psutil

from d2n.tracking import names

SILENCE_S = 3600.0  # a run of another host that logged nothing for so long is taken for dead
_CLOCK_S = 5.0  # two readings of a process's start differ by less


@dataclass(frozen=True)
class Verdict:
    """``gone`` is sure or overdue; ``unknown`` gave a sign of late, and names no process of this machine."""

    state: Literal["alive", "gone", "unknown"]
    reason: str


def judge(tags: Mapping[str, str], last_sign_s: float, silence_s: float = SILENCE_S) -> Verdict:
    """Of a RUNNING run with these tags.

    `last_sign_s` is when it started or last logged, seconds since 1970; the heartbeat counts where there is one.
    """
    host, pid = tags.get(names.HOST), tags.get(names.PID, "")
    silent_s = time.time() - (_number(tags.get(names.HEARTBEAT, "")) or last_sign_s)
    if host == socket.gethostname() and pid.isdecimal():
        if process_lives(int(pid), _number(tags.get(names.PROCESS_START, ""))):
            return Verdict("alive", f"its process {pid} on this machine works on it")
        return Verdict("gone", f"its process {pid} on this machine is gone")
    who = host if host and pid.isdecimal() else "its process, which it does not name,"
    state: Literal["gone", "unknown"] = "gone" if silent_s > silence_s else "unknown"
    return Verdict(state, f"{who} has logged nothing for {max(silent_s, 0) / 3600:.1f} h")


def process_lives(pid: int, started: float) -> bool:
    """Whether the process is there and no later one of the same id."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < _CLOCK_S
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:
        return True


def _number(text: str) -> float:
    """0 for what is no number."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0
