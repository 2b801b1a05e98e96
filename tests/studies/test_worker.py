"""Workers on one storage: who gets which trial, what becomes of it, and that the same seed gives the same trials."""

from __future__ import annotations

import atexit
import dataclasses
import errno
import functools
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from d2n import studies
from d2n.errors import DataError, ProtocolMismatchError, ScoreError, StudyError, TrainingError
from d2n.studies import worker
from d2n.studies.claims import Claim, Ended, Settled, Waiting, claim
from d2n.studies.leases import LeaseTable, Me, this_process
from d2n.studies.report import importances, lead, rows, status
from d2n.studies.storage import open_optuna
from d2n.studies.study import IDENTITY, OpenStudy, load_optuna
from d2n.studies.worker import ClaimedTrial, Outcome, WorkSummary

STUDY = """\
name: s
experiment: e.yaml
space:
  translator.lr: {type: float, low: 1e-5, high: 1e-2, log: true}
  translator.dropout: {type: bool}
  translator.lambda_l1: {type: int, low: 1, high: 100}
sampler: {name: tpe, n_startup_trials: 3}
stop: {trials: 8}
"""


class Runner:
    """Runs trials by a function; remembers what it settled."""

    def __init__(self, function: Callable[[ClaimedTrial], Outcome]) -> None:
        self.function, self.settled, self.numbers = function, list[str](), list[int]()

    def run(self, trial: ClaimedTrial) -> Outcome:
        self.numbers.append(trial.number)
        return self.function(trial)

    def settle(self, trial: FrozenTrial) -> None:
        self.settled.append(f"{trial.number} {trial.state.name}")


def work(study: OpenStudy, runner: Runner, **options: Any) -> WorkSummary:
    """All of a worker's life; what it did, and why it ended."""
    *_, last = worker.work(study, runner, **options)
    return last


def distance(trial: ClaimedTrial) -> Outcome:
    return Outcome(values=(abs(float(trial.settings["translator.lambda_l1"] or 0) - 50),))


@functools.cache
def empty_storage() -> Path:
    """Both databases with their tables, made once: copying takes a hundredth of the time."""
    folder = Path(tempfile.mkdtemp(prefix="d2n-storage-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    url = studies.storage_url(f"sqlite:///{folder}/optuna.db")
    open_optuna(url)._backend.engine.dispose()  # type: ignore[attr-defined] # the files are whole when nobody has them
    LeaseTable(url).engine.dispose()
    return folder


def open_in(folder: Path, text: str = STUDY, *, new_space: bool = False) -> OpenStudy:
    (folder / "e.yaml").write_text("preset: toy\ntranslator: {method: pix2pix}\n")
    (folder / "s.yaml").write_text(text)
    url = studies.storage_url(f"sqlite:///{folder}/optuna.db")
    if not (folder / "optuna.db").exists():
        for file in empty_storage().iterdir():
            shutil.copy(file, folder)
    return studies.open_study(studies.load_study(folder / "s.yaml"), url, new_space=new_space)


def someone_else(pid: int = 1, **changes: object) -> Me:
    """Another worker that lives on this machine: process 1 does, as far as its start time says."""
    return dataclasses.replace(this_process("other"), pid=pid, **changes)


def settings(study: OpenStudy) -> list[tuple[str, object]]:
    return [(trial.state.name, trial.params) for trial in study.trials()]


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "qmc", "nsga2"])
def test_the_same_seed_gives_the_same_trials_even_when_interrupted(tmp_path: Path, sampler: str) -> None:
    text = STUDY.replace("name: tpe", f"name: {sampler}").replace(
        "translator.dropout: {type: bool}", "dataset.flip: {type: bool}"
    )
    found = []
    for name, pieces in (("a", (None,)), ("b", (3, 5, None))):
        (tmp_path / name).mkdir()
        for max_claims in pieces:
            study = open_in(tmp_path / name, text)
            work(study, Runner(distance), max_claims=max_claims)
        found.append(settings(study))
    assert found[0] == found[1]
    assert len({str(params) for _, params in found[0]}) > 4


