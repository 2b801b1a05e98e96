"""Scratch folders that name their process, so that what a killed one left can be told and removed."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from d2n.files import processes

# A folder of `scratch`; `start`, in hundredths of seconds after the machine's, was not there in earlier releases
_NAMED = re.compile(r"d2n-[a-z]+-(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?:(?P<start>\d+)_)?\w{8}")
_PART = re.compile(r"\.d2n-(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-\w+\.part")  # what is not whole yet
_UNNAMED = re.compile(r"d2n-(download|check|model)-\w{8}")  # of releases that did not name the process
_FORGOTTEN_S = 24 * 3600.0  # nobody works in an unnamed one for so long


@dataclass(frozen=True)
class Leftover:
    """A scratch folder or file whose process is gone."""

    path: Path
    reason: str


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """A folder for the block's duration: ``d2n-<purpose>-<machine>-<process>-…`` among the temporary files."""
    process = f"{os.getpid()}-{processes.started(os.getpid()) * 100:.0f}_"
    with tempfile.TemporaryDirectory(prefix=f"d2n-{purpose}-{machine()}-{process}") as folder:
        yield Path(folder)


@functools.cache
def machine() -> str:
    """Eight digits of what process numbers are unique in: the host, and the container."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def leftovers(folders: Iterable[Path]) -> list[Leftover]:
    """What killed processes of this user left directly in these folders; an absent folder has none."""
    found = []
    for folder in dict.fromkeys(folders):
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        found += [Leftover(entry, reason) for entry in entries if (reason := _why_left(entry))]
    return found


def is_named(path: Path) -> bool:
    """Whether the name is that of a scratch folder, or of something not whole yet."""
    return any(pattern.fullmatch(path.name) for pattern in (_NAMED, _PART, _UNNAMED))


def remove(path: Path) -> None:
    """Remove one of ``leftovers``, if its process is still gone."""
    if not _why_left(path):
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _why_left(entry: Path) -> str:
    """'' where the process may be alive, or the entry is not ours."""
    named = _NAMED.fullmatch(entry.name) or _PART.fullmatch(entry.name)
    if named is None and not _UNNAMED.fullmatch(entry.name):
        return ""
    try:
        status = entry.lstat()
    except OSError:
        return ""
    if status.st_uid != os.getuid():
        return ""
    if named is None or named["machine"] != machine():
        return "nobody wrote into it for a day" if time.time() - status.st_mtime > _FORGOTTEN_S else ""
    pid, start = int(named["pid"]), named.groupdict().get("start")
    is_held = processes.lives(pid, int(start) / 100) if start else _may_own(pid, status.st_mtime)
    return "" if is_held else f"its process {pid} is gone"


def _may_own(pid: int, changed_at: float) -> bool:
    """Whether the process lives and was there when the entry was last changed: an id is used again."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < changed_at + 5.0
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:
        return True
