"""Studies that lose workers, databases and servers, and end whole all the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from survival import (
    STUDY,
    Attacker,
    Place,
    check_whole,
    holders_of,
    kill_a_worker,
    lay_out,
    search_on,
    wait_until,
)

from d2n.studies.leases import LeaseTable
from d2n.studies.storage import storage_url
from d2n.studies.study import load_optuna
from tests.tracking.servers import MlflowServer, Postgres

TRIALS = 40


def on_postgres(place: Place, server: Postgres) -> Place:
    return replace(place, study_storage=server.uri)


@pytest.mark.slow
def test_a_killed_workers_trial_is_resumed_by_another_in_the_same_run(tmp_path: Path) -> None:
    """One worker of two is killed while it holds a trial; the trial goes on from its checkpoint."""
    place = lay_out(tmp_path, study=STUDY.replace("trials: 40", "trials: 4"), step_s=0.4)
    searching = multiprocessing.get_context("spawn").Process(target=search_on, args=(place, 1))
    searching.start()
    wait_until(lambda: len(holders_of(place)) == 1, 120)
    assert searching.pid is not None
    steps = place.work
    wait_until(lambda: any(steps.glob("*/checkpoint.json")), 60)
    os.kill(searching.pid, signal.SIGKILL)
    searching.join()
    search_on(place, 1)
    counts = check_whole(place, 4)
    assert counts["resumed"] == 1
    assert counts["attempts"] == 5


@pytest.mark.slow
def test_sigterm_gives_the_trials_back_and_closes_the_runs(tmp_path: Path) -> None:
    place = lay_out(tmp_path, study=STUDY.replace("trials: 40", "trials: 3"), step_s=0.3)
    searching = multiprocessing.get_context("spawn").Process(target=search_on, args=(place, 2))
    searching.start()
    wait_until(lambda: len(holders_of(place)) > 0, 120)
    assert searching.pid is not None
    os.kill(searching.pid, signal.SIGTERM)
    searching.join(60)
    assert searching.exitcode not in (None, 0)
    assert {lease.state for lease in LeaseTable(place.study_storage).open("survivor")} == {"released"}
    search_on(place, 1)
    assert check_whole(place, 3)["attempts"] == 3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_four_workers_on_sqlite_claim_each_trial_once(tmp_path: Path) -> None:
    place = lay_out(tmp_path, step_s=0.05)
    search_on(place, 4)
    assert check_whole(place, TRIALS) == {"resumed": 0, "attempts": TRIALS}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_on_sqlite_survives_its_workers(tmp_path: Path) -> None:
    place = lay_out(tmp_path, step_s=0.4)
    with Attacker(kill_a_worker(place, seed=0), every_s=3.0) as attacker:
        search_on(place, 4)
    counts = check_whole(place, TRIALS)
    assert attacker.count >= 10
    assert counts["attempts"] > TRIALS
    assert counts["resumed"] > 0


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(900)
def test_four_workers_on_postgresql_claim_each_trial_once(tmp_path: Path, postgres: Postgres) -> None:
    place = on_postgres(lay_out(tmp_path, step_s=0.05), postgres)
    search_on(place, 4)
    assert check_whole(place, TRIALS) == {"resumed": 0, "attempts": TRIALS}


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(1800)
def test_a_study_on_postgresql_survives_its_workers(tmp_path: Path, postgres: Postgres) -> None:
    place = on_postgres(lay_out(tmp_path, step_s=0.4), postgres)
    with Attacker(kill_a_worker(place, seed=1), every_s=3.0) as attacker:
        search_on(place, 4)
    counts = check_whole(place, TRIALS)
    assert attacker.count >= 10
    assert counts["resumed"] > 0


@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_a_study_ends_whole_when_postgresql_restarts(tmp_path: Path, postgres: Postgres) -> None:
    place = on_postgres(
        lay_out(tmp_path, study=STUDY.replace("trials: 40", "trials: 8"), step_s=0.2), postgres
    )

    def restart() -> bool:
        if not any((place.work).glob("*/checkpoint.json")):
            return False
        postgres.stop()
        time.sleep(3)
        postgres.start()
        return True

    with Attacker(restart, every_s=5.0) as attacker:
        search_on(place, 2)
    assert attacker.count >= 1
    check_whole(place, 8)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_ends_whole_when_the_mlflow_server_is_away_for_30_s(tmp_path: Path) -> None:
    place = lay_out(tmp_path, study=STUDY.replace("trials: 40", "trials: 8"), step_s=0.3)
    server = MlflowServer(tmp_path, place.tracking_uri)
    server.start()
    away = [0]

    def outage() -> bool:
        if away[0] or not any(place.work.glob("*/checkpoint.json")):
            return False
        server.stop()
        time.sleep(30)
        server.start()
        away[0] += 1
        return True

    try:
        remote = replace(place, tracking_uri=server.uri)
        with Attacker(outage, every_s=2.0):
            search_on(remote, 2)
        assert away[0] == 1
        check_whole(remote, 8)
    finally:
        server.stop()


@pytest.mark.postgres
def test_postgresql_keeps_studies_and_leases_in_one_database(tmp_path: Path, postgres: Postgres) -> None:
    place = on_postgres(lay_out(tmp_path, study=STUDY.replace("trials: 40", "trials: 2")), postgres)
    search_on(place, 1)
    check_whole(place, 2)
    assert load_optuna(storage_url(place.study_storage), "survivor").user_attrs["d2n.dataset"] == "toycity"
