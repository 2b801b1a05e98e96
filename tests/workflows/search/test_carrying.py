"""Trials that move between machines which share no disk: a study's store and the artifact store are enough."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from fake_training import FAKE, STEP_S, events
from survival import STUDY, Place, lay_out, wait_until

from d2n.files.reading import file_sha256, files_below
from d2n.tracking import carried
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import open_store
from d2n.workflows import search
from d2n.workflows.search import carrying
from tests.tracking.servers import S3, MlflowServer
from tests.workflows.conftest import TINY_TRANSLATION


@pytest.fixture(scope="module")
def tracking_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    open_store(sqlite_uri(path))
    return path


def run(place: Place, work: Path) -> None:
    work.mkdir(exist_ok=True)
    shutil.copy(place.work / STEP_S, work)
    search.run_search(
        search.SearchRequest(
            place.study,
            tracking_uri=place.tracking_uri,
            study_storage=place.study_storage,
            work_root=work,
            carry=True,
        ),
        FAKE,
    )


def test_a_trial_goes_on_in_another_work_folder_and_leaves_nothing_behind(
    tmp_path: Path, tracking_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(tracking_database, tmp_path / "mlflow.db")
    place = lay_out(tmp_path, study=STUDY.replace("trials: 40", "trials: 2"))
    looked = carrying.Carrier.look
    counts = iter(range(100))

    def interrupted_at_the_fourth(self: carrying.Carrier) -> None:
        looked(self)
        if next(counts) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(carrying.Carrier, "look", interrupted_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        run(place, tmp_path / "a")
    (folder,) = [one for one in (tmp_path / "a").iterdir() if one.is_dir()]
    store = open_store(place.tracking_uri)
    found = carried.newest(store, folder.name)
    assert found is not None
    assert "checkpoint.json" in found.sums
    assert not list(folder.glob(".carried-*"))
    run(place, tmp_path / "b")
    begun = events(tmp_path / "b", folder.name)
    starts = [one["step"] for one in begun if one["what"] == "start"]
    assert starts == [0, events(tmp_path / "a", folder.name)[-1]["step"]]  # its own events came along
    assert carried.newest(store, folder.name) is None


@pytest.mark.parametrize("walk", [carrying._marks, carrying._files, lambda folder: list(files_below(folder))])
def test_what_another_thread_removes_meanwhile_is_not_missed(
    tmp_path: Path, walk: Callable[[Path], object]
) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0/checkpoint-000001.json").touch()
    over = threading.Event()

    def make_and_remove() -> None:
        while not over.is_set():
            links = tmp_path / ".carried-x"
            for name in ("0/a/b", "1/a/b"):
                (links / name).mkdir(parents=True)
                (links / name / "checkpoint-000001.json").touch()
            shutil.rmtree(links)

    thread = threading.Thread(target=make_and_remove)
    thread.start()
    try:
        found = [walk(tmp_path) for _ in range(1000)]
    finally:
        over.set()
        thread.join()
    assert all(found)


def test_files_are_fetched_where_they_are_ahead_of_those_here(
    tmp_path: Path, tracking_database: Path
) -> None:
    """A run of two seeds: the second has begun elsewhere."""
    store = open_store(sqlite_uri(tracking_database))
    run_id = store.start_run("d2n/x", "x", tags={}).run_id
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, names in (
        (here, ["0/checkpoint-000012"]),
        (there, ["0/checkpoint-000012", "1/checkpoint-000003"]),
    ):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(str(folder.name))
    carried.put(store, run_id, {str(path.relative_to(there)): path for path in there.rglob("*.json")})
    carrying.fetch(store, run_id, here)
    assert (here / "1/checkpoint-000003.json").read_text() == "there"
    (here / "1/checkpoint-000004.json").write_text("ahead")
    (here / "1/checkpoint-000003.json").unlink()
    carrying.fetch(store, run_id, here)
    assert not (here / "1/checkpoint-000003.json").exists()  # what is here is newer


@pytest.mark.parametrize("call", [1, 2])  # the manifest's, the file's
def test_what_its_sender_replaces_meanwhile_is_fetched_anew(
    tmp_path: Path, tracking_database: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Another worker may still send while one takes its trial over: stopped beyond its lease, then sent on."""
    store = open_store(sqlite_uri(tracking_database))
    run_id = store.start_run("d2n/x", "replaced", tags={}).run_id

    def put(number: int) -> None:
        path = tmp_path / f"sent/checkpoint-{number:06d}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{{"step": {number}}}')
        carried.put(store, run_id, {path.name: path})

    put(1)
    calls, download = 0, store.client.download_artifacts

    def replaced_at_the_call(*args: str) -> str:
        nonlocal calls
        calls += 1
        if calls == call:
            put(2)
        return download(*args)

    monkeypatch.setattr(store.client, "download_artifacts", replaced_at_the_call)
    carrying.fetch(store, run_id, tmp_path / "here")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["checkpoint-000002.json"]


