"""Small disks of a test's own: a tmpfs of a few pages, which root may mount."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def disk(at: Path, kilobytes: int) -> Iterator[Path]:
    """An empty disk of this size at a folder, which is made; skipped where none can be mounted."""
    at.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,nr_inodes=2000", "tmpfs", str(at)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount program here")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def grow(at: Path, kilobytes: int = 100_000) -> None:
    """Make room on a disk, as somebody who deletes files does."""
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(at)], check=True)


def fill(at: Path, left: int = 0) -> Path:
    """A file that takes all but so many bytes."""
    found = os.statvfs(at)
    file = at / "FILL"
    with file.open("wb", buffering=0) as opened, contextlib.suppress(OSError):
        opened.write(bytes(max(0, found.f_bavail * found.f_frsize - left)))
    return file


def unwhole(at: Path) -> list[str]:
    """What a writing that failed has left."""
    return [str(path) for path in at.rglob("*") if ".part" in path.name or "making" in path.name]
