"""Where studies live: URLs, databases that are not there, and calls that are tried again."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from d2n.errors import StudyError
from d2n.studies import tables
from d2n.studies.leases import LeaseTable
from d2n.studies.storage import (
    examine_schema,
    is_absent,
    is_sqlite,
    open_optuna,
    retried,
    shown,
    storage_url,
    upgrade,
)
from d2n.studies.study import load_optuna
from tests.tracking.servers import Postgres


def execute(database: Path, statement: str) -> None:
    connection = sqlite3.connect(database)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_the_argument_wins_over_the_variable_over_mlruns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("D2N_STUDY_STORAGE", raising=False)
    assert storage_url() == f"sqlite:///{tmp_path}/mlruns/optuna.db"
    monkeypatch.setenv("D2N_STUDY_STORAGE", "sqlite:///x.db")
    assert storage_url() == f"sqlite:///{tmp_path}/x.db"
    assert storage_url("sqlite:////y/z.db") == "sqlite:////y/z.db"


def test_postgresql_gets_a_driver_that_is_installed_and_hides_its_password() -> None:
    url = storage_url("postgresql://me:secret@db/optuna")
    assert url.startswith("postgresql+psycopg")
    assert "secret" in url
    assert "secret" not in shown(url)
    assert not is_sqlite(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not a url", "is no URL, expected such as"),
        ("mysql://db/x", "mysql is not supported, expected sqlite or postgresql"),
        ("sqlite://", "in memory is lost"),
    ],
)
def test_other_storages_are_refused(url: str, said: str) -> None:
    with pytest.raises(StudyError, match=said):
        storage_url(url)


def test_an_unreachable_storage_is_one_line_after_its_retries() -> None:
    with pytest.raises(StudyError, match=r"cannot be reached, tried for 0 s: .*refused") as caught:
        open_optuna(storage_url("postgresql://me:secret@127.0.0.1:9/x"), wait_s=0.2)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_lost_connection_is_tried_again_and_a_refusal_is_not() -> None:
    failures = [OperationalError("select", {}, Exception("server closed the connection unexpectedly"))] * 2

    def passing() -> str:
        if failures:
            raise failures.pop()
        return "here"

    assert retried(passing, "x", 5.0)() == "here"
    calls: list[int] = []

    def refusing() -> None:
        calls.append(1)
        raise OperationalError("insert", {}, Exception("attempt to write a readonly database"))

    with pytest.raises(StudyError, match="study storage x: attempt to write a readonly database"):
        retried(refusing, "x", 5.0)()
    assert len(calls) == 1


def test_a_storage_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be made"):
        open_optuna(storage_url(f"sqlite:///{tmp_path}/file/optuna.db"))


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("these are not the rows you are looking for " * 50)
    with pytest.raises(StudyError, match="file is not a database"):
        open_optuna(storage_url(f"sqlite:///{tmp_path}/optuna.db"))


def test_leases_of_another_version_are_refused(tmp_path: Path) -> None:
    url = storage_url(f"sqlite:///{tmp_path}/optuna.db")
    LeaseTable(url).engine.dispose()
    execute(tmp_path / "optuna-leases.db", "update d2n_schema set version = 99")
    with pytest.raises(StudyError, match="have version 99, expected 2"):
        LeaseTable(url)


def test_two_processes_worth_of_tables_are_made_once(tmp_path: Path) -> None:
    url = storage_url(f"sqlite:///{tmp_path}/optuna.db")
    for _ in range(2):
        open_optuna(url)
        LeaseTable(url).register("s")
    assert LeaseTable(url).names() == ["s"]
    assert stat.S_ISREG((tmp_path / "optuna-leases.db").stat().st_mode)


def problem_of(url: str) -> str:
    found = examine_schema(url)
    assert found is not None
    return found.text


def test_an_old_schema_is_found_and_upgraded(tmp_path: Path) -> None:
    url = storage_url(f"sqlite:///{tmp_path}/optuna.db")
    assert examine_schema(url) is None  # nothing there yet
    open_optuna(url)
    assert examine_schema(url) is None
    execute(tmp_path / "optuna.db", "drop table trial_heartbeats")
    assert "lacks trial_heartbeats" in problem_of(url)
    upgrade(url)
    assert examine_schema(url) is None


def test_a_group_may_share_the_databases_where_the_umask_says_so(tmp_path: Path) -> None:
    url = storage_url(f"sqlite:///{tmp_path}/optuna.db")
    before = os.umask(0o002)
    try:
        open_optuna(url)
        LeaseTable(url)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*.db")}
    assert modes == {"optuna.db": 0o664, "optuna-leases.db": 0o664}


def test_a_lost_or_doubled_version_row_is_said_and_written_again(tmp_path: Path) -> None:
    url = storage_url(f"sqlite:///{tmp_path}/optuna.db")
    open_optuna(url)
    for loss in ("delete from alembic_version", "insert into alembic_version values ('v2.6.0.a')"):
        execute(tmp_path / "optuna.db", loss)
        assert "lost the row with its schema's version" in problem_of(url)
        upgrade(url)
        assert examine_schema(url) is None
    assert (tmp_path / "optuna.before-upgrade-1.db").exists()


def test_what_an_upgrade_cannot_mend_is_not_offered(tmp_path: Path) -> None:
    url = storage_url(f"sqlite:///{tmp_path}/optuna.db")
    open_optuna(url)
    execute(tmp_path / "optuna.db", "update alembic_version set version_num = 'v99'")
    found = examine_schema(url)
    assert found is not None
    assert found.mending == ""
    assert "pip install -U optuna" in found.advice
    with pytest.raises(StudyError, match="cannot be upgraded"):
        upgrade(url)
    (tmp_path / "text.db").write_text("x" * 99)
    found = examine_schema(storage_url(f"sqlite:///{tmp_path}/text.db"))
    assert found is not None
    assert (found.mending, "not a database" in found.text) == ("", True)


@pytest.mark.parametrize("folder", ["what?now", "a%20b", "a b", "a#1", "a:b@c", "čas"])
def test_a_folder_of_any_name_holds_all_of_its_studies(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / folder
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("D2N_STUDY_STORAGE", raising=False)
    url = storage_url()
    assert is_absent(url)
    optuna.create_study(storage=open_optuna(url), study_name="s")
    LeaseTable(url).register("s")
    assert not is_absent(url)
    assert is_sqlite(url)
    assert shown(url) == "mlruns/optuna.db"
    assert load_optuna(storage_url(url), "s").study_name == "s"
    assert LeaseTable(url).names() == ["s"]
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    assert {path.name for path in (here / "mlruns").iterdir()} >= {"optuna.db", "optuna-leases.db"}


def test_a_process_that_keeps_the_lock_of_the_tables_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "WAIT_S", 0.1)
    url = f"sqlite:///{tmp_path}/optuna.db"
    with (
        tables.lock(url),
        pytest.raises(StudyError, match=r"has been making its tables for 0 s .*\.d2n-schema-studies\.lock"),
        tables.lock(url),
    ):
        pass


@pytest.mark.postgres
def test_a_study_that_is_there_is_opened_while_another_process_makes_tables(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is stopped in the middle of it holds up nobody whose tables are whole."""
    url = storage_url(postgres.uri)
    LeaseTable(url).register("s")
    open_optuna(url)
    monkeypatch.setattr(tables, "WAIT_S", 0.1)
    with tables.lock(url):
        assert LeaseTable(url).names() == ["s"]
        assert open_optuna(url).get_all_studies() == []
        with pytest.raises(StudyError, match="has been making its tables"), tables.lock(url):
            pass
    with tables.lock(url.replace("/postgres", "/another")), tables.lock(url):
        pass  # two databases do not wait for each other
