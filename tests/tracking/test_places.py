from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from d2n.errors import TrackingError
from d2n.tracking import health, names, places, registry
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, open_store
from tests.tracking.test_registry import logged_model


def champion(store: Store) -> str:
    run_id, model_id = logged_model(store)
    store.client.log_text(run_id, "x", "note.txt")
    registry.register(store, model_name="d2n-toycity", run_id=run_id, model_id=model_id, alias="champion")
    return run_id


def home(store: Store) -> Path:
    return Path(store.uri.removeprefix("sqlite:///")).parent


def places_of(database: Path) -> list[str]:
    opened = sqlite3.connect(database)
    found = [
        row[0]
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
            ("model_versions", "storage_location"),
        )
        for row in opened.execute(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL")  # noqa: S608
    ]
    opened.close()
    return found


@pytest.fixture(autouse=True)
def unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models here stand in for real ones, and would be refused: tests/workflows/test_sealed.py looks at those."""
    monkeypatch.setattr(health, "broken_seals", lambda store: [])


@pytest.mark.parametrize(
    ("place", "moved"),
    [
        ("file:///a%20b/c/1", "file:///d%20%C3%A9/c/1"),
        ("/a b/c/1", "/d é/c/1"),
        ("file:///a%20bc/1", None),  # another folder that begins alike
        ("s3://bucket/a b/c", None),
        ("models:/m-1", None),
        ("file://host/a%20b/c", None),
        (None, None),
        ("", None),
    ],
)
def test_only_places_below_the_former_folder_move(place: str | None, moved: str | None) -> None:
    assert places.moved_place(place, Path("/a b"), Path("/d é")) == moved


def test_a_store_where_it_was_made_is_at_home(store: Store, tmp_path: Path) -> None:
    champion(store)
    assert places.former_homes(home(store) / "mlflow.db") == []
    link = tmp_path / "link"
    link.symlink_to(home(store))  # the same store by another name
    assert places.former_homes(link / "mlflow.db") == []


def test_a_moved_store_is_told_as_that_and_mended_with_its_aliases(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = champion(store)
    new = shutil.move(home(store), tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING):
        uri = open_store(sqlite_uri(new / "mlflow.db")).uri
    assert f"was moved here from {tmp_path}/mlruns" in caplog.text
    assert "d2n doctor --mend" in caplog.text
    (finding,) = health.examine(uri)
    assert finding.kind == "moved store"
    assert "was moved here" in finding.message
    assert "alias" not in finding.mending.replace("aliases and runs stay", "")
    assert "places lead into" in health.mend(uri, finding)
    assert health.examine(uri) == []
    moved = open_store(uri)
    assert registry.list_aliases(moved, "d2n-toycity") == {"champion": "1"}
    assert moved.artifact(run_id, "note.txt", tmp_path / "out").read_text() == "x"
    registry.download(moved, "d2n-toycity@champion", tmp_path / "model")
    assert not (tmp_path / "mlruns").exists()


def test_a_copied_store_gets_what_it_wrote_into_the_original(store: Store, tmp_path: Path) -> None:
    champion(store)
    copy = Path(shutil.copytree(home(store), tmp_path / "copy"))
    copied = open_store(sqlite_uri(copy / "mlflow.db"))
    with copied.start_run("d2n/toycity", "second") as run:
        run.log_text("y", "note.txt")
    assert (home(store) / "artifacts" / "d2n-toycity" / run.run_id).is_dir()  # the fault, shown
    (finding,) = health.examine(copied.uri)
    assert f"was copied from {home(store)}" in finding.message
    before = sorted(home(store).rglob("*"))
    health.mend(copied.uri, finding)
    assert health.examine(copied.uri) == []
    assert (copy / "artifacts" / "d2n-toycity" / run.run_id / "artifacts" / "note.txt").read_text() == "y"
    assert sorted(home(store).rglob("*")) == before
    assert not [place for place in places_of(copy / "mlflow.db") if place.startswith(home(store).as_uri())]


def test_a_database_copied_alone_and_artifacts_that_are_nowhere_need_a_person(
    store: Store, tmp_path: Path
) -> None:
    champion(store)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(home(store) / "mlflow.db", alone)
    uri = sqlite_uri(alone / "mlflow.db")
    (finding,) = health.examine(uri)
    assert "without its artifacts" in finding.message
    assert f"d2n store copy {home(store)}" in finding.advice
    shutil.rmtree(home(store))
    (finding,) = health.examine(uri)
    assert "which is not there" in finding.message
    with pytest.raises(TrackingError, match="needs a person"):
        health.mend(uri, finding)
    assert registry.list_aliases(open_store(uri), "d2n-toycity") == {"champion": "1"}


def test_artifacts_in_a_folder_of_choice_are_at_home(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = home(store) / "mlflow.db"
    chosen = open_store(store.uri, artifact_root=str(tmp_path / "big disk"))
    with chosen.start_run("d2n/b", "one") as run:
        run.log_text("x", "note.txt")
    assert health.examine(store.uri) == []
    assert places.outside(database) == [tmp_path / "big disk"]
    shutil.rmtree(tmp_path / "big disk")
    monkeypatch.setenv("D2N_ARTIFACT_ROOT", str(tmp_path / "big disk"))  # not mounted now
    assert places.former_homes(database, chosen=places.chosen_root()) == []


def test_places_are_not_touched_while_a_run_is_alive(store: Store, tmp_path: Path) -> None:
    champion(store)
    run = store.start_run("d2n/toycity", "alive")
    new = Path(shutil.move(home(store), tmp_path / "elsewhere"))
    uri = sqlite_uri(new / "mlflow.db")
    before = places_of(new / "mlflow.db")
    (finding,) = health.examine(uri)
    with pytest.raises(TrackingError, match=rf"{run.run_id} is RUNNING .*process {os.getpid()}"):
        health.mend(uri, finding)
    assert places_of(new / "mlflow.db") == before
    open_store(uri).client.set_terminated(run.run_id)
    health.mend(uri, finding)
    assert health.examine(uri) == []


def test_alive_runs_are_told_from_orphans(store: Store) -> None:
    mine = store.start_run("d2n/a", "mine").run_id
    store.start_run("d2n/a", "orphan", tags={names.PROCESS_START: "1"})
    bare = store.client.create_run(store.experiment_id("d2n/a")).info.run_id
    old = store.client.create_run(store.experiment_id("d2n/a"), start_time=1000).info.run_id
    found = {run_id: verdict.state for run_id, verdict in places.alive_runs(home(store) / "mlflow.db")}
    assert found == {mine: "alive", bare: "unknown"}
    assert old not in found


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("x" * 100)
    with pytest.raises(TrackingError, match="not a SQLite database"):
        places.former_homes(tmp_path / "mlflow.db")
