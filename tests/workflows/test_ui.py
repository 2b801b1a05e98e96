from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2n.errors import TrackingError
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import open_store
from d2n.workflows import ui

_UI = "import sys; from d2n.workflows.ui import ui; sys.exit(ui(tracking_uri=sys.argv[1], port=int(sys.argv[2])))"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_port_in_use_is_one_line_with_the_next_free_one(taken: int) -> None:
    with pytest.raises(TrackingError, match=rf"port {taken} of 127\.0\.0\.1 is in use") as caught:
        ui.require_free("127.0.0.1", taken)
    assert "d2n ui --port " in str(caught.value)
    suggested = int(str(caught.value).rpartition("--port ")[2].strip("`"))
    assert suggested > taken
    ui.require_free("127.0.0.1", suggested)


def test_the_stores_address_is_no_argument_where_others_could_read_a_password() -> None:
    uri = "postgresql+psycopg2://u:secret@h/db"
    assert "secret" not in " ".join(ui.ui_command("127.0.0.1", 5000))
    environment = ui.ui_environment(uri, "file:///a", base={"MLFLOW_TRACKING_URI": "http://other", "X": "1"})
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert environment["X"] == "1"
    assert "MLFLOW_TRACKING_URI" not in environment


@pytest.mark.slow
def test_the_ui_shows_the_runs_of_the_store_and_ends_on_sigterm(tmp_path: Path) -> None:
    uri, port = sqlite_uri(tmp_path / "mlruns" / "mlflow.db"), _free_port()
    with open_store(uri).start_run("d2n/toycity", "one") as run:
        run.log_text("hello from an artifact", "notes/a.txt")
    process = subprocess.Popen([sys.executable, "-c", _UI, uri, str(port)], cwd=tmp_path)
    try:
        base = f"http://127.0.0.1:{port}"
        _wait_for(f"{base}/health")
        assert run.run_id in _get(f"{base}/api/2.0/mlflow/runs/get?run_id={run.run_id}")
        assert "<title>MLflow</title>" in _get(base)
        assert _get(f"{base}/get-artifact?path=notes/a.txt&run_uuid={run.run_id}") == "hello from an artifact"
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    with socket.socket() as probe:  # no server is left behind
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    shutil.rmtree(tmp_path / "mlruns")


def _get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310 - the test's own server
        return str(answer.read().decode())


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            _get(address)
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError(f"{address} did not answer")
