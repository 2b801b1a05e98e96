"""What can go, and above all what never goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from d2n.errors import TrackingError
from d2n.tracking import liveness, names, spare
from d2n.tracking.runs import Status, Store

TRANSLATION = {names.KIND: "translation", names.DATASET: "toycity"}


def add_run(store: Store, status: Status, tags: Mapping[str, str] | None = None) -> str:
    """A run with a checkpoint in its work folder."""
    run = store.start_run("d2n/toycity", "one", tags={**TRANSLATION, **(tags or {})})
    if status != "RUNNING":
        run.close(status)
    folder = store.work_root / run.run_id / "checkpoint"
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(b"x" * 1000)
    return run.run_id


def subjects(store: Store) -> set[str]:
    return {one.subject for one in spare.find(store)}


def test_the_folder_of_a_finished_run_can_go_and_that_of_one_to_resume_stays(store: Store) -> None:
    done = add_run(store, "FINISHED", {names.MODEL_ID: "m-1"})
    kept = [
        add_run(store, "KILLED", {names.MODEL_ID: "m-1"}),
        add_run(store, "FAILED"),
        add_run(store, "RUNNING"),
        add_run(store, "FINISHED"),  # its generator was never logged: the folder is all there is
    ]
    assert subjects(store) == {done}
    (found,) = spare.find(store)
    assert spare.free(store, found) == 1000
    assert not (store.work_root / done).exists()
    assert all((store.work_root / run_id / "checkpoint" / "state.pt").is_file() for run_id in kept)


def test_a_trials_folder_goes_when_its_study_has_told_its_state(store: Store) -> None:
    trial = {names.STUDY: "s", names.TRIAL: "0", names.MODEL_ID: "m-1"}
    add_run(store, "FINISHED", trial)  # its worker ended before the study heard of it
    add_run(store, "KILLED", {**trial, names.TRIAL_STATE: "FAIL"})
    pruned = add_run(store, "KILLED", {**trial, names.TRIAL_STATE: "PRUNED"})
    complete = add_run(store, "FINISHED", {**trial, names.TRIAL_STATE: "COMPLETE"})
    seed = add_run(store, "FINISHED", {**trial, names.PARENT_RUN: complete})
    assert subjects(store) == {pruned, complete, seed}


def test_a_run_that_was_deleted_is_not_kept(store: Store) -> None:
    gone = add_run(store, "KILLED")
    store.client.delete_run(gone)
    (store.work_root / "my-notes").mkdir()  # not d2n's
    (store.work_root / ("0" * 32)).symlink_to(store.work_root / "my-notes")
    assert subjects(store) == {gone}
    assert spare.deleted_runs(store) == 1


def test_caches_go_while_no_run_is_at_work(store: Store) -> None:
    (store.work_root / "features").mkdir(parents=True)
    assert subjects(store) == {"features"}
    add_run(store, "RUNNING")
    assert subjects(store) == set()


def test_a_folder_that_someone_works_in_stays(store: Store) -> None:
    run_id = add_run(store, "FINISHED", {names.MODEL_ID: "m-1"})
    (found,) = spare.find(store)
    lock = store.work_root / run_id / liveness.LOCK
    lock.touch()
    code = (
        "import fcntl, sys\nfile = open(sys.argv[1], 'r+')\nfcntl.lockf(file, fcntl.LOCK_EX)\n"
        "print('in', flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        assert spare.find(store) == []
        with pytest.raises(TrackingError, match="is being worked on by another process"):
            spare.free(store, found)
        other.communicate("")
    assert lock.is_file()


def test_a_model_goes_with_its_run_unless_a_version_or_an_arm_names_it(store: Store) -> None:
    made = {}
    for name in ("orphan", "registered", "used", "kept"):
        run = store.start_run("d2n/toycity", name, tags=TRANSLATION)
        model = store.client.create_logged_model(
            run.experiment_id, name="generator", source_run_id=run.run_id
        )
        store.client.finalize_logged_model(model.model_id, "READY")
        folder = Path(model.artifact_location.removeprefix("file://"))
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_bytes(b"x" * 10)
        run.close()
        made[name] = (run.run_id, model.model_id, folder)
        if name != "kept":
            store.client.delete_run(run.run_id)
    store.client.create_registered_model("d2n-toycity")
    run_id, _, folder = made["registered"]
    store.client.create_model_version("d2n-toycity", folder.as_uri(), run_id)
    store.start_run("d2n/toycity", "arm", tags={names.GENERATOR_MODEL_ID: made["used"][1]}).close()
    (found,) = spare.find(store)
    assert (found.kind, found.subject, found.size_bytes) == ("logged model", made["orphan"][1], 10)
    assert spare.free(store, found) == 10
    assert not made["orphan"][2].exists()
    assert all((made[name][2] / "MLmodel").is_file() for name in ("registered", "used", "kept"))
    assert spare.find(store) == []
