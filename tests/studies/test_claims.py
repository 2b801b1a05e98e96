"""Claims by workers of two versions, and under a clock that is wrong; the table of 0.1 is taken over."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from d2n import __version__, studies
from d2n.errors import ConfigError, StudyError
from d2n.studies import leases as lease_table
from d2n.studies import study as opening
from d2n.studies.claims import Claim, claim, stop_reason
from d2n.studies.definition import StopConfig
from d2n.studies.leases import LeaseTable, Me, alive_in, this_process
from d2n.studies.study import OpenStudy
from tests.tracking.servers import Postgres

STUDY = "name: s\nexperiment: e.yaml\nspace: {translator.lr: {type: float, low: 1e-5, high: 1e-2}}\nsampler: random\n"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    (folder / "e.yaml").write_text("preset: toy\ntranslator: {method: pix2pix}\n")
    (folder / "s.yaml").write_text(STUDY)
    opened = open_in(folder)
    opened.optuna._storage._backend.engine.dispose()  # type: ignore[attr-defined] # the files are whole now
    opened.leases.engine.dispose()
    return folder


@pytest.fixture
def study(stored: Path, tmp_path: Path) -> OpenStudy:
    shutil.copytree(stored, tmp_path / "s")
    return open_in(tmp_path / "s")


def open_in(folder: Path) -> OpenStudy:
    url = studies.storage_url(f"sqlite:///{folder}/optuna.db")
    return opening.open_study(studies.load_study(folder / "s.yaml"), url)


def other(**changes: object) -> Me:
    """A worker in process 1 of this machine, which lives."""
    return dataclasses.replace(this_process("other"), pid=1, pid_started=_started(1), **changes)  # type: ignore[arg-type]


def _started(pid: int) -> float:
    import psutil

    return psutil.Process(pid).create_time()


def test_a_worker_of_another_version_is_refused_with_both(study: OpenStudy) -> None:
    assert isinstance(claim(study, other(version="0.0.7")), Claim)
    with pytest.raises(StudyError) as caught:
        claim(study, this_process("me"))
    assert "is worked on by d2n 0.0.7 (" in str(caught.value)
    assert "/other), this is d2n " + __version__ in str(caught.value)
    assert len(study.trials()) == 1  # nothing was taken


def test_a_study_whose_workers_have_ended_goes_on_with_another_version(study: OpenStudy) -> None:
    gone = dataclasses.replace(other(version="0.0.7"), pid_started=1.0)  # a process that is no more
    assert isinstance(claim(study, gone), Claim)
    taken = claim(study, this_process("me"))
    assert isinstance(taken, Claim)
    assert taken.is_resumed
    with pytest.raises(StudyError, match=f"worked on by d2n {__version__} .*this is d2n 0.0.7"):
        claim(study, other(version="0.0.7"))  # it was between two trials


def test_a_trial_whose_maker_died_before_its_lease_gets_its_settings(
    study: OpenStudy, tmp_path: Path
) -> None:
    its_maker = open_in(tmp_path / "s")  # another process, as far as Optuna knows
    its_maker.optuna._storage.create_new_trial(its_maker.optuna._study_id)
    claimed = claim(study, this_process("me"))
    assert isinstance(claimed, Claim)
    assert claimed.trial.number == 0
    assert 1e-5 <= claimed.trial.suggest_float("translator.lr", 1e-5, 1e-2) <= 1e-2


def test_a_lease_of_a_trial_that_is_not_there_is_one_line(study: OpenStudy) -> None:
    with study.leases.exclusive("s") as connection:
        study.leases.take(connection, "s", 7, dataclasses.replace(other(), pid=2**22 + 7), 60.0)
    with pytest.raises(StudyError, match=r"trial 7 of s is held by \S+/other and is not in .*an older copy"):
        claim(study, this_process())


def test_the_leases_of_the_version_before_are_taken_over(stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored, tmp_path / "s")
    with sqlite3.connect(tmp_path / "s" / "optuna-leases.db") as opened:
        opened.execute("alter table d2n_studies drop column version")
        opened.execute("update d2n_schema set version = 1")
    assert isinstance(claim(open_in(tmp_path / "s"), this_process("me")), Claim)
    with sqlite3.connect(tmp_path / "s" / "optuna-leases.db") as opened:
        assert opened.execute("select version from d2n_studies").fetchall() == [(__version__,)]


def test_the_leases_of_a_later_d2n_are_refused_with_what_to_do(stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored, tmp_path / "s")
    with sqlite3.connect(tmp_path / "s" / "optuna-leases.db") as opened:
        opened.execute("update d2n_schema set version = 9")
    with pytest.raises(
        StudyError, match=r"version 9, expected 2: a later d2n .*pip install -U d2n"
    ) as caught:
        open_in(tmp_path / "s")
    assert "\n" not in str(caught.value)


class _Ahead(LeaseTable):
    """A database whose clock is an hour ahead of this machine's."""

    def now(self, connection: object) -> float:
        return time.time() + 3600


