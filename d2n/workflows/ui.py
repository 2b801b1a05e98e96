"""``d2n ui``: the MLflow UI on the right store, with the dashboard of its studies, on this machine only."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import IO

from d2n import databases, secrets
from d2n.errors import TrackingError

logger = logging.getLogger(__name__)
_FIRST_PORT = 5000
_TRIED_PORTS = 20
_START_S = 180.0  # a loaded machine takes half a minute
_ASK_S = 5.0
_PAUSE_S = 0.2
_STOP_S = 10.0


def ui(
    *,
    tracking_uri: str | None = None,
    study_storage: str | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = False,
    announce: Callable[[str], object] = logger.info,
) -> int:
    """Serve the UI until it is interrupted; the server's exit status.

    The address, of the leaderboard of the newest runs, is announced once the server answers. Without ``port`` the
    first free one from 5000 on is taken. A tracking server has a UI of its own: its address is announced and nothing
    is started. TrackingError when the port asked for is taken (the next free one is named), the store cannot be
    opened, or the server ends before it answers.
    """
    is_remote = (tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")).startswith("http")
    chosen = 0 if is_remote else free_port(host, port)  # before mlflow loads, which takes seconds
    from d2n.signals import termination_raises
    from d2n.tracking import landing
    from d2n.tracking.runs import open_store

    store = open_store(tracking_uri)
    page = _landing(lambda: landing.refresh_all(store))
    if is_remote:
        address = f"{databases.without_login(store.uri)}/{page}"
        announce(f"the tracking server has its own UI: {address}")
        _show(address, open_browser)
        return 0
    environment = ui_environment(store.uri, store.artifact_root or "")
    studies = study_storage or os.environ.get("D2N_STUDY_STORAGE") or beside(store.uri)
    with termination_raises(), contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())  # its own lines would bury the address
        server = stack.enter_context(_started(ui_command(host, chosen), environment, log))
        announce(f"MLflow UI of {store.display_uri} is starting …")
        wait_until_it_answers(server, f"{_base(host, chosen)}/health", log)
        announce(f"MLflow UI: {_base(host, chosen)}/{page} (Ctrl-C ends it)")
        for line in _dashboard(stack, studies, host, chosen + 1, log):
            announce(line)
        _show(f"{_base(host, chosen)}/{page}", open_browser)
        return _until_interrupted(server)


def beside(tracking_uri: str) -> str:
    """The study storage that belongs to an embedded tracking store; '' where there is none."""
    file = databases.sqlite_file(tracking_uri)
    studies = file.with_name("optuna.db") if file is not None else None
    return databases.sqlite_url(studies) if studies is not None and studies.is_file() else ""


def ui_command(host: str, port: int) -> list[str]:
    """The server's arguments. The store's URI is not among them: it may hold a password."""
    quiet = ["--uvicorn-opts", "--log-level warning"]  # a line a request would fill the disk
    where = ["--host", host, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *where, *quiet]


def ui_environment(uri: str, artifact_root: str, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The server's environment: the store, no telemetry, no job workers (they take 2 GB)."""
    environment = dict(os.environ if base is None else base)
    environment.pop("MLFLOW_TRACKING_URI", None)
    return {
        **environment,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifact_root,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": environment.get("MLFLOW_LOGGING_LEVEL", "WARNING"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def free_port(host: str, port: int | None, first: int | None = None, verb: str = "ui") -> int:
    """The port asked for, or the first free one; TrackingError that names the next free one, if it is taken."""
    wanted = next(one for one in (port, first, _FIRST_PORT) if one is not None)
    if _is_free(host, wanted):
        return wanted
    free = next((p for p in range(wanted + 1, min(wanted + _TRIED_PORTS, 65536)) if _is_free(host, p)), None)
    if port is None and free is not None:
        return free
    advice = f"try `d2n {verb} --port {free}`" if free else "choose another with --port"
    raise TrackingError(f"port {wanted} of {host} is in use (another UI?): {advice}")


def wait_until_it_answers(
    server: subprocess.Popen[bytes], address: str, log: IO[bytes], wait_s: float = _START_S
) -> None:
    """Return once the address gives 200; TrackingError where the server ended before, or took longer."""
    deadline = time.monotonic() + wait_s
    while server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=_ASK_S):  # noqa: S310 - http to a server of ours
                return
        except OSError:
            if time.monotonic() > deadline:
                raise TrackingError(f"{address} did not answer within {wait_s:.0f} s; try again") from None
            time.sleep(_PAUSE_S)
    raise TrackingError(
        f"MLflow's server ended with status {server.returncode} before it answered: {_last_line(log)}"
    )


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = [line for line in secrets.scrub(log.read().decode(errors="replace")).splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _base(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _landing(refresh: Callable[[], str]) -> str:
    """The page to begin with; a store that cannot be written is shown as it is."""
    try:
        return refresh()
    except TrackingError as error:
        logger.warning("the views of the UI are not refreshed: %s", error)
        return "#/experiments?workflowType=machine_learning"


def _dashboard(stack: contextlib.ExitStack, url: str, host: str, port: int, log: IO[bytes]) -> list[str]:
    """Starts the studies' dashboard where there are studies; what to say of it."""
    if not url:
        return []
    if find_spec("optuna_dashboard") is None:
        return ["the studies' own dashboard is not installed: pip install 'd2n[dashboard]'"]
    chosen = next((p for p in range(port, min(port + _TRIED_PORTS, 65536)) if _is_free(host, p)), None)
    if chosen is None:
        return [f"no free port for the studies' dashboard from {port} on"]
    command = [sys.executable, "-m", "d2n.studies.dashboard", host, str(chosen)]
    stack.enter_context(_started(command, {**os.environ, "D2N_STUDY_STORAGE": url}, log))
    return [f"studies: {_base(host, chosen)}/dashboard"]


def _show(address: str, open_browser: bool) -> None:
    if open_browser and not webbrowser.open(address):
        logger.warning("no browser opened; the address is above")


@contextlib.contextmanager
def _started(
    command: list[str], environment: Mapping[str, str], log: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block; what it says goes to ``log``."""
    process = subprocess.Popen(  # noqa: S603 - an argument list of ours, no shell
        command, env=dict(environment), stdout=log, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        _stop(process)


def _until_interrupted(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
