from __future__ import annotations

import logging
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from d2n.errors import TrackingError
from d2n.tracking import schema
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import open_store

pytestmark = pytest.mark.usefixtures("made_by_mlflow")

_START = """
import sys
from d2n.tracking.runs import open_store
with open_store(sys.argv[1]).start_run("d2n/a", sys.argv[2]) as run:
    run.log_metrics({"loss/g": 1.0}, step=1)
"""


def _change(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    database.execute(statement)
    database.commit()
    database.close()


@pytest.fixture
def path(migrated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(migrated, tmp_path / "mlflow.db"))


def test_the_states_are_told_apart(path: Path, tmp_path: Path) -> None:
    uri = sqlite_uri(path)
    assert schema.state(sqlite_uri(tmp_path / "none.db")) == "absent"
    assert schema.state(uri) == "current"
    _change(path, "UPDATE alembic_version SET version_num = '451aebb31d03'")  # MLflow 1.0
    assert schema.state(uri) == "older"
    _change(path, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    assert schema.state(uri) == "newer"
    _change(path, "DELETE FROM alembic_version")
    assert schema.state(uri) == "half-made"
    other = tmp_path / "optuna.db"
    _change(other, "CREATE TABLE studies (study_id INTEGER)")
    assert schema.state(sqlite_uri(other)) == "foreign"


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE alembic_version SET version_num = '451aebb31d03'", "older MLflow"),
        ("UPDATE alembic_version SET version_num = 'ffffffffffff'", "newer MLflow"),
        ("DELETE FROM alembic_version", "half-made"),
    ],
)
def test_a_store_of_another_schema_is_refused_untouched(path: Path, statement: str, words: str) -> None:
    _change(path, statement)
    before = path.read_bytes()
    with pytest.raises(TrackingError, match=words):
        open_store(sqlite_uri(path))
    assert path.read_bytes() == before


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    _change(path, "CREATE TABLE studies (study_id INTEGER)")
    with pytest.raises(TrackingError, match="another program's tables"):
        open_store(sqlite_uri(path))


def test_an_empty_file_is_filled_and_nothing_is_left_beside_it(migrated: Path) -> None:
    assert schema.state(sqlite_uri(migrated)) == "current"  # the fixture starts with an empty file
    assert {p.name for p in migrated.parent.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.slow
def test_making_the_tables_is_quiet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogger("alembic").level
    with caplog.at_level(logging.INFO):
        schema.ensure(sqlite_uri(tmp_path / "mlflow.db"), (tmp_path / "artifacts").as_uri())
    assert [record.name for record in caplog.records] == ["d2n.tracking.schema"]
    assert logging.getLogger("alembic").level == before


def test_setting_aside_and_upgrading_keep_the_former_file(path: Path) -> None:
    _change(path, "CREATE TABLE mine (x INTEGER)")
    kept = schema.upgrade(path)  # the tables are current: nothing to migrate
    assert schema.state(sqlite_uri(path)) == "current"
    assert schema.state(sqlite_uri(kept)) == "current"
    aside = schema.set_aside(path)
    assert not path.exists()
    assert aside.exists()
    assert aside != kept


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(path: Path) -> None:
    _change(
        path, "UPDATE alembic_version SET version_num = '451aebb31d03'"
    )  # its migrations meet what is there
    before = path.read_bytes()
    with pytest.raises(TrackingError, match="could not be upgraded"):
        schema.upgrade(path)
    assert path.read_bytes() == before
    assert not [p for p in path.parent.iterdir() if p.name.endswith(".upgrade")]


@pytest.mark.slow
def test_eight_processes_that_start_at_once_on_nothing_all_log(tmp_path: Path) -> None:
    uri = sqlite_uri(tmp_path / "mlruns" / "mlflow.db")
    processes = [
        subprocess.Popen([sys.executable, "-c", _START, uri, f"run {n}"], stderr=subprocess.PIPE, text=True)
        for n in range(8)
    ]
    errors = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, errors
    store = open_store(uri)
    assert {run.name for run in store.find_runs(status="FINISHED")} == {f"run {n}" for n in range(8)}
    assert len(store.find_runs(experiment="d2n/a")) == 8


_KILLED_WHILE_WRITING = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")  # pages reach the file before the commit
database.execute("BEGIN IMMEDIATE")
database.execute("CREATE TABLE half (text)")
database.executemany("INSERT INTO half VALUES (?)", [("x" * 4000,)] * 200)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_rolled_back_by_the_next_who_opens(path: Path) -> None:
    subprocess.run([sys.executable, "-c", _KILLED_WHILE_WRITING, str(path)], check=False, timeout=60)
    assert path.with_name(f"{path.name}-journal").stat().st_size > 0  # a hot journal
    store = open_store(sqlite_uri(path))
    assert store.find_runs() == []
    assert schema.state(sqlite_uri(path)) == "current"