def test_leases_go_by_the_databases_clock(study: OpenStudy) -> None:
    ahead = dataclasses.replace(study, leases=_Ahead(study.url))
    assert ahead.leases.skew_s() == pytest.approx(-3600, abs=5)
    taken = claim(ahead, other())
    assert isinstance(taken, Claim)
    second = claim(ahead, this_process("me"))
    assert isinstance(second, Claim)
    assert second.trial.number != taken.trial.number  # the other's lease is not overdue by an hour
    assert ahead.leases.renew(second.lease)


@pytest.mark.parametrize(
    ("rule", "hours", "reason"),
    [
        ({"gpu_hours": 10, "gpus_per_trial": 0.5}, 19.9, None),
        ({"gpu_hours": 10, "gpus_per_trial": 0.5}, 20.0, "stop.gpu_hours: 10.00 of 10 GPU hours used"),
        ({"euros": 25, "euros_per_hour": 2.5}, 9.9, None),
        ({"euros": 25, "euros_per_hour": 2.5}, 10.2, "stop.euros: 25.50 of 25 euros spent"),
        (
            {"hours": 10, "euros": 25, "euros_per_hour": 2.5},
            10.0,
            "stop.hours: 10.00 of 10 hours of trials used",
        ),
    ],
)
def test_a_budget_ends_the_study(
    study: OpenStudy, rule: dict[str, float], hours: float, reason: str | None
) -> None:
    config = dataclasses.replace(study.definition.config, stop=StopConfig(**rule))  # type: ignore[arg-type] # as given
    budgeted = dataclasses.replace(study, definition=dataclasses.replace(study.definition, config=config))
    assert stop_reason(budgeted, 5, hours) == reason


@pytest.mark.parametrize(
    ("stop", "words"),
    [("{euros: 5}", "stop.euros needs stop.euros_per_hour"), ("{euros_per_hour: 5}", "stop names no rule")],
)
def test_a_budget_without_its_price_is_refused(stored: Path, tmp_path: Path, stop: str, words: str) -> None:
    shutil.copy(stored / "e.yaml", tmp_path)
    (tmp_path / "s.yaml").write_text(f"{STUDY}stop: {stop}\n")
    with pytest.raises(ConfigError, match=words):
        studies.load_study(tmp_path / "s.yaml")


class _Watching(LeaseTable):
    """Says whether a claim holds the study's row."""

    is_held = False

    @contextlib.contextmanager
    def exclusive(self, study: str) -> Iterator[Connection]:
        with super().exclusive(study) as connection:
            self.is_held = True
            yield connection
        self.is_held = False


def test_the_sampler_thinks_while_others_claim(study: OpenStudy) -> None:
    """At 10,000 trials a proposal takes long: it must not be made with the study's row in hand."""
    leases, held = _Watching(study.url), []
    watched = dataclasses.replace(study, leases=leases)
    sampler = study.optuna.sampler
    inner = sampler.sample_relative

    def sample(*args: Any) -> dict[str, Any]:
        held.append(leases.is_held)
        return inner(*args)

    sampler.sample_relative = sample  # type: ignore[method-assign] # seen, and done as before
    taken = claim(watched, this_process("me"))
    assert isinstance(taken, Claim)
    taken.trial.suggest_float("translator.lr", 1e-5, 1e-2)
    assert held == [False]


def test_a_clock_that_is_set_ahead_takes_no_trial_from_a_worker_that_lives(study: OpenStudy) -> None:
    database = Path(str(study.leases.engine.url.database))
    with contextlib.closing(sqlite3.connect(database)) as opened, opened:
        opened.execute(
            "update d2n_clocks set origin = origin - 3600"
        )  # the first came, then the clock was set
    taken, second = claim(study, other()), claim(study, this_process("me"))
    assert isinstance(taken, Claim)
    assert isinstance(second, Claim)
    assert second.trial.number != taken.trial.number
    assert len(alive_in(database, this_process("doctor"))) == 2
    again = LeaseTable(study.url)  # a worker that comes later goes by the same clock
    assert [is_alive for _, is_alive, _ in again.judged("s", this_process("third"))] == [True, True]


@pytest.mark.postgres
def test_a_worker_that_is_stopped_in_its_claim_does_not_hold_up_the_others(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_table, "STUCK_S", 1.0)
    leases = LeaseTable(studies.storage_url(postgres.uri))
    leases.register("s")
    with pytest.raises(DBAPIError):
        _held_up_by_itself(leases)
    with leases.exclusive("s"):
        pass


def _held_up_by_itself(leases: LeaseTable) -> None:
    """The second waits until PostgreSQL has ended the first, which does nothing meanwhile."""
    begun = time.monotonic()
    with leases.exclusive("s"), LeaseTable(leases.url).exclusive("s"):
        assert time.monotonic() - begun >= 0.9
