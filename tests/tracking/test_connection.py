from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException, RestException
from sqlalchemy import event
from sqlalchemy.engine import Engine

from d2n.errors import TrackingError
from d2n.tracking import answers, connection
from d2n.tracking.connection import database_engine
from d2n.tracking.runs import Store, TrackedRun, open_store


@contextmanager
def unprivileged() -> Iterator[None]:
    """File permissions bind here even where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder whose parents every user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_sqlite_uri_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert connection.resolve_uri("sqlite:///a/b.db") == f"sqlite:///{tmp_path}/a/b.db"
    assert connection.resolve_uri("http://host:5000/") == "http://host:5000"
    assert connection.resolve_uri("postgresql+psycopg2://u@h/db") == "postgresql+psycopg2://u@h/db"


def test_postgresql_gets_a_driver_that_is_installed() -> None:
    assert connection.resolve_uri("postgresql://u@h/db") == "postgresql+psycopg2://u@h/db"


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/mlruns", "./mlruns", "databricks", "ftp://x", "sqlite://"]
)
def test_a_uri_that_is_no_store_is_refused_with_what_is_expected(uri: str) -> None:
    with pytest.raises(TrackingError, match="sqlite:///FILE"):
        connection.resolve_uri(uri)


def test_a_password_is_never_shown() -> None:
    assert connection.display_uri("postgresql://u:secret@h/db") == "postgresql://u:***@h/db"
    assert "secret" not in connection.display_uri("http://u:secret@h:5000")


def test_a_passing_failure_is_tried_again_and_a_lasting_one_is_not() -> None:
    calls: list[float] = []

    def locked_twice() -> str:
        calls.append(time.monotonic())
        if len(calls) < 3:
            raise MlflowException("(sqlite3.OperationalError) database is locked")
        return "done"

    assert connection.retried(locked_twice, "sqlite:////x.db", retry_s=10) == "done"
    assert len(calls) == 3
    assert calls[2] - calls[1] > calls[1] - calls[0]  # pauses grow

    def refused() -> str:
        calls.append(0.0)
        raise MlflowException("Changing param values is not allowed")

    with pytest.raises(TrackingError, match="refuses: Changing param values"):
        connection.retried(refused, "sqlite:////x.db", retry_s=10)
    assert len(calls) == 4


def test_waiting_ends(tmp_path: Path) -> None:
    def never() -> str:
        raise ConnectionRefusedError("connection refused")

    start = time.monotonic()
    with pytest.raises(TrackingError, match="does not answer"):
        connection.retried(never, "http://127.0.0.1:1", retry_s=0.5)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (MlflowException("x", error_code=12), False),
        (sqlite3.OperationalError("database is locked"), True),
        (sqlite3.OperationalError("attempt to write a readonly database"), False),
        (sqlite3.OperationalError("database or disk is full"), False),
        (OSError(28, "No space left on device"), False),
        (OSError(111, "Connection refused"), True),
        (MlflowException("API request to http://x failed: too many 503 error responses"), True),
        (MlflowException("terminating connection due to administrator command"), True),
        (MlflowException("the database system is starting up"), True),
        (MlflowException('password authentication failed for user "x"'), False),
    ],
)
def test_which_failures_pass(error: Exception, passing: bool) -> None:
    assert answers.is_passing(error) is passing


def test_of_a_full_disk_it_is_said_which_one(tmp_path: Path) -> None:
    here = f"sqlite:///{tmp_path}/mlflow.db"
    broken = OSError(28, "No space left on device", "from", None, str(tmp_path / "artifacts" / "a.png"))
    assert f"{tmp_path}/artifacts/a.png cannot be written, the disk is full" in answers.describe(broken, here)
    for error in (OSError(28, "No space left on device"), OSError(5, "Input/output error")):
        assert re.search(
            r"the disk .* \(/[^:]*: [\d.]+ of [\d.]+ [MG]B free\)$", answers.describe(error, here)
        )
    answer = MlflowException("API request failed with error code 500: [Errno 28] No space left on device")
    assert answers.describe(answer, "http://127.0.0.1:1").endswith("(it is the server's)")


def test_a_server_that_does_not_answer_is_one_line() -> None:
    with pytest.raises(TrackingError) as caught:
        open_store("http://127.0.0.1:9", wait_s=0.3)
    text = str(caught.value)
    assert "http://127.0.0.1:9 does not answer" in text
    assert "--tracking-uri" in text
    assert "\n" not in text


def test_a_postgresql_that_does_not_answer_is_one_line() -> None:
    with pytest.raises(TrackingError) as caught:
        open_store("postgresql://u:secret@127.0.0.1:9/db", wait_s=0.3)
    text = str(caught.value)
    assert "does not answer" in text
    assert "secret" not in text
    assert "\n" not in text


def test_a_folder_that_may_not_be_written_is_one_line(open_folder: Path) -> None:
    open_folder.chmod(stat.S_IRUSR | stat.S_IXUSR | 0o055)
    with unprivileged(), pytest.raises(TrackingError, match="cannot be made: Permission denied") as caught:
        open_store(f"sqlite:///{open_folder}/mlruns/mlflow.db")
    assert "--tracking-uri" in str(caught.value)


def test_a_folder_that_may_not_be_entered_is_one_line(open_folder: Path) -> None:
    open_folder.chmod(0o700)
    with unprivileged(), pytest.raises(TrackingError, match="Permission denied") as caught:
        open_store(f"sqlite:///{open_folder}/mlruns/mlflow.db")
    assert "\n" not in str(caught.value)


def test_a_read_only_store_can_be_read_and_says_so_when_written(open_folder: Path, migrated: Path) -> None:
    path = open_folder / "mlflow.db"
    shutil.copyfile(migrated, path)
    path.chmod(0o444)
    open_folder.chmod(0o555)
    with unprivileged():
        store = open_store(f"sqlite:///{path}")
        assert store.find_runs() == []
        with pytest.raises(TrackingError, match="it is read-only") as caught:
            store.start_run("d2n/a", "one")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line_and_what_was_logged_stays(store: Store) -> None:
    run = store.start_run("d2n/a", "one")
    run.log_metrics({"loss/g": 1.0}, step=1)

    def no_more_pages(dbapi: sqlite3.Connection, *_: object) -> None:
        pages = dbapi.execute("PRAGMA page_count").fetchone()[0]
        dbapi.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Engine, "connect", no_more_pages)
    _forget_connections(store)
    try:
        with pytest.raises(TrackingError, match="the disk is full"):
            _log_many_steps(run)
    finally:
        event.remove(Engine, "connect", no_more_pages)
        _forget_connections(store)
    run.close("FAILED")
    assert store.get(run.run_id).status == "FAILED"
    assert store.metric_history(run.run_id, "loss/g") == [(1, 1.0)]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("this is a text file, and a long enough one to look at" * 20)
    with pytest.raises(TrackingError, match="not a SQLite database"):
        open_store(f"sqlite:///{path}")
    assert path.read_text().startswith("this is a text")


def test_a_folder_name_with_spaces_and_percent_works(tmp_path: Path, migrated: Path) -> None:
    folder = tmp_path / "my runs 100%"
    folder.mkdir()
    shutil.copyfile(migrated, folder / "mlflow.db")
    store = open_store(f"sqlite:///{folder}/mlflow.db")
    with store.start_run("d2n/a", "one") as run:
        run.log_text("hello", "a.txt")
    assert store.artifact(run.run_id, "a.txt", tmp_path / "out").read_text() == "hello"
    assert (folder / "artifacts" / "d2n-a" / run.run_id / "artifacts" / "a.txt").is_file()


def _log_many_steps(run: TrackedRun) -> None:
    for step in range(2, 500):
        run.log_metrics({f"loss/{i}": 1.0 for i in range(200)}, step=step)


def _forget_connections(store: Store) -> None:
    store.client._tracking_client.store.engine.dispose()


def test_a_database_without_its_driver_says_what_is_expected() -> None:
    with pytest.raises(
        TrackingError, match=r"mysql://me:\*\*\*@h/db: its driver is not here .*expected sqlite:///FILE"
    ):
        database_engine("mysql://me:pass-word@h/db")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, "You are not authenticated.", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (403, "Permission denied", "for the permission EDIT"),
        (403, "Invalid Host header - possible DNS rebinding", "--allowed-hosts"),
        (407, "Proxy Authentication Required", "NO_PROXY"),
        (302, "<html>log in</html>", "leads to another page, such as its log-in"),
        (404, "<html>nothing here</html>", "nothing of MLflow's below this address"),
        (413, "<html>too large</html>", "client_max_body_size"),
        (200, "<html>log in</html>", "answers with a page and not as MLflow does"),
    ],
)
def test_a_server_that_lets_nobody_in_is_told_by_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, body: str, said: str
) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret-of-ann")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(TrackingError, match=said) as caught:
            open_store(f"http://127.0.0.1:{server.server_port}", wait_s=5)
    finally:
        server.shutdown()
        server.server_close()
    assert f"(it answered {status})" in str(caught.value) or status == 200
    assert "<html>" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret-of-ann" not in str(caught.value)


def test_an_answer_that_mlflow_cannot_read_is_one_line_and_a_wrong_call_stays_a_bug() -> None:
    def unreadable() -> None:
        json.loads("{not json")

    with pytest.raises(
        TrackingError, match=r"does not answer \(it answers what no tracking server answers"
    ) as caught:
        connection.retried(unreadable, "http://127.0.0.1:1", retry_s=0.0)
    assert "\n" not in str(caught.value)
    with pytest.raises(json.JSONDecodeError):
        connection.retried(unreadable, "sqlite:////x.db", retry_s=0.0)
    with pytest.raises(TypeError):
        connection.retried(lambda: len(3), "http://127.0.0.1:1", retry_s=0.0)  # type: ignore[arg-type] # on purpose


def test_a_server_that_takes_a_question_and_never_answers_is_left_after_the_time_given() -> None:
    over = threading.Event()
    start = time.monotonic()
    with pytest.raises(TrackingError, match=r"http://127.0.0.1:1 does not answer \(no answer within"):
        connection.within(0.2, over.wait, "http://127.0.0.1:1")
    over.set()
    assert time.monotonic() - start < 10
    assert connection.within(30.0, lambda: 7, "http://127.0.0.1:1") == 7
    with pytest.raises(ValueError, match="as it is"):
        connection.within(30.0, _raises, "http://127.0.0.1:1")


def _raises() -> None:
    raise ValueError("as it is")


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "never"}), True),
        (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}), True),
        (RestException({"error_code": "INTERNAL_ERROR", "message": "database or disk is full"}), False),
        (RestException({"error_code": "PERMISSION_DENIED", "message": "who are you"}), False),
        (RestException({"detail": "Not Found"}), False),
        (MlflowException("failed with error code 404 != 200. Response body: '<html>'"), False),
        (ConnectionResetError("connection reset"), False),
        (KeyError("a bug"), True),
    ],
)
def test_what_a_server_will_never_take(error: Exception, lasting: bool) -> None:
    assert answers.is_lasting(error, "http://127.0.0.1:1") is lasting
