from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy

from d2n.errors import TrackingError
from d2n.tracking import health, registry, schema
from d2n.tracking.connection import resolve_uri, sqlite_uri
from d2n.tracking.runs import Store, open_store
from tests.tracking.servers import MlflowServer, Postgres

_START = """
import sys
from d2n.tracking.runs import open_store
with open_store(sys.argv[1]).start_run("d2n/a", sys.argv[2]) as run:
    run.log_metrics({"loss/g": 1.0}, step=1)
"""
OUTAGE_S = 15.0


@pytest.fixture
def server(tmp_path: Path, migrated: Path) -> Iterator[MlflowServer]:
    shutil.copyfile(migrated, tmp_path / "server.db")
    served = MlflowServer(tmp_path, sqlite_uri(tmp_path / "server.db"))
    served.start()
    yield served
    served.stop()


def log_through(store: Store, outage: Callable[[], None], num_steps: int = 60) -> str:
    """A run that logs while `outage` takes the store away and brings it back."""
    run = store.start_run("d2n/a", "through", params={"lr": 0.1})
    breaking = threading.Thread(target=outage)
    for step in range(num_steps):
        if step == 5:
            breaking.start()
        run.log_metrics({f"loss/{i}": float(step) for i in range(5)}, step=step)
        if step % 10 == 0:
            run.log_image(np.full((8, 8, 3), step, np.uint8), "samples/grid", step)
            run.log_text(str(step), f"notes/{step}.txt")
        time.sleep(0.05)
    breaking.join()
    run.close()
    return run.run_id


def assert_whole(store: Store, run_id: str, num_steps: int = 60) -> None:
    assert store.get(run_id).status == "FINISHED"
    for i in range(5):
        history = store.metric_history(run_id, f"loss/{i}")
        assert history == [(step, float(step)) for step in range(num_steps)]  # each step once
    notes = [f.path for f in store.client.list_artifacts(run_id, "notes")]
    assert len(notes) == num_steps // 10
    assert health.examine(store.uri) == []


@pytest.mark.slow
def test_a_run_lives_through_a_server_that_is_stopped_and_comes_back(server: MlflowServer) -> None:
    store = open_store(server.uri)

    def outage() -> None:
        server.stop()
        time.sleep(OUTAGE_S)
        server.start()

    run_id = log_through(store, outage)
    assert_whole(store, run_id)
    assert store.get(run_id).params == {"lr": "0.1"}


@pytest.mark.slow
def test_a_run_can_be_started_while_the_server_is_away(server: MlflowServer) -> None:
    store = open_store(server.uri)
    server.stop()
    back = threading.Timer(3.0, server.start)
    back.start()
    with store.start_run("d2n/new", "late") as run:
        run.log_metrics({"loss/g": 1.0}, step=1)
    back.join()
    assert [r.run_id for r in store.find_runs(status="FINISHED")] == [run.run_id]


@pytest.mark.slow
def test_models_are_registered_and_fetched_over_http(server: MlflowServer, tmp_path: Path) -> None:
    store = open_store(server.uri)
    with store.start_run("d2n/a", "one") as run:
        model = store.client.create_logged_model(run.experiment_id, "generator", run.run_id)
        (tmp_path / "m" / "data").mkdir(parents=True)
        (tmp_path / "m" / "MLmodel").write_text("flavors: {}\n")
        (tmp_path / "m" / "data" / "model.pt2").write_bytes(b"weights")
        store.client.log_model_artifacts(model.model_id, str(tmp_path / "m"))
        store.client.finalize_logged_model(model.model_id, "READY")
    made = registry.register(
        store, model_name="d2n-toycity", run_id=run.run_id, model_id=model.model_id, alias="champion"
    )
    assert made.model_id == model.model_id
    got = registry.download(store, "d2n-toycity@champion", tmp_path / "out")
    assert (got / "data" / "model.pt2").read_bytes() == b"weights"
    assert run.url.startswith(server.uri)


@pytest.mark.postgres
def test_a_run_lives_through_a_restart_of_postgresql(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("D2N_ARTIFACT_ROOT", str(tmp_path / "artifacts"))
    store = open_store(postgres.uri)

    def outage() -> None:
        postgres.stop()
        time.sleep(3)
        postgres.start()

    assert_whole(store, log_through(store, outage))
    assert (tmp_path / "artifacts" / "d2n-a").is_dir()


@pytest.mark.postgres
def test_processes_that_start_at_once_on_an_empty_postgresql_all_log(postgres: Postgres) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _START, postgres.uri, f"run {n}"], stderr=subprocess.PIPE, text=True
        )
        for n in range(4)
    ]
    errors = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    assert schema.state(resolve_uri(postgres.uri)) == "current"
    assert len(open_store(postgres.uri).find_runs(status="FINISHED")) == 4


@pytest.mark.postgres
def test_what_mends_a_file_is_not_offered_to_a_server(postgres: Postgres) -> None:
    store = open_store(postgres.uri)
    with store.start_run("d2n/a", "kept"):
        pass
    engine = sqlalchemy.create_engine(store.uri)
    with engine.begin() as database:
        database.execute(sqlalchemy.text("delete from alembic_version"))
    engine.dispose()
    with pytest.raises(TrackingError, match="bring back a backup") as refused:
        open_store(store.uri)
    assert "--mend" not in str(refused.value)
