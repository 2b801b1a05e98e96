from __future__ import annotations

import os
import shlex
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.experiments import commands

from d2n.errors import TrackingError
from d2n.tracking import names, registry
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, TrackedRun, open_store


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


@pytest.mark.parametrize("folder", ["mlruns", "what?now 'é"])
def test_the_command_that_the_message_gives_brings_a_deleted_experiment_back(
    folder: str, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / folder / "mlflow.db"
    path.parent.mkdir()
    shutil.copyfile(migrated, path)
    store = open_store(sqlite_uri(path))
    with store.start_run("d2n/old", "one") as run:
        run.log_metrics({"score/fid": 1.0}, step=1)
    store.client.delete_experiment(run.experiment_id)
    with pytest.raises(TrackingError) as caught:
        store.experiment_id("d2n/old")
    assert "mlflow gc" not in str(caught.value)  # it removes for good
    assignment, *words = shlex.split(str(caught.value).split("`")[1])
    monkeypatch.setenv(*assignment.split("=", 1))  # type: ignore[arg-type] # two words
    assert words[:2] == ["mlflow", "experiments"]
    done = CliRunner().invoke(commands, words[2:])
    assert done.exit_code == 0, done.output
    assert store.get(run.run_id).metrics == {"score/fid": 1.0}
    assert store.find_runs(experiment="d2n/old")[0].run_id == run.run_id
    assert [file.name for file in tmp_path.iterdir()] == [folder]


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "o'brien",
        'say "x"',
        'o\'brien says "x"',
        "ends in \\",
        "a\nb",
        "a' or name = 'b",
        "me@home",
        "%",
        "a`b",
    ],
)
def test_runs_are_found_by_a_tag_of_any_text(store: Store, value: str) -> None:
    for tag in (value, "another", f"{value}x"):
        store.start_run("d2n/a", "one", tags={"d2n.dataset": tag}).close()
    found = store.find_runs(tags={"d2n.dataset": value}, status="FINISHED")
    assert [record.tags["d2n.dataset"] for record in found] == [value]
    assert len(store.find_runs(tags={"d2n.dataset": value}, max_results=1)) == 1


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 300])
def test_a_runs_name_is_one_line(store: Store, name: str) -> None:
    with pytest.raises(TrackingError, match="one printable line"):
        store.start_run("d2n/a", name)


@pytest.mark.parametrize("folder", ["what?now", "a%20b", "100%", "a b", "a#1", "a:b@c", "čas", "it's;x&y"])
def test_a_working_folder_of_any_name_holds_all_of_its_store(
    folder: str, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / folder
    (here / "mlruns").mkdir(parents=True)
    shutil.copyfile(migrated, here / "mlruns" / "mlflow.db")
    monkeypatch.chdir(here)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = open_store()
    run_id, model_id = logged_model(store)
    run = store.append_to(run_id)
    run.log_image(np.zeros((4, 4, 3), np.uint8), "samples/grid", 1)
    run.log_table({"a": [1]}, "tables/a.json")
    registry.register(store, model_name="d2n-x", run_id=run_id, model_id=model_id, alias="champion")
    again = open_store(store.uri)
    assert registry.resolve(again, "d2n-x@champion").run_id == run_id
    assert (registry.download(again, "d2n-x@champion", here / "out") / "MLmodel").is_file()
    assert again.artifact(run_id, "tables/a.json", here / "got").is_file()
    assert TrackedRun(again, run_id, "", resumed=True)._done_images == {("samples/grid", 1)}
    assert again.display_uri == "mlruns/mlflow.db"
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    assert sorted(path.name for path in here.iterdir()) == ["got", "mlruns", "out"]


def test_an_artifact_root_keeps_its_options_behind_the_folder(migrated: Path, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copyfile(migrated, path)
    store = open_store(sqlite_uri(path), artifact_root="s3://bucket/a?region=b")
    made = store.client.get_experiment(store.experiment_id("d2n/x"))
    assert made.artifact_location == "s3://bucket/a/d2n-x?region=b"


def logged_model(store: Store) -> tuple[str, str]:
    """(run id, logged model id) of a model whose files are there, without an export."""
    with store.start_run("d2n/x", "one") as run:
        model = store.client.create_logged_model(run.experiment_id, "generator", run.run_id)
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / "data").mkdir()
            (Path(scratch) / "MLmodel").write_text("flavors: {}\n")
            (Path(scratch) / "data" / "model.pt2").write_bytes(b"x")
            store.client.log_model_artifacts(model.model_id, scratch)
        store.client.finalize_logged_model(model.model_id, "READY")
    return run.run_id, model.model_id


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
