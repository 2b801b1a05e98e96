"""The studies' part of d2n doctor: each thing that can be wrong is found, mended, and then gone."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from pathlib import Path

import pytest
from survival import STUDY, Place, lay_out, search_on

from d2n.studies import load_study, open_study
from d2n.studies.claims import Claim, claim
from d2n.studies.leases import LeaseTable, this_process
from d2n.studies.storage import storage_url
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import open_store
from d2n.workflows.search.health import examine


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A study of two trials, as it should be."""
    place = lay_out(tmp_path_factory.mktemp("finished"), study=STUDY.replace("trials: 40", "trials: 2"))
    search_on(place, 1)
    return place


@pytest.fixture
def place(finished: Place, tmp_path: Path) -> Place:
    """A copy that a test may break."""
    copy = shutil.copytree(finished.folder, tmp_path / "copy")
    return Place(copy, sqlite_uri(copy / "mlflow.db"), f"sqlite:///{copy}/optuna.db")


def execute(database: Path, statement: str) -> None:
    connection = sqlite3.connect(database)
    connection.execute(statement)
    connection.commit()
    connection.close()


def look(place: Place, *, mend: bool = False) -> tuple[list[str], bool]:
    return examine(mend=mend, tracking_uri=place.tracking_uri, study_storage=place.study_storage)


def run_of(place: Place, trial: str) -> str:
    (found,) = open_store(place.tracking_uri).find_runs(tags={"d2n.trial": trial})
    return found.run_id


def test_a_study_that_ended_well_is_well(place: Place) -> None:
    assert look(place) == ([], True)


def test_without_a_storage_there_is_nothing_to_find(tmp_path: Path) -> None:
    assert examine(mend=False, study_storage=f"sqlite:///{tmp_path}/none.db") == ([], True)


def test_a_run_that_stayed_open_is_closed_with_its_trials_state(place: Place) -> None:
    store = open_store(place.tracking_uri)
    run_id = run_of(place, "0")
    store.client.update_run(run_id, "RUNNING")
    lines, is_well = look(place)
    assert not is_well
    assert lines[0] == f"studies: survivor: trial 0 is COMPLETE, its run {run_id} is RUNNING"
    assert look(place, mend=True)[1]
    assert store.get(run_id).status == "FINISHED"
    assert look(place) == ([], True)


def test_a_stale_lease_is_released(place: Place) -> None:
    (place.folder / "study.yaml").write_text(STUDY.replace("trials: 40", "trials: 3"))
    study = open_study(load_study(place.study), storage_url(place.study_storage))
    dead = dataclasses.replace(this_process("gone"), pid=2**22 + 5)
    assert isinstance(claim(study, dead), Claim)
    lines, is_well = look(place)
    assert not is_well
    assert "trial 2 is held by" in lines[0]
    assert "the next `d2n search` resumes it" in lines[1]
    look(place, mend=True)
    assert [lease.state for lease in LeaseTable(study.url).open("survivor")] == ["released"]
    search_on(place, 1)
    assert look(place) == ([], True)


def test_a_run_that_no_trial_knows_is_deleted(place: Place) -> None:
    store = open_store(place.tracking_uri)
    tags = {k: v for k, v in store.get(run_of(place, "1")).tags.items() if k.startswith("d2n.study")}
    stray = store.start_run("d2n/toycity", "stray", tags={**tags, "d2n.trial": "1"})
    stray.close("KILLED")
    lines, _ = look(place)
    assert lines[0] == f"studies: survivor: run {stray.run_id} says it is trial 1, which does not know it"
    assert look(place, mend=True)[1]
    assert look(place) == ([], True)


def test_a_trial_whose_run_is_gone_is_for_a_person(place: Place) -> None:
    store = open_store(place.tracking_uri)
    run_id = run_of(place, "1")
    store.client.delete_run(run_id)
    lines, is_well = look(place, mend=True)
    assert not is_well
    assert f"names the run {run_id}, which this tracking store does not have" in lines[0]


def test_a_half_made_storage_is_named_and_mended(place: Place) -> None:
    execute(place.folder / "optuna.db", "drop table trial_heartbeats")
    lines, is_well = look(place)
    assert not is_well
    assert "is half-made: it lacks trial_heartbeats" in lines[0]
    assert look(place, mend=True)[1]
    assert look(place) == ([], True)


def test_mlflows_database_is_no_study_storage(place: Place) -> None:
    lines, is_well = examine(mend=False, tracking_uri=place.tracking_uri, study_storage=place.tracking_uri)
    assert not is_well
    assert "is MLflow's database" in lines[0]
