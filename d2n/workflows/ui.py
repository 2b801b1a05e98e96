"""``d2n ui``: the MLflow UI on the right store, on this machine only."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping

from d2n import databases
from d2n.errors import TrackingError

logger = logging.getLogger(__name__)
_TRIED_PORTS = 20
_STOP_S = 10.0


def ui(
    *,
    tracking_uri: str | None = None,
    host: str = "127.0.0.1",
    port: int = 5000,
    announce: Callable[[str], object] = logger.info,
) -> int:
    """Serve the UI until it is interrupted; the server's exit status.

    A tracking server has a UI of its own: its address is announced and nothing is started. TrackingError when the
    port is taken (the next free one is named) or the store cannot be opened.
    """
    if not (tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")).startswith("http"):
        require_free(host, port)  # before mlflow loads, which takes seconds
    from d2n.tracking.runs import open_store
    from d2n.tracking.signals import termination_raises

    store = open_store(tracking_uri)
    if store.uri.startswith("http"):
        announce(f"the tracking server has its own UI: {databases.without_login(store.uri)}")
        return 0
    page = (
        f"http://{host}:{port}/#/experiments?workflowType=machine_learning"  # runs, not MLflow's GenAI page
    )
    announce(f"MLflow UI of {store.display_uri} at {page} (Ctrl-C ends it)")
    with termination_raises():
        return _serve(ui_command(host, port), ui_environment(store.uri, store.artifact_root or ""))


def ui_command(host: str, port: int) -> list[str]:
    """The server's arguments. The store's URI is not among them: it may hold a password."""
    return [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]


def ui_environment(uri: str, artifact_root: str, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The server's environment: the store, no telemetry, no job workers (they take 2 GB)."""
    environment = dict(os.environ if base is None else base)
    environment.pop("MLFLOW_TRACKING_URI", None)
    return {
        **environment,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifact_root,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def require_free(host: str, port: int) -> None:
    """TrackingError that names the next free port, if `port` is taken."""
    if _is_free(host, port):
        return
    free = next((p for p in range(port + 1, min(port + _TRIED_PORTS, 65536)) if _is_free(host, p)), None)
    advice = f"try `d2n ui --port {free}`" if free else "choose another with --port"
    raise TrackingError(f"port {port} of {host} is in use (another UI?): {advice}")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _serve(command: list[str], environment: dict[str, str]) -> int:
    process = subprocess.Popen(command, env=environment)  # noqa: S603 - an argument list of ours, no shell
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
