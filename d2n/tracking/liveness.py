"""Is anybody at work on a run? A process gives a sign in the run's tags, and holds a lock in the run's folder.

On one machine the process itself is looked for (and the lock, where the folder is shared, forbids two at one
moment); of another machine's process only the sign is known: `d2n.internal.heartbeat`, renewed every minute from a
thread, however long a step takes. Without a sign for five minutes it is taken for dead.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from d2n.errors import TrackingError
from d2n.files import processes
from d2n.tracking import bookkeeping, environment, names
from d2n.tracking.connection import Connection, retried

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord

PULSE_S = 60.0
SILENCE_S = 300.0
OLD_SILENCE_S = 3600.0  # of runs that gave a sign only when something was logged
LOCK = ".lock"


@dataclass(frozen=True)
class Verdict:
    """``gone`` is sure or overdue; ``unknown`` gave a sign of late, and names no process of this machine."""

    state: Literal["alive", "gone", "unknown"]
    reason: str


def judge(tags: Mapping[str, str], last_sign_s: float, silence_s: float | None = None) -> Verdict:
    """Of a RUNNING run with these tags.

    `last_sign_s` is when it started or last logged, seconds since 1970; the heartbeat counts where there is one.
    `silence_s` None: five minutes for a run that gives a sign every minute, an hour for one of earlier releases.
    """
    tags = bookkeeping.read(tags)
    host, pid, namespace = tags.get(names.HOST), tags.get(names.PID, ""), tags.get(names.PROCESSES)
    is_here = namespace == environment.process_namespace() if namespace else host == socket.gethostname()
    if is_here and pid.isdecimal():
        if processes.lives(int(pid), _number(tags.get(names.PROCESS_START, ""))):
            return Verdict("alive", f"its process {pid} on this machine works on it")
        return Verdict("gone", f"its process {pid} on this machine is gone")
    silent_s = time.time() - (_number(tags.get(names.HEARTBEAT, "")) or last_sign_s)
    patience_s = (SILENCE_S if namespace else OLD_SILENCE_S) if silence_s is None else silence_s
    who = f"process {pid} on {host}" if host and pid.isdecimal() else "its process, which it does not name,"
    state: Literal["gone", "unknown"] = "gone" if silent_s > patience_s else "unknown"
    return Verdict(state, f"{who} gave no sign for {_duration(max(silent_s, 0))}")


def holder(run: RunRecord) -> str:
    """Who works on the run, in words; '' where nobody does."""
    tags = bookkeeping.read(run.tags)
    if run.status != "RUNNING" or not tags.get(names.PID, "").isdecimal():
        return ""
    verdict = judge(tags, last_sign_s=0.0)
    who = f"process {tags[names.PID]} on {tags.get(names.HOST, '')}"
    if verdict.state == "unknown":
        return f"{who}, last sign {time.time() - _number(tags.get(names.HEARTBEAT, '')):.0f} s ago"
    return who if verdict.state == "alive" else ""


@contextmanager
def locked(folder: Path, run_id: str) -> Iterator[None]:
    """Inside, no other process may enter for this folder. TrackingError when one is in it already.

    The lock ends with the process, whatever ends it. Where the system or the file system has none, nothing is locked.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise TrackingError(
                f"run {run_id} is being worked on by another process ({folder / LOCK} is locked): wait for it"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


@contextmanager
def pulse(store: Connection, run_id: str, every_s: float = PULSE_S) -> Iterator[None]:
    """Inside, a thread renews the run's sign of life, however long a step or a score takes."""

    def beat() -> None:
        store.client.set_tag(run_id, names.HEARTBEAT, environment.heartbeat())

    with beating(store, beat, every_s, f"pulse-{run_id[:8]}"):
        yield


@contextmanager
def beating(store: Connection, beat: Callable[[], None], every_s: float, name: str) -> Iterator[None]:
    """Inside, a thread calls ``beat`` again and again; a beat that the store does not take is left out."""
    end = threading.Event()

    def run() -> None:
        while not end.wait(every_s):
            try:
                retried(beat, store.uri, 0.0)
            except TrackingError:  # the work itself will say so; the next beat tries again
                continue

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(timeout=10)


def _number(text: str) -> float:
    """0 for what is no number."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 600 else f"{seconds:.0f} s"
