from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from d2n.errors import TrackingError
from d2n.tracking import health, names, registry, schema
from d2n.tracking.runs import Store, open_store
from tests.tracking.test_registry import logged_model


@pytest.fixture(autouse=True)
def unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models here stand in for real ones, and would be refused: tests/workflows/test_sealed.py looks at those."""
    monkeypatch.setattr(health, "broken_seals", lambda store: [])


@pytest.fixture
def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_store_that_is_well_or_absent_has_no_findings(store: Store, tmp_path: Path) -> None:
    store.start_run("d2n/a", "alive")  # RUNNING, and this process is here
    assert health.examine(store.uri) == []
    assert health.examine(f"sqlite:///{tmp_path}/none/mlflow.db") == []
    assert not (tmp_path / "none").exists()


def test_a_run_whose_process_is_gone_is_found_and_closed(store: Store, gone: int) -> None:
    run = store.start_run("d2n/a", "one", tags={names.PID: gone})
    (finding,) = health.examine(store.uri)
    assert (finding.kind, finding.subject) == ("orphan run", run.run_id)
    assert f"process {gone} on this machine is gone" in finding.message
    assert "KILLED" in health.mend(store.uri, finding)
    record = store.get(run.run_id)
    assert record.status == "KILLED"
    assert record.tags[names.CLOSED_BY] == "doctor"
    assert health.examine(store.uri) == []


def test_a_process_id_that_is_used_again_does_not_hide_an_orphan(store: Store) -> None:
    store.start_run("d2n/a", "one", tags={names.PROCESS_START: "1000000.0"})
    assert [finding.kind for finding in health.examine(store.uri)] == ["orphan run"]


def test_a_run_of_another_host_is_judged_by_its_heartbeat(store: Store, gone: int) -> None:
    other = {names.HOST: f"not-{socket.gethostname()}", names.PROCESSES: "elsewhere", names.PID: gone}
    store.start_run("d2n/a", "fresh", tags=other)
    old = store.start_run("d2n/a", "old", tags={**other, names.HEARTBEAT: f"{time.time() - 7200:.0f}"})
    assert [finding.subject for finding in health.examine(store.uri)] == [old.run_id]
    assert health.examine(store.uri, silence_s=3 * 3600) == []


def test_a_run_of_another_program_is_left_alone(store: Store) -> None:
    store.client.create_run(store.experiment_id("d2n/a"))
    assert health.examine(store.uri) == []


def test_a_run_that_ended_since_the_examination_is_not_touched(store: Store, gone: int) -> None:
    run = store.start_run("d2n/a", "one", tags={names.PID: gone})
    (finding,) = health.examine(store.uri)
    run.close("FINISHED")
    assert "FINISHED by now" in health.mend(store.uri, finding)
    assert store.get(run.run_id).status == "FINISHED"


def test_a_version_whose_files_are_gone_is_found_and_loses_its_alias(store: Store) -> None:
    run_id, model_id = logged_model(store)
    registry.register(store, model_name="d2n-toycity", run_id=run_id, model_id=model_id, alias="champion")
    assert health.examine(store.uri) == []
    location = store.client.get_logged_model(model_id).artifact_location
    shutil.rmtree(location.removeprefix("file://"))
    (finding,) = health.examine(store.uri)
    assert (finding.kind, finding.subject) == ("broken version", "d2n-toycity/1")
    assert "@champion" in finding.message
    assert "missing" in finding.message
    health.mend(store.uri, finding)
    assert registry.list_aliases(store, "d2n-toycity") == {}
    last = registry.alias_history(store, "d2n-toycity", "champion")[-1]
    assert (last.version, last.former) == ("", "1")
    (finding,) = health.examine(store.uri)  # without an alias nobody meets it: a person decides
    with pytest.raises(TrackingError, match="needs a person"):
        health.mend(store.uri, finding)


def test_a_version_whose_logged_model_was_deleted_is_found(store: Store) -> None:
    run_id, model_id = logged_model(store)
    registry.register(store, model_name="d2n-toycity", run_id=run_id, model_id=model_id)
    store.client.delete_logged_model(model_id)
    assert [finding.subject for finding in health.examine(store.uri)] == ["d2n-toycity/1"]


def change(store: Store, *statements: str) -> None:
    database = sqlite3.connect(store.uri.removeprefix("sqlite:///"))
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def champion(store: Store) -> None:
    run_id, model_id = logged_model(store)
    registry.register(store, model_name="d2n-toycity", run_id=run_id, model_id=model_id, alias="champion")


def test_a_run_that_names_no_process_is_dead_after_a_silence(store: Store) -> None:
    old = store.client.create_run(store.experiment_id("d2n/a"), start_time=1000).info.run_id
    fresh = store.client.create_run(store.experiment_id("d2n/a")).info.run_id
    (finding,) = health.examine(store.uri)
    assert (finding.kind, finding.subject) == ("orphan run", old)
    assert health.watched(store.uri)[0].startswith(f"run {fresh} ")
    health.mend(store.uri, finding)
    assert store.get(old).status == "KILLED"
    assert [one.subject for one in health.examine(store.uri, silence_s=0)] == [fresh]


def test_tags_that_are_no_numbers_are_no_trace(store: Store) -> None:
    tags = {names.PID: "9" * 30, names.PROCESS_START: "x", names.HEARTBEAT: "nan"}
    run = store.start_run("d2n/a", "one", tags=tags)
    assert [finding.subject for finding in health.examine(store.uri)] == [run.run_id]


def test_a_full_store_that_lost_its_version_is_stamped_and_stays(store: Store) -> None:
    champion(store)
    path = Path(store.uri.removeprefix("sqlite:///"))
    for loss in (
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
        "INSERT INTO alembic_version VALUES ('451aebb31d03')",
    ):
        change(store, loss)
        with pytest.raises(TrackingError, match="d2n doctor --mend"):
            open_store(store.uri)
        (finding,) = health.examine(store.uri)
        assert "alembic_version" in finding.message
        with pytest.raises(TrackingError, match="stays where it is"):
            schema.set_aside(path)
        health.mend(store.uri, finding)
        assert health.examine(store.uri) == []
        assert registry.list_aliases(open_store(store.uri), "d2n-toycity") == {"champion": "1"}
    assert not list(path.parent.glob("*set-aside*"))


def test_a_full_store_that_lost_more_is_for_a_person(store: Store) -> None:
    champion(store)
    change(store, "DELETE FROM alembic_version", "ALTER TABLE runs DROP COLUMN deleted_time")
    (finding,) = health.examine(store.uri)
    assert "runs.deleted_time" in finding.advice
    with pytest.raises(TrackingError, match="needs a person"):
        health.mend(store.uri, finding)


def test_lost_tables_of_a_full_store_are_made_again(store: Store) -> None:
    champion(store)
    change(store, "DROP TABLE input_tags")
    (finding,) = health.examine(store.uri)
    assert "lacks input_tags" in finding.message
    health.mend(store.uri, finding)
    assert health.examine(store.uri) == []


def test_a_missing_run_folder_is_named_with_what_to_do(store: Store) -> None:
    with store.start_run("d2n/a", "one", tags={names.EXPERIMENT_NAME: "one"}) as run:
        run.log_text("{}", names.CONFIG_JSON)
    assert health.examine(store.uri) == []
    shutil.rmtree(store.get(run.run_id).artifact_uri.removeprefix("file://"))
    (finding,) = health.examine(store.uri)
    assert (finding.kind, finding.subject, finding.mending) == ("missing folder", run.run_id, "")
    assert f"mlflow runs delete --run-id {run.run_id}" in finding.advice


def test_an_alias_that_differs_from_its_history_stays_and_is_written_down(store: Store) -> None:
    champion(store)
    change(store, "DELETE FROM registered_model_tags")
    (finding,) = health.examine(store.uri)
    assert (finding.kind, finding.subject) == ("alias", "d2n-toycity@champion")
    assert "at version 1, its history says no version" in finding.message
    health.mend(store.uri, finding)
    assert registry.list_aliases(store, "d2n-toycity") == {"champion": "1"}
    assert registry.alias_history(store, "d2n-toycity", "champion")[-1].version == "1"
    change(store, "DELETE FROM registered_model_aliases")
    (finding,) = health.examine(store.uri)
    assert "at no version, its history says version 1" in finding.message
    health.mend(store.uri, finding)
    assert health.examine(store.uri) == []


def test_an_alias_at_a_version_that_is_not_there_is_taken_away(store: Store) -> None:
    champion(store)
    change(store, "UPDATE registered_model_aliases SET version = 99")
    (finding,) = health.examine(store.uri)
    assert "version 99, which is not there" in finding.message
    health.mend(store.uri, finding)
    assert health.examine(store.uri) == []


def test_a_history_that_cannot_be_read_is_no_trace(store: Store) -> None:
    champion(store)
    change(store, "UPDATE registered_model_tags SET value = '{'")
    assert [finding.subject for finding in health.examine(store.uri)] == [
        "d2n-toycity",
        "d2n-toycity@champion",
    ]
    for finding in health.examine(store.uri):
        health.mend(store.uri, finding)
    assert health.examine(store.uri) == []


def test_where_all_artifacts_are_away_no_alias_is_offered(store: Store) -> None:
    champion(store)
    shutil.rmtree(Path(store.uri.removeprefix("sqlite:///")).parent / "artifacts")
    (finding,) = health.examine(store.uri)
    assert (finding.kind, finding.mending) == ("broken version", "")
    assert "not mounted" in finding.advice


def test_a_logged_model_that_was_never_finished_is_found(store: Store) -> None:
    with store.start_run("d2n/a", "one") as run:
        model = store.client.create_logged_model(run.experiment_id, "generator", run.run_id)
        assert health.unfinished_models(store) == []  # the run is still at it
    (finding,) = health.examine(store.uri)
    assert (finding.kind, finding.subject) == ("unfinished model", model.model_id)
    health.mend(store.uri, finding)
    assert health.examine(store.uri) == []


def test_half_made_tables_are_found_and_set_aside(store: Store) -> None:
    path = Path(store.uri.removeprefix("sqlite:///"))
    database = sqlite3.connect(path)
    database.execute("DELETE FROM alembic_version")
    database.commit()
    database.close()
    (finding,) = health.examine(store.uri)
    assert finding.kind == "schema"
    assert "half-made" in finding.message
    health.mend(store.uri, finding)
    assert not path.exists()
    assert [p.name for p in path.parent.glob("*.db")] == ["mlflow.set-aside-1.db"]
    assert health.examine(store.uri) == []


def test_files_of_a_killed_creation_are_found_and_removed(store: Store, gone: int) -> None:
    folder = Path(store.uri.removeprefix("sqlite:///")).parent
    left = folder / f".mlflow.db.{gone}.making"
    left.write_bytes(b"x")
    (finding,) = health.examine(store.uri)
    assert finding.kind == "leftover"
    health.mend(store.uri, finding)
    assert not left.exists()
