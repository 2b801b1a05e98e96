"""What a run stands on: versions, machine, process and commit, as tags."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import subprocess
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path

from d2n.files import processes
from d2n.tracking import names

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "mlflow", "optuna")
_GIT = ("git", "-c", "core.fsmonitor=false")  # a status must run no program of the checkout


def environment_tags(folder: Path | None = None) -> dict[str, str]:
    """Tags of every run: versions, machine, user, command; in a checkout the commit of `folder` (default: here)."""
    return {**_machine_tags(), **git_tags((folder or Path.cwd()).absolute()), **code_tags()}


def process_tags() -> dict[str, str]:
    """Tags that tell whether the process behind a RUNNING run is alive."""
    return {
        names.HOST: socket.gethostname(),
        names.PID: str(os.getpid()),
        names.PROCESS_START: f"{processes.started(os.getpid()):.2f}",
        names.PROCESSES: process_namespace(),
        names.HEARTBEAT: heartbeat(),
    }


def process_namespace() -> str:
    """What process ids are unique in: this boot of this machine, and in a container its own namespace."""
    try:
        return f"{processes.boot()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux
        return socket.gethostname()


def heartbeat() -> str:
    """The value of the heartbeat tag: seconds since 1970."""
    return f"{time.time():.0f}"


@cache
def git_tags(folder: Path) -> dict[str, str]:
    """Commit, branch and whether files differ from it; empty outside a checkout or without git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    return {
        names.GIT_COMMIT: commit,
        names.GIT_DIRTY: str(dirty).lower(),
        **({names.GIT_BRANCH: branch} if branch and branch != "HEAD" else {}),
    }


@cache
def code_tags() -> dict[str, str]:
    """d2n's version and, where it runs from its own checkout, that checkout's commit (``+`` when files differ)."""
    tags = {names.VERSION: _version("d2n")}
    package = Path(__file__).resolve().parents[1]
    if _git(
        package, "ls-files", "--error-unmatch", "core.py"
    ):  # not an environment inside a foreign checkout
        dirty = _git(package, "status", "--porcelain", "--untracked-files=no", ".")
        tags[names.CODE_COMMIT] = _git(package, "rev-parse", "HEAD") + ("+" if dirty else "")
    return tags


@cache
def _machine_tags() -> dict[str, str]:
    versions = [f"{name} {_version(name)}" for name in _PACKAGES if _version(name)]
    return {
        names.PYTHON: platform.python_version(),
        names.PLATFORM: platform.platform(),
        names.PACKAGES: ", ".join(versions),
        names.CPUS: str(os.cpu_count() or 0),
        names.USER: _user(),
        names.SOURCE_NAME: Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python",
        names.SOURCE_TYPE: "LOCAL",
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _git(folder: Path, *arguments: str) -> str:
    """The command's output, '' when it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [*_GIT, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
