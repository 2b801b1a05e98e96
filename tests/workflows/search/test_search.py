"""A study in MLflow: its tree, its states, its figures, and that it goes on where it was."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import multiprocessing
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_training import FAKE, STEP_S, events, fake_training, fid
from survival import EXPERIMENT, STUDY, Place, check_whole, lay_out, search_in_a_group, wait_until

from d2n.core import Evaluation, ScoreProtocol, StepResult
from d2n.errors import OtherKnobsError, ProtocolMismatchError, StudyError
from d2n.signals import signals_between_steps
from d2n.studies.leases import LeaseTable
from d2n.studies.study import load_optuna
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.records import TrialRecord
from d2n.tracking.records.scores import noise
from d2n.tracking.runs import RunRecord, Store, open_store
from d2n.workflows import search
from d2n.workflows.search.trial_scores import fingerprint, mean_and_std, pick, short
from d2n.workflows.tracked import Tracked

SMALL = STUDY.replace("trials: 40", "trials: 8")


@pytest.fixture(scope="session")
def tracking_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    open_store(sqlite_uri(path))
    return path


@pytest.fixture
def place(tmp_path: Path, tracking_database: Path) -> Callable[..., Place]:
    def make(**options: Any) -> Place:
        shutil.copyfile(tracking_database, tmp_path / "mlflow.db")
        return lay_out(tmp_path, **options)

    return make


def run(place: Place, training: Any = fake_training, **options: Any) -> search.SearchResult:
    return search.run_search(asked(place, **options), dataclasses.replace(FAKE, tracked=training))


def asked(place: Place, **options: Any) -> search.SearchRequest:
    return search.SearchRequest(
        place.study,
        tracking_uri=place.tracking_uri,
        study_storage=place.study_storage,
        work_root=place.work,
        **options,
    )


def store(place: Place) -> Store:
    return open_store(place.tracking_uri)


def children(place: Place) -> list[RunRecord]:
    found = [r for r in store(place).find_runs(experiment="d2n/toycity") if "d2n.trial" in r.tags]
    return sorted(found, key=lambda r: int(r.tags["d2n.trial"]))


def test_a_study_is_one_tree_with_its_states_and_settings(place: Callable[..., Place]) -> None:
    here = place(study=SMALL)
    result = run(here)
    check_whole(here, 8)
    parent = store(here).get(result.run_id)
    assert (parent.status, parent.tags["d2n.kind"], parent.name) == ("FINISHED", "study", "survivor")
    for child in children(here):
        assert child.tags["mlflow.parentRunId"] == result.run_id
        lr = float(child.params["search/lr"])
        assert child.metrics["search/lr_log10"] == pytest.approx(math.log10(lr))
        assert child.params["search/dropout"] in ("true", "false")
        assert f"/runs/{result.run_id}?workflowType=" in child.tags["mlflow.note.content"]
        if child.status != "FAILED":
            assert child.metrics["score/fid"] > 10  # the pruned too
            assert f": fid {child.metrics['score/fid']:.4g}" in child.tags["mlflow.note.content"]
    assert "PRUNED" in {child.tags["d2n.trial.state"] for child in children(here)}
    assert result.status.counts == {
        state: sum(c.tags["d2n.trial.state"] == state for c in children(here))
        for state in result.status.counts
    }


def test_a_trial_scored_by_another_protocol_ends_the_search_with_both(place: Callable[..., Place]) -> None:
    here = place(study=SMALL)
    protocol = ScoreProtocol("inception", "00", "clean@299", 20, "the data of yesterday")

    def under(scored: ScoreProtocol) -> Callable[..., Any]:
        def training(experiment: Any, *, run: Any, **given: Any) -> Any:
            run.set_tags({"d2n.score_protocol.text": json.dumps(scored.__dict__)})
            return fake_training(experiment, run=run, **given)

        return training

    run(here, under(protocol), trials=2)
    other = dataclasses.replace(protocol, reference_digest="the data of today")
    with pytest.raises(ProtocolMismatchError) as refusal:
        run(here, under(other), trials=2)
    assert protocol.identity in str(refusal.value)
    assert other.identity in str(refusal.value)
    third = next(child for child in children(here) if child.tags["d2n.trial"] == "2")
    assert third.tags["d2n.trial.state"] == "FAIL"
    assert "score/fid" not in third.metrics
    assert len(children(here)) == 3
    result = run(here, under(protocol), trials=1)  # goes on under its own
    assert sum(result.status.counts.values()) == 4


def test_the_parent_run_holds_yaml_figures_table_and_summary(
    place: Callable[..., Place], tmp_path: Path
) -> None:
    here = place(study=SMALL)
    result = run(here)
    out = tmp_path / "out"
    page = store(here).artifact(result.run_id, "plots/study.html", out).read_text()
    for name in (
        "history",
        "parallel_coordinates",
        "slices",
        "intermediate_values",
        "timeline",
        "importances",
    ):
        assert f'id="figure-{name}"' in page
    assert "<script src" not in page  # nothing is loaded from elsewhere
    table = store(here).artifact(result.run_id, "tables/trials.csv", out).read_text().splitlines()
    assert len(table) == 1 + 8
    assert table[0].startswith("trial,state,fid,std,floor,feasible,translator.dropout")
    summary = json.loads(store(here).artifact(result.run_id, "summary.json", out).read_text())
    assert summary["best"][0]["trial"] == result.status.best[0].number
    assert store(here).artifact(result.run_id, "config/study.yaml", out).read_text() == SMALL
    run(here)  # nothing is left to do
    steps = [step for step, _ in store(here).metric_history(result.run_id, "best/fid")]
    assert (steps[-1], len(set(steps))) == (8, len(steps))


@pytest.mark.slow
def test_counts_and_knobs_of_a_study_are_shown_as_they_are(
    place: Callable[..., Place], tmp_path: Path
) -> None:
    here = place(study=SMALL)
    first = run(here, trials=2)
    store(here).resume_run(first.run_id).set_tags(
        {"d2n.trials.running": 1}
    )  # as another worker's trial left it
    result = run(here)
    tags = store(here).get(result.run_id).tags
    assert tags["d2n.trials.running"] == "0"
    assert {k: int(tags[f"d2n.trials.{k.lower()}"]) for k in result.status.counts} == result.status.counts
    page = store(here).artifact(result.run_id, "plots/study.html", tmp_path).read_text()
    assert '"label":"lr"' in page  # long names run into each other above narrow axes
    assert '"label":"translator.lr"' not in page


def test_optunas_trials_carry_run_id_address_and_note(place: Callable[..., Place]) -> None:
    here = place(study=SMALL)
    run(here, trials=1)
    study = load_optuna(here.study_storage, "survivor")
    trial = study.trials[0]
    run_id = children(here)[0].run_id
    assert trial.user_attrs["mlflow_run_id"] == run_id
    assert f"/runs/{run_id}?workflowType=" in trial.user_attrs["mlflow_run_url"]
    notes = study._storage.get_study_system_attrs(study._study_id)
    assert run_id in notes[f"dashboard:{trial._trial_id}:note_str:0"]


@pytest.mark.slow
def test_a_continued_study_makes_no_second_parent(place: Callable[..., Place]) -> None:
    here = place(study=SMALL)
    first = run(here, trials=2)
    second = run(here)
    assert first.run_id == second.run_id
    assert "2 trials claimed, as asked for" in first.reason
    check_whole(here, 8)


def test_an_interrupted_trial_goes_on_from_its_checkpoint_in_the_same_run(
    place: Callable[..., Place],
) -> None:
    here = place(study=SMALL)
    interrupted: list[int] = []

    def until_5(steps: Iterator[StepResult]) -> Generator[StepResult, None, None]:
        for found in steps:
            if isinstance(found, Evaluation) and found.step == 5 and not interrupted:
                interrupted.append(found.step)
                raise KeyboardInterrupt
            yield found

    @contextlib.contextmanager
    def breaks_at_5(experiment: Any, **given: Any) -> Iterator[Tracked[None]]:
        with fake_training(experiment, **given) as training:
            training.steps = until_5(training.steps)
            yield training

    with pytest.raises(KeyboardInterrupt):
        run(here, breaks_at_5)
    assert children(here)[0].status == "KILLED"
    assert {r.status for r in store(here).find_runs()} == {"KILLED"}
    result = run(here)
    first = children(here)[0]
    starts = [e["step"] for e in events(here.work, first.run_id) if e["what"] == "start"]
    assert starts == [0, 5]
    assert "mlflow.parentRunId" in first.tags
    assert check_whole(here, 8)["resumed"] == 1
    assert result.status.counts["COMPLETE"] >= 1


def test_a_run_whose_id_was_not_stored_in_time_is_found_again(place: Callable[..., Place]) -> None:
    here = place(study=SMALL)

    def interrupted(experiment: Any, **given: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(here, interrupted)
    database = sqlite3.connect(here.folder / "optuna.db")
    database.execute("delete from trial_user_attributes where key like 'mlflow_run%'")
    database.commit()
    database.close()
    run(here, trials=1)
    assert len(children(here)) == 2  # the resumed trial 0 and trial 1


@pytest.mark.slow
def test_several_workers_share_a_study(place: Callable[..., Place]) -> None:
    here = place(study=STUDY.replace("trials: 40", "trials: 6"), step_s=0.05)
    run(here, workers=2)
    check_whole(here, 6)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_signal_to_the_whole_group_gives_every_trial_back(
    place: Callable[..., Place], number: signal.Signals
) -> None:
    """As Ctrl-C in a terminal, and as a supervisor that ends each process itself."""
    study = STUDY.replace("trials: 40", "trials: 2")
    here = place(study=study, experiment=EXPERIMENT.replace("n_epochs: 8", "n_epochs: 40"), step_s=1.0)
    searching = multiprocessing.get_context("spawn").Process(target=search_in_a_group, args=(here, 2))
    searching.start()
    assert searching.pid is not None
    wait_until(lambda: len(list(here.work.glob("*/checkpoint.json"))) == 2, 120)
    workers = [
        p for p in psutil.Process(searching.pid).children() if "resource_tracker" not in str(p.cmdline())
    ]
    os.killpg(searching.pid, number)
    for worker in workers:
        worker.send_signal(number)
    searching.join(120)
    assert searching.exitcode not in (None, 0)
    assert not [worker for worker in workers if worker.is_running()]
    leases = LeaseTable(here.study_storage).all("survivor")
    assert [(lease.state, lease.attempt) for lease in leases] == [("released", 1)] * 2
    assert {child.status for child in children(here)} == {"KILLED"}
    (here.work / STEP_S).write_text("0")
    run(here)
    assert check_whole(here, 2) == {"resumed": 2, "attempts": 2}


def test_ctrl_c_in_the_last_step_ends_the_search_after_its_trial(place: Callable[..., Place]) -> None:
    here = place(study=SMALL)

    @contextlib.contextmanager
    def training(experiment: Any, **given: Any) -> Iterator[Tracked[None]]:
        with signals_between_steps():
            with fake_training(experiment, **given) as one:
                yield one
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(here, training)
    assert [child.tags["d2n.trial.state"] for child in children(here)] == ["COMPLETE"]
    run(here)
    check_whole(here, 8)


def test_a_trial_begun_under_other_knobs_fails_and_the_study_goes_on(place: Callable[..., Place]) -> None:
    here = place(study=SMALL.replace("trials: 8", "trials: 3"))
    refused: list[int] = []

    def training(experiment: Any, **given: Any) -> Any:
        if not refused:
            refused.append(1)
            raise OtherKnobsError("run x was made with other knobs: training.n_epochs: 8 in the run, 9 now")
        return fake_training(experiment, **given)

    run(here, training)
    assert next(child.tags["d2n.trial.state"] for child in children(here)) == "FAIL"
    check_whole(here, 3)


def test_seeds_of_a_trial_are_runs_below_it_and_their_mean_is_told(place: Callable[..., Place]) -> None:
    here = place(study=SMALL.replace("trials: 8", "trials: 1") + "seeds_per_trial: 3\n")
    result = run(here)
    trial = load_optuna(here.study_storage, "survivor").trials[0]
    parent = next(r for r in children(here) if r.tags.get("mlflow.parentRunId") == result.run_id)
    seeds = [r for r in children(here) if r.tags.get("mlflow.parentRunId") == parent.run_id]
    assert sorted(r.tags["d2n.seed"] for r in seeds) == ["0", "1", "2"]
    # the fake's fid rises by 0.01 a seed: mean of +0, +0.01, +0.02 and deviation 0.01
    values = sorted(r.metrics["score/fid"] for r in seeds)
    assert trial.value == pytest.approx(values[1])
    assert parent.metrics["score/fid"] == pytest.approx(values[1])
    assert parent.metrics["score_std/fid"] == pytest.approx(0.01)
    assert result.status.best[0].std == pytest.approx(0.01)
    assert {r.status for r in children(here)} == {"FINISHED"}


@pytest.mark.slow
def test_wilcoxon_prunes_over_seeds(place: Callable[..., Place]) -> None:
    text = SMALL.replace(
        "pruner: {name: median, n_startup_trials: 5}", "pruner: {name: wilcoxon, p_threshold: 0.4}"
    )
    here = place(study=text.replace("trials: 8", "trials: 6") + "seeds_per_trial: 4\n")
    result = run(here)
    assert result.status.counts.get("PRUNED", 0) > 0
    pruned = next(r for r in children(here) if r.tags.get("d2n.trial.state") == "PRUNED")
    below = [r for r in children(here) if r.tags.get("mlflow.parentRunId") == pruned.run_id]
    assert len(below) < 4
    assert pruned.status == "KILLED"


def test_identical_work_is_reused_when_asked_for(place: Callable[..., Place]) -> None:
    text = SMALL.replace("trials: 8", "trials: 1")
    here = place(study=text)
    first = run(here)
    trained = len(events(here.work, children(here)[0].run_id))
    (here.folder / "study.yaml").write_text(text.replace("survivor", "again") + "reuse: true\n")
    run(here)
    again = next(r for r in children(here) if r.tags["d2n.study"] == "again")
    assert again.tags["d2n.reused_run"] == first.status.best[0].run_id
    assert again.status == "FINISHED"
    assert events(here.work, again.run_id) == []
    assert trained > 0
    assert load_optuna(here.study_storage, "again").best_value == first.status.best[0].values[0]


def test_of_several_objectives_one_that_is_never_logged_is_refused_at_the_first_evaluation(
    place: Callable[..., Place],
) -> None:
    text = SMALL.replace("objective: fid", "objectives: [{score: fidd, direction: minimize}, {score: kid}]")
    here = place(study=text.replace("pruner: {name: median, n_startup_trials: 5}", "pruner: none"))
    with pytest.raises(StudyError, match="the study wants the score fidd, which is never logged"):
        run(here)
    steps = [e["step"] for e in events(here.work, children(here)[0].run_id) if e["what"] == "step"]
    assert steps == [1]


@pytest.mark.slow
def test_an_objective_that_is_never_logged_ends_the_search_in_one_line(place: Callable[..., Place]) -> None:
    here = place(study=SMALL.replace("objective: fid", "objective: {score: fidd, direction: minimize}"))
    with pytest.raises(StudyError, match="wants the score fidd, which is never logged; logged are fid, kid"):
        run(here)
    with pytest.raises(StudyError, match="fidd"):
        run(here, workers=2)


def test_constraints_make_the_best_feasible_trial_the_leader(place: Callable[..., Place]) -> None:
    here = place(study=SMALL + "constraints: [{score: kid, at_most: 0.05}]\n")
    result = run(here, trials=2)
    assert result.status.best == ()  # the fake's kid is 0.1
    study = load_optuna(here.study_storage, "survivor")
    assert study.trials[0].constraints == {"kid <= 0.05": pytest.approx(0.05)}


def test_two_objectives_give_a_pareto_figure(place: Callable[..., Place], tmp_path: Path) -> None:
    text = SMALL.replace("objective: fid", "objectives: [{score: fid}, {score: kid}]")
    here = place(study=text.replace("pruner: {name: median, n_startup_trials: 5}", "pruner: none"))
    result = run(here, trials=3)
    page = store(here).artifact(result.run_id, "plots/study.html", tmp_path / "o").read_text()
    assert 'id="figure-pareto_front"' in page


def test_status_stop_and_export(place: Callable[..., Place], tmp_path: Path) -> None:
    here = place(study=SMALL)
    run(here, trials=3)
    lines = search.status(study_storage=here.study_storage)
    assert lines[0].startswith("study survivor on toycity: 3 complete")
    assert any("best: trial" in line for line in lines)
    assert any("5 of 8 trials to go" in line for line in lines)
    assert "the same `d2n search` goes on" in search.stop("survivor", study_storage=here.study_storage)[0]
    written = search.export("survivor", tmp_path / "out", study_storage=here.study_storage)
    assert len((tmp_path / "out" / "trials.csv").read_text().splitlines()) == 4
    assert f"wrote {tmp_path / 'out' / 'history.html'}" in written
    with pytest.raises(StudyError, match=r"no study 'surviver' .* did you mean 'survivor'"):
        search.stop("surviver", study_storage=here.study_storage)


def test_without_a_terminal_each_finished_trial_is_a_line_with_the_time_left(
    place: Callable[..., Place], capsys: pytest.CaptureFixture[str]
) -> None:
    here = place(study=STUDY.replace("trials: 40", "trials: 3"))
    run(here, progress=True)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("survivor: trial ")]
    assert [line.split(";")[1].strip() for line in told] == [
        "1 of 3 trials",
        "2 of 3 trials",
        "3 of 3 trials",
    ]
    assert told[0].startswith("survivor: trial 0 complete, fid 1")
    assert told[0].endswith(" left")
    assert told[2].endswith("3 of 3 trials")


def test_a_run_of_a_trial_is_named_with_it(place: Callable[..., Place]) -> None:
    here = place(study=STUDY.replace("trials: 40", "trials: 1"))
    result = run(here)
    trial = children(here)[0]
    assert TrialRecord.title(store(here).get(trial.run_id)) == "trial 0 of survivor"
    assert TrialRecord.title(store(here).get(result.run_id)) == ""


def test_status_without_any_study_says_what_starts_one(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="`d2n search FILE` starts one"):
        search.status(study_storage=f"sqlite:///{tmp_path}/none.db")


def test_the_lines_of_a_search_end_with_the_leader(place: Callable[..., Place]) -> None:
    here = place(study=SMALL)
    lines = search.search(asked(here, trials=1), FAKE)
    assert lines[-1].startswith("1 trials claimed, as asked for; best: trial 0 (fid ")


def test_a_score_is_found_with_its_extractors_name_when_only_one_is_there() -> None:
    assert pick({"fid": 1.0, "fid.vgg16": 2.0}, "fid") == 1.0
    assert pick({"fid.vgg16": 2.0, "kid.vgg16": 3.0}, "score/fid") == 2.0
    with pytest.raises(StudyError, match="never logged"):
        pick({"fid.vgg16": 2.0, "fid.alexnet": 3.0}, "fid")


def test_mean_and_std_over_seeds_by_hand() -> None:
    means = mean_and_std([{"fid": 1.0, "kid": 0.0}, {"fid": 3.0}, {"fid": 5.0}])
    assert means == {"score": {"fid": 3.0}, "score_std": {"fid": 2.0}}


def test_noise_is_read_from_deviations_else_from_intervals() -> None:
    metrics = {
        "score_low/fid": 8.0,
        "score_high/fid": 11.919928,
        "score_std/kid": 0.5,
        "score_floor/fid": 2.0,
    }
    assert noise(metrics) == {
        "score_std": {"fid": pytest.approx(1.0), "kid": 0.5},
        "score_floor": {"fid": 2.0},
    }


def test_a_fingerprint_is_of_what_is_computed_not_of_where(place: Callable[..., Place]) -> None:
    from d2n.config import TranslationExperiment, build_experiment

    def made(**overrides: Any) -> TranslationExperiment:
        experiment = build_experiment({"preset": "toy", "translator": {"method": "pix2pix"}}, overrides)
        assert isinstance(experiment, TranslationExperiment)
        return experiment

    base = fingerprint(made(), "data", "code")
    assert fingerprint(made(**{"training.num_threads": 3, "name": "x"}), "data", "code") == base
    assert fingerprint(made(seed=3), "data", "code") != base
    assert fingerprint(made(), "other data", "code") != base
    assert fid(made(), 1) > fid(made(), 2)


def test_short_names_of_dimensions_stay_unique() -> None:
    space = {"translator.lr": 1, "training.n_epochs": 2, "pretraining.n_epochs": 3}
    assert [short(knob, space) for knob in space] == ["lr", "training.n_epochs", "pretraining.n_epochs"]


def test_the_experiment_of_the_fakes_is_a_real_one(tmp_path: Path) -> None:
    assert lay_out(tmp_path, experiment=EXPERIMENT).study.exists()