def test_another_seed_gives_other_trials(tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        study = open_in(tmp_path / str(seed), STUDY.replace("name: tpe", f"seed: {seed}, name: tpe"))
        work(study, Runner(distance), max_claims=2)
        found.append(settings(study))
    assert found[0] != found[1]


def test_enqueued_settings_come_first_and_only_once(tmp_path: Path) -> None:
    text = STUDY + "enqueue: [{translator.lr: 0.0002, translator.dropout: true, translator.lambda_l1: 100}]\n"
    for _ in range(2):
        study = open_in(tmp_path, text)
        work(study, Runner(distance), max_claims=2)
    first, second = study.trials()
    assert first.params == {"translator.lr": 0.0002, "translator.dropout": True, "translator.lambda_l1": 100}
    assert second.params != first.params


def test_a_conditional_dimension_is_drawn_only_under_its_condition(tmp_path: Path) -> None:
    conditional = "translator.beta1: {type: float, low: 0, high: 0.9, when: {translator.dropout: true}}"
    text = STUDY.replace("sampler:", f"  {conditional}\nsampler:")
    study = open_in(tmp_path, text)
    work(study, Runner(distance))
    assert {("translator.beta1" in t.params) == t.params["translator.dropout"] for t in study.trials()} == {
        True
    }
    assert {t.params["translator.dropout"] for t in study.trials()} == {True, False}


def test_a_grid_is_searched_whole_and_then_ends(tmp_path: Path) -> None:
    text = STUDY.replace("name: tpe, n_startup_trials: 3", "name: grid").replace("trials: 8", "trials: 99")
    text = text.replace("  translator.lr: {type: float, low: 1e-5, high: 1e-2, log: true}\n", "")
    text = text.replace("low: 1, high: 100}", "low: 10, high: 30, step: 10}")
    study = open_in(tmp_path, text)
    summary = work(study, Runner(distance))
    assert summary.reason == "the grid's 6 points are claimed"
    assert len({str(trial.params) for trial in study.trials()}) == 6


def test_states_of_trials_follow_what_happened(tmp_path: Path) -> None:
    def fate(trial: ClaimedTrial) -> Outcome:
        if trial.number == 0:
            raise TrainingError("loss is nan")
        if trial.number == 1:
            return Outcome(pruned=True)
        if trial.number == 2:
            raise ValueError("a bug")
        if trial.number == 3:
            return Outcome(values=(float("nan"),))
        return Outcome(values=(1.0,), constraints={"kid <= 1": 0.5 if trial.number == 4 else -0.5})

    runner = Runner(fate)
    study = open_in(tmp_path)
    work(study, runner, max_claims=6)
    states = ["FAIL", "PRUNED", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert [trial.state.name for trial in study.trials()] == states
    assert runner.settled == [f"{i} {state}" for i, state in enumerate(states)]
    assert study.trials()[2].user_attrs["error"] == "ValueError: a bug"
    assert [lease.state for lease in study.leases.all("s")] == ["done"] * 6
    best = status(study.optuna, study.leases).best
    assert [row.number for row in best] == [5]  # 4 is as good and infeasible


def test_errors_in_a_row_end_the_worker(tmp_path: Path) -> None:
    def broken(trial: ClaimedTrial) -> Outcome:
        raise RuntimeError("no memory")

    with pytest.raises(StudyError, match=r"3 trials in a row .*no memory"):
        work(open_in(tmp_path), Runner(broken))


def caused(error: Exception, by: BaseException) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    "error",
    [
        DataError("no images"),
        KeyboardInterrupt(),
        OSError(errno.ENOSPC, "No space left on device"),
        sqlalchemy.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error")),
        OSError(errno.EMFILE, "Too many open files"),
        ConnectionResetError("the other side is gone"),
        ImportError("cannot import name 'x': its package was removed"),
        sqlalchemy.exc.InterfaceError("SELECT", {}, Exception("connection already closed")),
        optuna.exceptions.StorageInternalError("no answer"),
        BrokenProcessPool("a process was killed"),
        RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        caused(TrainingError("an epoch could not be written"), TimeoutError("no answer")),
        caused(RuntimeError("Error calling __set_name__ on 'name' instance 'x' in 'X'"), KeyboardInterrupt()),
    ],
)
def test_an_interrupted_trial_is_given_back_and_resumed_without_a_lost_attempt(
    tmp_path: Path, error: BaseException
) -> None:
    def interrupted(trial: ClaimedTrial) -> Outcome:
        raise error

    study = open_in(tmp_path)
    with pytest.raises(type(error)):
        work(study, Runner(interrupted))
    before = study.trials()[0].params
    runner = Runner(distance)
    work(open_in(tmp_path), runner, max_claims=1)
    assert runner.numbers == [0]
    assert study.trials()[0].params == before
    assert [lease.attempt for lease in study.leases.all("s")] == [1]


def test_a_dead_workers_trial_is_taken_over_with_its_settings(tmp_path: Path) -> None:
    study = open_in(tmp_path)
    dead = someone_else(pid=2**22 + 7)  # above the largest process id
    first = claim(study, dead)
    assert isinstance(first, Claim)
    lr = first.trial.suggest_float("translator.lr", 1e-5, 1e-2, log=True)
    runner = Runner(distance)
    work(study, runner, max_claims=1)
    assert runner.numbers == [0]
    assert study.trials()[0].params["translator.lr"] == lr
    assert study.leases.all("s")[0].attempt == 2


def test_a_silent_worker_of_another_machine_is_dead_after_its_lease(tmp_path: Path) -> None:
    study = open_in(tmp_path, STUDY + "lease_s: 1\n")
    far = someone_else(machine="far", processes="far/1")
    assert isinstance(claim(study, far), Claim)
    lease = study.leases.open("s")[0]
    me = this_process()
    assert not study.leases.is_dead(lease, lease.seen + 0.9, me)
    assert study.leases.is_dead(lease, lease.seen + 1.1, me)


def test_a_trial_that_kills_every_worker_fails_after_max_attempts(tmp_path: Path) -> None:
    study = open_in(tmp_path, STUDY + "max_attempts: 2\n")
    for pid in (2**22 + 1, 2**22 + 2):
        step = claim(study, someone_else(pid=pid))
        assert isinstance(step, Claim)
        assert step.trial.number == 0
    runner = Runner(distance)
    work(study, runner, max_claims=1)
    assert runner.settled == ["0 FAIL"]
    assert "2 workers died" in study.trials()[0].user_attrs["error"]


def test_a_trial_that_ended_just_before_its_worker_died_is_settled_not_run_again(tmp_path: Path) -> None:
    study = open_in(tmp_path)
    step = claim(study, someone_else(pid=2**22 + 1))
    assert isinstance(step, Claim)
    study.optuna.tell(step.trial, 3.0)
    runner = Runner(distance)
    work(study, runner, max_claims=1)
    assert (runner.numbers, runner.settled) == ([], ["0 COMPLETE"])


def test_a_trial_created_by_a_worker_that_died_before_its_lease_is_adopted(tmp_path: Path) -> None:
    study = open_in(tmp_path)
    study.optuna.ask()
    runner = Runner(distance)
    work(study, runner, max_claims=1)
    assert runner.numbers == [0]


def test_claims_are_counted_so_that_no_limit_is_passed(tmp_path: Path) -> None:
    study = open_in(tmp_path, STUDY.replace("trials: 8", "trials: 2"))
    alive = someone_else(machine=this_process().machine, processes="elsewhere")
    assert isinstance(claim(study, alive), Claim)
    assert isinstance(claim(study, this_process()), Claim)
    third = claim(study, someone_else(processes="third"))
    assert isinstance(third, Waiting)
    assert len(study.trials()) == 2


def test_a_worker_that_lost_its_lease_leaves_the_trial_to_the_other(tmp_path: Path) -> None:
    study = open_in(tmp_path)

    def robbed(trial: ClaimedTrial) -> Outcome:
        with study.leases.exclusive("s") as connection:
            study.leases.take(connection, "s", trial.number, someone_else(processes="elsewhere"), 300)
        study.leases.set_stop("s", "after")
        return Outcome(values=(1.0,))

    runner = Runner(robbed)
    work(study, runner)
    assert study.trials()[0].state == TrialState.RUNNING
    assert runner.settled == []
    assert study.leases.open("s")[0].processes == "elsewhere"


def test_sqlite_shared_with_another_machine_is_refused(tmp_path: Path) -> None:
    study = open_in(tmp_path)
    claim(study, someone_else(machine="far", processes="far/1"))
    with pytest.raises(StudyError, match="another machine: SQLite's locks do not hold"):
        work(study, Runner(distance))


def test_stop_ends_the_workers_and_search_goes_on_later(tmp_path: Path) -> None:
    study = open_in(tmp_path)

    def stops(trial: ClaimedTrial) -> Outcome:
        study.leases.set_stop("s", "after")
        return distance(trial)

    assert "stopped" in work(study, Runner(stops)).reason
    assert len(study.trials()) == 1
    study.leases.set_stop("s", "")
    assert "8 of 8" in work(study, Runner(distance)).reason


def test_stop_rules_hours_and_no_improvement(tmp_path: Path) -> None:
    study = open_in(tmp_path, STUDY.replace("trials: 8", "no_improvement: 3"))
    values = iter([5.0, 4.0, 6.0, 7.0, 8.0])
    reason = work(study, Runner(lambda trial: Outcome(values=(next(values),)))).reason
    assert reason == "stop.no_improvement: 3 trials ended since the best one"
    assert len(study.trials()) == 5


def test_a_study_names_its_objectives(tmp_path: Path) -> None:
    assert open_in(tmp_path).optuna.metric_names == ["fid"]


def test_two_studies_of_one_name_are_refused_with_the_difference(tmp_path: Path) -> None:
    open_in(tmp_path)
    with pytest.raises(
        StudyError, match=r'space translator.lambda_l1: .*"high": 100.* -> .*"high": 60.*--new-space'
    ):
        open_in(tmp_path, STUDY.replace("high: 100", "high: 60"))


@pytest.mark.parametrize("edited", ["x", 3, ["experiment"], {"experiment": "x"}])
@pytest.mark.parametrize("new_space", [False, True])
def test_an_identity_that_was_edited_is_one_line(tmp_path: Path, edited: Any, new_space: bool) -> None:
    open_in(tmp_path).optuna.set_user_attr(IDENTITY, edited)
    with pytest.raises(StudyError, match=r"^study s: its attribute d2n.identity cannot be read"):
        open_in(tmp_path, new_space=new_space)


def test_new_space_continues_with_another_range_and_refuses_other_choices(tmp_path: Path) -> None:
    work(open_in(tmp_path), Runner(distance), max_claims=2)
    study = open_in(tmp_path, STUDY.replace("high: 100", "high: 60"), new_space=True)
    work(study, Runner(distance), max_claims=4)
    assert len(study.trials()) == 4
    other = STUDY.replace("{type: int, low: 1, high: 100}", "{type: categorical, choices: [1, 50]}")
    with pytest.raises(StudyError, match="cannot change like this"):
        open_in(tmp_path, other, new_space=True)


@pytest.mark.parametrize("new_space", [False, True])
def test_another_score_protocol_is_refused_even_as_a_new_space(tmp_path: Path, new_space: bool) -> None:
    work(open_in(tmp_path), Runner(distance), max_claims=1)
    text = "preset: toy\ntranslator: {method: pix2pix}\nevaluation: {resize: torch, num_images: 20}\n"
    (tmp_path / "other.yaml").write_text(text)
    with pytest.raises(ProtocolMismatchError) as refusal:
        open_in(tmp_path, STUDY.replace("e.yaml", "other.yaml"), new_space=new_space)
    for part in (
        'evaluation.resize: "clean" -> "torch"',
        "evaluation.num_images: absent -> 20",
        "another name",
    ):
        assert part in str(refusal.value)


def test_warm_start_tries_the_best_settings_of_another_study(tmp_path: Path) -> None:
    first = open_in(tmp_path)
    work(first, Runner(distance))
    best = first.optuna.best_params
    second = open_in(tmp_path, STUDY.replace("name: s\n", "name: t\nwarm_start: [s]\n", 1))
    work(second, Runner(distance), max_claims=1)
    assert second.trials()[0].params == best
    with pytest.raises(StudyError, match="warm_start names sss; did you mean 's'"):
        open_in(tmp_path, STUDY.replace("name: s\n", "name: u\nwarm_start: [sss]\n", 1))


def test_several_objectives_give_a_front(tmp_path: Path) -> None:
    text = STUDY + "objectives: [{score: fid}, {score: f8, direction: maximize}]\npruner: none\n"
    study = open_in(tmp_path, text)
    points = iter([(1.0, 1.0), (2.0, 2.0), (3.0, 1.0)])
    work(study, Runner(lambda trial: Outcome(values=next(points))), max_claims=3)
    assert [row.number for row in status(study.optuna, study.leases).best] == [0, 1]


def test_pruning_uses_the_reports_of_other_trials_and_keeps_the_last_value(tmp_path: Path) -> None:
    text = STUDY + "pruner: {name: median, n_startup_trials: 2}\n"
    study = open_in(tmp_path, text)

    def reports(trial: ClaimedTrial) -> Outcome:
        value = float(trial.number)
        for step in range(3):
            if trial.report(value, step):
                return Outcome(pruned=True)
        return Outcome(values=(value,))

    work(study, Runner(reports), max_claims=4)
    assert [trial.state.name for trial in study.trials()] == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED"]
    assert rows(study.optuna, study.leases)[3].values == (3.0,)


def test_the_leader_is_compared_with_the_noise(tmp_path: Path) -> None:
    study = open_in(tmp_path)
    found = iter([(10.0, 0.1), (10.5, 0.1), (9.9, 0.1)])

    def noisy(trial: ClaimedTrial) -> Outcome:
        value, std = next(found)
        return Outcome(
            values=(value,), attrs={"scores": {"score": {"fid": value}, "score_std": {"fid": std}}}
        )

    work(study, Runner(noisy), max_claims=2)
    state = status(study.optuna, study.leases)
    # 2 * sqrt(0.1^2 + 0.1^2) = 0.2828
    assert state.lead == "trial 0 leads trial 1 by 0.5, more than noise (0.2828)"
    assert state.best[0].std == 0.1
    assert "6 of 8 trials to go" in state.left
    work(study, Runner(noisy), max_claims=3)
    everything = rows(study.optuna, study.leases)
    assert lead(everything, ("minimize",)) == "trial 2 leads trial 0 by 0.1, no more than noise (0.2828)"


def test_importance_finds_the_dimension_that_matters(tmp_path: Path) -> None:
    study = open_in(tmp_path, STUDY.replace("trials: 8", "trials: 16").replace("name: tpe", "name: random"))
    work(study, Runner(distance))
    found = importances(study.optuna)
    assert max(found, key=lambda knob: found[knob]) == "translator.lambda_l1"


def test_an_unknown_study_is_answered_with_the_nearest(tmp_path: Path) -> None:
    study = open_in(tmp_path)
    with pytest.raises(StudyError, match=r"no study 'ss' .* did you mean 's'"):
        load_optuna(study.url, "ss")


def test_a_score_error_fails_the_trial_alone(tmp_path: Path) -> None:
    def bad(trial: ClaimedTrial) -> Outcome:
        raise ScoreError("not enough images")

    study = open_in(tmp_path)
    work(study, Runner(bad), max_claims=5)
    assert [trial.state for trial in study.trials()] == [TrialState.FAIL] * 5


def test_a_study_that_d2n_did_not_make_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    foreign = optuna.create_study(storage=url, study_name="s")
    foreign.tell(foreign.ask(), 1.0)
    with pytest.raises(StudyError, match="was not made by d2n"):
        open_in(tmp_path)


def test_a_waiting_worker_resumes_when_the_other_dies(tmp_path: Path) -> None:
    study = open_in(tmp_path, STUDY.replace("trials: 8", "trials: 1") + "lease_s: 1\n")
    assert isinstance(claim(study, someone_else(processes="elsewhere")), Claim)
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        with study.leases.engine.begin() as connection:  # time passes
            connection.exec_driver_sql("update d2n_leases set seen = seen - 1")

    runner = Runner(distance)
    work(study, runner, pause=pause)
    assert waits
    assert runner.numbers == [0]


def test_settled_and_ended_carry_what_a_worker_needs(tmp_path: Path) -> None:
    study = open_in(tmp_path, STUDY.replace("trials: 8", "trials: 1"))
    step = claim(study, someone_else(pid=2**22 + 1))
    assert isinstance(step, Claim)
    study.optuna.tell(step.trial, 1.0)
    settled = claim(study, this_process())
    assert isinstance(settled, Settled)
    assert settled.trial.value == 1.0
    with study.leases.exclusive("s") as connection:
        assert study.leases.end(connection, settled.lease, "done")
        assert not study.leases.end(connection, settled.lease, "done")  # given back already
    assert isinstance(claim(study, this_process()), Ended)


def as_urgent(text: str = STUDY) -> str:
    return text.replace("name: s\n", "name: urgent\n")


YIELDING = STUDY + "yields_to: [urgent]\nlease_s: 1\n"


def test_a_study_claims_nothing_while_the_one_it_yields_to_is_worked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_in(tmp_path, YIELDING)
    urgent = open_in(tmp_path, as_urgent())
    me = this_process("low")
    first = claim(study, me)  # nobody works on the other yet
    assert isinstance(first, Claim)
    taken = claim(urgent, this_process("high"))
    assert isinstance(taken, Claim)
    waiting = claim(study, me)
    assert isinstance(waiting, Waiting)
    assert waiting.reason == "yields to urgent"
    with urgent.leases.engine.begin() as connection:
        urgent.leases.end(connection, taken.lease, "done")
    assert isinstance(claim(study, me), Waiting)  # the other's next claim may be under way
    monkeypatch.setattr("d2n.studies.leases.BETWEEN_TRIALS_S", -1.0)
    resumed = claim(study, me)
    assert isinstance(resumed, Claim)
    assert resumed.trial.number == first.trial.number


def test_a_running_trial_is_given_back_to_the_study_that_goes_first(tmp_path: Path) -> None:
    study = open_in(tmp_path, YIELDING)
    urgent = open_in(tmp_path, as_urgent())
    said: list[str] = []

    def long(trial: ClaimedTrial) -> Outcome:
        claim(urgent, this_process("high"))
        for _ in range(200):
            time.sleep(0.05)
            try:
                trial.check()
            except worker.StoppedError as error:
                said.append(str(error))
                raise
        raise AssertionError("it was not given back")

    next(iter(worker.work(study, Runner(long))))
    assert said == ["study s yields to urgent; trial 0 can be resumed"]
    assert [lease.state for lease in study.leases.open("s")] == ["released"]


@pytest.mark.parametrize("others", [["s"], ["urgent"], ["between"]])
def test_studies_that_would_wait_for_each_other_are_refused(tmp_path: Path, others: list[str]) -> None:
    open_in(tmp_path, as_urgent() + "yields_to: [s]\n")
    open_in(tmp_path, STUDY.replace("name: s\n", "name: between\n") + "yields_to: [urgent, gone]\n")
    with pytest.raises(StudyError, match=r"yields_to goes round in a circle \(s -> .*s\)"):
        open_in(tmp_path, f"{STUDY}yields_to: {others}\n")


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        (2, "fid 10 after 2 GPU hours (1 of them its own trial's): 10 better than trial 0 a GPU hour"),
        (1, "fid 10 after 1 hours of trials (0.5 of them its own trial's): 20 better than trial 0 an hour"),
    ],
)
def test_what_an_hour_bought_is_told(tmp_path: Path, gpus: int, told: str) -> None:
    study = open_in(tmp_path, STUDY.replace("trials: 8", f"trials: 3, gpus_per_trial: {gpus}"))
    values = iter([30.0, 10.0, 20.0])
    work(study, Runner(lambda _: Outcome(values=(next(values),))))
    with study.leases.engine.begin() as connection:
        connection.execute(sqlalchemy.text("update d2n_leases set busy_s = 1800"))
    state = status(study.optuna, study.leases)
    assert state.cost == told
    assert [row.gpu_hours for row in rows(study.optuna, study.leases)] == [gpus / 2] * 3
