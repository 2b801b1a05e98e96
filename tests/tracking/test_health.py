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
from d2n.tracking import health, names, registry
from d2n.tracking.runs import Store
from tests.tracking.test_registry import logged_model


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
    other = {names.HOST: f"not-{socket.gethostname()}", names.PID: gone}
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