def test_links_hold_the_newest_checkpoint_of_each_folder(tmp_path: Path) -> None:
    for name in ("0/checkpoint-000001", "0/checkpoint-000002", "1/checkpoint-000001"):
        for suffix in ("json", "pt"):
            path = tmp_path / "run" / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * (2 << 20 if suffix == "pt" else 1))
    (tmp_path / "run" / ".lock").touch()
    links = carrying._linked(tmp_path / "run")
    found = sorted(path.relative_to(links).as_posix() for path in links.rglob("*") if path.is_file())
    assert found == [
        f"{name}.{end}" for name in ("0/checkpoint-000002", "1/checkpoint-000001") for end in ("json", "pt")
    ]
    assert (links / found[1]).samefile(tmp_path / "run" / found[1])


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 store of the test's own, with a bucket."""
    if not S3.is_here():
        pytest.skip("moto[server] and boto3 are not installed: no S3 here")
    server = S3(tmp_path, "mlflow")
    for name, value in {**S3.ENVIRONMENT, "MLFLOW_S3_ENDPOINT_URL": server.address}.items():
        monkeypatch.setenv(name, value)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_workers_trial_goes_on_elsewhere_to_the_bit(tmp_path: Path, s3: str) -> None:
    """kill -9 of one of two workers; the other, with a disk of its own, goes on from S3 to the weights of one alone."""
    from d2n.datasets import toycity

    toycity.make(tmp_path / "city", seed=0, scale=0.02, workers=1)
    server = MlflowServer(tmp_path, sqlite_uri(tmp_path / "mlflow.db"), "s3://mlflow/artifacts")
    server.start()
    try:
        alone = _searched(tmp_path, "alone", server.uri).wait_for_weights()
        moved = _searched(tmp_path, "moved", server.uri)
        worker = moved.start("a")
        wait_until(lambda: moved.carried_checkpoint() >= 1, 300)
        other = moved.start("b")  # beside it: it waits for a trial
        wait_until(lambda: moved.carried_checkpoint() >= 2, 300)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        assert other.wait(600) == 0, (tmp_path / "moved-b.log").read_text()[-3000:]
        assert moved.weights("b") == alone
        log = (tmp_path / "moved-b.log").read_text()
        assert "goes on from the artifact store" in log
        assert "resumed at step" in log
    finally:
        server.stop()


class _searched:  # noqa: N801 - reads as what it is
    """A study of one trial of a tiny real training; each worker has a work folder of its own."""

    def __init__(self, folder: Path, name: str, uri: str) -> None:
        self.folder, self.name, self.uri = folder, name, uri
        experiment = {
            **TINY_TRANSLATION,
            "name": name,
            "dataset": {"name": "toycity", "image_size_px": 32, "root": str(folder / "city")},
            "translator": {**TINY_TRANSLATION["translator"], "method": "pix2pix", "dropout": True},
            "training": {
                "n_epochs": 12,
                "steps_per_epoch": 10,
                "batch_size": 2,
                "checkpoint_every_epochs": 1,
            },
            "evaluation": {
                **TINY_TRANSLATION["evaluation"],
                "extractor": "random-squeezenet1_1",
                "resize_px": 48,
                "every_epochs": 3,
            },
        }
        study = {
            "name": name,
            "experiment": f"{name}-experiment.yaml",
            "space": {"translator.lr": {"type": "float", "low": 1e-4, "high": 1e-3}},
            "objective": "fid",
            "pruner": "none",
            "enqueue": [{"translator.lr": 2e-4}],
            "stop": {"trials": 1},
        }
        (folder / f"{name}-experiment.yaml").write_text(yaml.safe_dump(experiment))
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(study))

    def start(self, disk: str) -> subprocess.Popen[bytes]:
        place = self.folder / f"{self.name}-{disk}"
        place.mkdir()
        command = [
            sys.executable,
            "-m",
            "d2n",
            "-v",
            "search",
            str(self.folder / f"{self.name}.yaml"),
            "--carry",
        ]
        storage = f"sqlite:///{self.folder / 'optuna.db'}"
        with (self.folder / f"{self.name}-{disk}.log").open("wb") as log:
            return subprocess.Popen(
                [*command, "--tracking-uri", self.uri, "--study-storage", storage],
                cwd=place,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_for_weights(self) -> list[str]:
        assert self.start("a").wait(600) == 0, (self.folder / f"{self.name}-a.log").read_text()[-3000:]
        return self.weights("a")

    def weights(self, disk: str) -> list[str]:
        found = sorted(
            (self.folder / f"{self.name}-{disk}" / "mlruns" / "work").rglob("generator.safetensors")
        )
        assert found
        return [file_sha256(path) for path in found]

    def carried_checkpoint(self) -> int:
        """The number of the newest checkpoint in the artifact store."""
        store = open_store(self.uri)
        runs = [one for one in store.find_runs(tags={"d2n.study": self.name}) if "d2n.trial" in one.tags]
        found = carried.newest(store, runs[0].run_id) if runs else None
        return max((carrying._named(name) for name in found.sums), default=0) if found else 0
