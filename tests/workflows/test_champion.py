from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest
from failing_store import going_away
from fake_arm import __file__ as fake_arm_file
from fake_arm import experiment, fake_arm, receiver

from d2n.config import TranslationExperiment, build_experiment
from d2n.errors import ConfigError, TrackingError
from d2n.tracking import names, registry
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, open_store
from d2n.workflows.champion import measure_champions
from tests.tracking.servers import MlflowServer, free_port
from tests.tracking.test_history import promoted, versions
from tests.tracking.test_registry import logged_model

NAME = "d2n-toycity"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a store with two champions after each other."""
    path = tmp_path_factory.mktemp("two") / "mlruns" / "mlflow.db"
    store = open_store(sqlite_uri(path))
    versions(store, 2)
    promoted(store, "1")
    promoted(store, "2")
    return path


@pytest.fixture
def store(two: Path, tmp_path: Path) -> Store:
    path = tmp_path / "mlflow.db"
    shutil.copyfile(two, path)
    return open_store(sqlite_uri(path))


def arms(store: Store) -> dict[str, list[str]]:
    """Version → states of its arms' runs."""
    found: dict[str, list[str]] = {}
    for run in store.find_runs():
        if names.ARM_OF in run.tags:
            found.setdefault(run.tags[names.ARM_OF], []).append(run.status)
    return found


def test_each_champion_has_one_arm_whose_map_is_on_the_version(store: Store) -> None:
    wanted = {"1": {"toycity/night": 0.01}, "2": {"toycity/night": 0.02}}
    for _ in range(2):
        assert measure_champions(NAME, experiment(), store=store, arm=fake_arm) == wanted
    assert arms(store) == {f"{NAME}/1": ["FINISHED"], f"{NAME}/2": ["FINISHED"]}
    version = registry.resolve(store, f"{NAME}@champion")
    assert version.tags[names.arm_map("map/toycity/night")] == "0.02"
    assert version.used_by == (version.tags[names.ARM_RUN],)
    assert f"/runs/{version.tags[names.ARM_RUN]}?" in version.description


def test_however_often_the_store_goes_away_each_champion_has_one_arm(store: Store) -> None:
    for number in range(2, 200, 5):
        seen, client = going_away(store, number, is_done=number % 2 == 0)
        with contextlib.suppress(TrackingError):
            measure_champions(NAME, experiment(), store=seen, arm=fake_arm)
        if client.count < number:
            break
    assert arms(store) == {f"{NAME}/1": ["FINISHED"], f"{NAME}/2": ["FINISHED"]}
    assert names.ARM_RUN in registry.resolve(store, f"{NAME}@champion").tags


def test_two_who_ask_at_once_make_one_run(store: Store) -> None:
    registry.veto(store, registry.resolve(store, f"{NAME}/1"), "halos")
    threads = [
        threading.Thread(
            target=measure_champions, args=(NAME, experiment()), kwargs={"store": store, "arm": fake_arm}
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert list(arms(store)) == [f"{NAME}/2"]  # the other was vetoed
    assert len(arms(store)[f"{NAME}/2"]) == 1


def test_a_translation_experiment_measures_nothing(store: Store) -> None:
    translation: Any = build_experiment({"preset": "toy", "name": "x", "translator": {"method": "pix2pix"}})
    assert isinstance(translation, TranslationExperiment)
    with pytest.raises(ConfigError, match="expected one of `d2n retrieve`"):
        measure_champions(NAME, translation, store=store, arm=fake_arm)
    assert arms(store) == {}


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str]]:
    module = receiver()
    monkeypatch.setattr(module, "secret", "quiet")
    monkeypatch.setattr(module.Receiver, "log_message", lambda *_: None)
    server = HTTPServer(("127.0.0.1", 0), module.Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield module, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def send(url: str, secret: str, at: float) -> int:
    body = b'{"entity": "model_version_alias", "data": {"alias": "champion"}}'
    stamp = str(int(at))
    signed = hmac.new(secret.encode(), f"id.{stamp}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "X-MLflow-Delivery-Id": "id",
        "X-MLflow-Timestamp": stamp,
        "X-MLflow-Signature": "v1," + base64.b64encode(signed).decode(),
    }
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_only_what_is_signed_and_new_wakes_the_receiver(listening: tuple[Any, str]) -> None:
    module, url = listening
    assert send(url, "other", time.time()) == 403
    assert send(url, "quiet", time.time() - 3600) == 403
    assert not module.wake.is_set()
    assert send(url, "quiet", time.time()) == 204
    assert module.wake.is_set()
    module.secret = ""  # nobody gave one: nothing is believed
    assert send(url, "", time.time()) == 403


@pytest.mark.slow
def test_with_the_receiver_killed_at_random_there_is_one_arm_a_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    database, port, rng = sqlite_uri(tmp_path / "mlruns" / "mlflow.db"), free_port(), random.Random(1)
    beside = open_store(database)  # where the files are put; the alias moves over HTTP
    logged = [logged_model(beside) for _ in range(6)]
    server = MlflowServer(tmp_path, database)
    server.start()
    store = open_store(server.uri)
    url = f"http://127.0.0.1:{port}/"
    store.client.create_webhook("champions", url, ["model_version_alias.created"], secret="quiet")  # noqa: S106
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri, "D2N_WEBHOOK_SECRET": "quiet"}

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, fake_arm_file, NAME, str(port)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    process, kills = start(), 0
    try:
        for number, (run_id, model_id) in enumerate(logged, 1):
            registry.register(beside, model_name=NAME, run_id=run_id, model_id=model_id)
            store.client.set_registered_model_alias(NAME, "champion", str(number))
            registry.record_move(store, NAME, "champion", str(number), None, "better", "promote")
            time.sleep(rng.uniform(2, 16))
            process.kill()
            process.wait()
            process, kills = start(), kills + 1
        deadline = time.monotonic() + 240
        wanted = {f"{NAME}/{number}": ["FINISHED"] for number in range(1, 7)}
        while arms(store) != wanted and time.monotonic() < deadline:
            time.sleep(1)
        time.sleep(3)
        sys.stdout.write(f"\n{kills} kills; arms {arms(store)}\n")
        assert arms(store) == wanted
        tags = [version.tags for version in registry.list_versions(store, NAME)]
        assert sorted(one[names.arm_map("map/toycity/night")] for one in tags) == [
            f"0.0{n}" for n in range(1, 7)
        ]
        run_id, model_id = logged_model(beside)
        alone = registry.register(beside, model_name=NAME, run_id=run_id, model_id=model_id)
        registry.set_alias(
            store, NAME, "champion", alone.version
        )  # the receiver lives: the webhook alone tells it
        deadline = time.monotonic() + 60
        while (
            names.ARM_RUN not in registry.resolve(store, f"{NAME}@champion").tags
            and time.monotonic() < deadline
        ):
            time.sleep(0.5)
        assert names.ARM_RUN in registry.resolve(store, f"{NAME}@champion").tags
    finally:
        process.kill()
        process.wait()
        server.stop()
