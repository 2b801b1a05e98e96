from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from d2n.errors import TrackingError
from d2n.studies.storage import open_optuna
from d2n.tracking import names
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import TrackedRun, open_store
from d2n.workflows import ui

_UI = """
import sys
from d2n.workflows.ui import ui
say = lambda line: print(line, flush=True)
sys.exit(ui(tracking_uri=sys.argv[1], port=int(sys.argv[2]), announce=say))
"""


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
        ui.free_port("127.0.0.1", taken)
    assert "d2n ui --port " in str(caught.value)
    suggested = int(str(caught.value).rpartition("--port ")[2].strip("`"))
    assert suggested > taken
    assert ui.free_port("127.0.0.1", suggested) == suggested


def test_without_a_port_the_next_free_one_is_taken(taken: int) -> None:
    assert ui.free_port("127.0.0.1", None, first=taken) > taken


def test_a_server_that_ends_before_it_answers_is_one_line_with_its_last() -> None:
    with tempfile.TemporaryFile() as log:
        code = "print('a line'); print('no such store'); raise SystemExit(3)"
        server = subprocess.Popen([sys.executable, "-c", code], stdout=log)
        with pytest.raises(TrackingError, match="ended with status 3 before it answered: no such store"):
            ui.wait_until_it_answers(server, f"http://127.0.0.1:{_free_port()}/health", log)


def test_the_stores_address_is_no_argument_where_others_could_read_a_password() -> None:
    uri = "postgresql+psycopg2://u:secret@h/db"
    assert "secret" not in " ".join(ui.ui_command("127.0.0.1", 5000))
    environment = ui.ui_environment(uri, "file:///a", base={"MLFLOW_TRACKING_URI": "http://other", "X": "1"})
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert environment["X"] == "1"
    assert "MLFLOW_TRACKING_URI" not in environment


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[TrackedRun, list[str], subprocess.Popen[str]]]:
    """A store with a scored run and a study, its UI, and what the UI said."""
    store = open_store(sqlite_uri(tmp_path / "mlruns" / "mlflow.db"))
    tags = {names.KIND: "translation", names.DATASET: "toycity"}
    with store.start_run("d2n/toycity", "one", tags=tags) as run:
        run.log_text("hello from an artifact", "notes/a.txt")
        run.log_metrics({names.score("fid"): 12.5}, step=1)
        run.set_tags({names.BEST_SCORE: json.dumps({"name": "fid", "value": 12.5, "step": 1})})
    optuna.create_study(storage=open_optuna(f"sqlite:///{tmp_path}/mlruns/optuna.db"), study_name="small")
    command = [sys.executable, "-c", _UI, store.uri, str(_free_port())]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line.strip())
            if line.startswith("studies:"):
                break
        yield run, said, process
        process.terminate()


def _address(said: list[str], before: str) -> str:
    return next(line for line in said if line.startswith(before)).removeprefix(before).split()[0]


@pytest.mark.slow
def test_the_ui_answers_once_it_says_so_and_both_servers_end_on_sigterm(
    served: tuple[TrackedRun, list[str], subprocess.Popen[str]],
) -> None:
    run, said, process = served
    landing, studies = _address(said, "MLflow UI: "), _address(said, "studies: ")
    base, page = landing.split("/#")
    assert page.endswith("viewStateShareKey=d2n-leaderboard")
    assert run.run_id in _get(f"{base}/api/2.0/mlflow/runs/get?run_id={run.run_id}")
    assert "<title>MLflow</title>" in _get(base)
    assert _get(f"{base}/get-artifact?path=notes/a.txt&run_uuid={run.run_id}") == "hello from an artifact"
    _wait_for(studies)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    for address in (base, studies):
        with socket.socket() as probe:  # no server is left behind
            assert probe.connect_ex(("127.0.0.1", int(address.split(":")[2].split("/")[0]))) != 0


@pytest.mark.slow
def test_a_browser_lands_on_scores_and_note(
    served: tuple[TrackedRun, list[str], subprocess.Popen[str]],
) -> None:
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium here (Debian's packages chromium and chromium-driver)")
    _, said, _ = served
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1500,1000"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        browser.get(_address(said, "MLflow UI: "))
        deadline = time.monotonic() + 60
        while "12.5" not in (text := browser.find_element("tag name", "body").text):
            assert time.monotonic() < deadline, text
            time.sleep(0.5)
        assert "No champion yet" in text
        assert "1 generator." in text
        assert "score/fid" in text
    finally:
        browser.quit()


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
