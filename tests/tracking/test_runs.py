from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from d2n.errors import TrackingError
from d2n.tracking import names
from d2n.tracking.runs import Store, open_store


def test_the_default_store_lies_in_the_folder_d2n_is_started_in(
    migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_bytes(migrated.read_bytes())
    store = open_store()
    assert store.uri == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    with store.start_run("d2n/toycity", "one") as run:
        run.log_text("hello", "notes/a.txt")
    monkeypatch.chdir("/")  # opened from elsewhere, everything is found
    again = open_store(store.uri)
    assert again.artifact(run.run_id, "notes/a.txt", tmp_path / "out").read_text() == "hello"
    assert (tmp_path / "mlruns" / "artifacts" / "d2n-toycity" / run.run_id).is_dir()


def test_the_environment_names_the_store_unless_an_argument_does(
    new_store: Callable[[], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = new_store().uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert open_store().uri == uri


def test_a_run_says_where_it_comes_from(store: Store) -> None:
    with store.start_run("d2n/toycity", "one", tags={names.KIND: "translation", names.SEED: 3}) as run:
        pass
    tags = store.get(run.run_id).tags
    assert tags[names.KIND] == "translation"
    assert tags[names.SEED] == "3"
    assert tags[names.HOST] == socket.gethostname()
    assert tags[names.PID] == str(os.getpid())
    assert "mlflow" in tags[names.PACKAGES]
    assert tags[names.ATTEMPT] == "1"
    assert "d2n.version" in tags


def test_a_child_run_knows_its_parent(store: Store) -> None:
    with store.start_run("d2n/toycity", "study") as parent:
        child = store.start_run("d2n/toycity", "trial", parent_run_id=parent.run_id)
        child.close()
    assert store.get(child.run_id).tags[names.PARENT_RUN] == parent.run_id
    found = store.find_runs(experiment="d2n/toycity", tags={names.PARENT_RUN: parent.run_id})
    assert [run.run_id for run in found] == [child.run_id]


def test_runs_are_found_by_experiment_tag_and_state(store: Store) -> None:
    for number, status in enumerate(["FINISHED", "FAILED", "KILLED", "FINISHED"]):
        run = store.start_run(
            "d2n/a" if number < 3 else "d2n/b", f"run {number}", tags={"d2n.seed": number % 2}
        )
        run.close(status)  # type: ignore[arg-type]  # the list's elements are plain text to mypy
    assert len(store.find_runs()) == 4
    assert {r.name for r in store.find_runs(experiment="d2n/a")} == {"run 0", "run 1", "run 2"}
    assert {r.name for r in store.find_runs(experiment=["d2n/a", "d2n/b"], tags={"d2n.seed": 1})} == {
        "run 1",
        "run 3",
    }
    assert {r.name for r in store.find_runs(status="FINISHED")} == {"run 0", "run 3"}
    assert {r.name for r in store.find_runs(status=("FAILED", "KILLED"))} == {"run 1", "run 2"}
    assert len(store.find_runs(max_results=2)) == 2
    assert [r.name for r in store.find_runs(experiment="d2n/b")] == ["run 3"]
    assert store.find_runs(experiment="d2n/none") == []


def test_a_tag_with_a_quote_is_found(store: Store) -> None:
    store.start_run("d2n/a", "one", tags={"note": "it's"}).close()
    store.start_run("d2n/a", "two", tags={"note": 'say "x"'}).close()
    assert [r.name for r in store.find_runs(tags={"note": "it's"})] == ["one"]
    assert [r.name for r in store.find_runs(tags={"note": 'say "x"'})] == ["two"]


def test_an_absent_run_and_an_absent_artifact_are_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="no run 'ffff'"):
        store.get("ffff")
    with pytest.raises(TrackingError, match="no run 'ffff'"):
        store.resume_run("ffff")
    run = store.start_run("d2n/a", "one")
    run.close()
    with pytest.raises(TrackingError, match=r"has no artifact 'nothing.txt'"):
        store.artifact(run.run_id, "nothing.txt", tmp_path)


def test_threads_that_ask_for_a_new_experiment_at_once_get_the_same(store: Store) -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(store.experiment_id("d2n/new"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_a_deleted_experiment_is_named_and_not_written_to(store: Store) -> None:
    store.client.delete_experiment(store.experiment_id("d2n/old"))
    with pytest.raises(TrackingError, match="experiment 'd2n/old' was deleted"):
        store.start_run("d2n/old", "one")


class _AnswerIsLost:
    """A client whose first create_run succeeds in the store and then loses the connection."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self.creations = 0

    def create_run(self, *arguments: Any, **options: Any) -> Any:
        self.creations += 1
        made = self._client.create_run(*arguments, **options)
        if self.creations == 1:
            raise ConnectionResetError("connection reset by peer")
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_a_creation_whose_answer_was_lost_makes_no_second_run(store: Store) -> None:
    client = store.client
    store.client = _AnswerIsLost(client)  # type: ignore[assignment]  # a fake for this test
    run = store.start_run("d2n/a", "one")
    store.client = client
    run.close()
    assert [r.run_id for r in store.find_runs(experiment="d2n/a")] == [run.run_id]


def test_an_artifact_folder_is_downloaded_whole(store: Store, tmp_path: Path) -> None:
    with store.start_run("d2n/a", "one") as run:
        run.log_text("1", "tables/a.txt")
        run.log_text("2", "tables/deep/b.txt")
    got = store.artifact(run.run_id, "tables", tmp_path / "out")
    assert sorted(str(p.relative_to(got)) for p in got.rglob("*") if p.is_file()) == ["a.txt", "deep/b.txt"]
