"""mAP as an objective: a trial is a translator and its arm, or a retrieval network alone; a killed one goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from survival import wait_until

from d2n import config
from d2n.config import RetrievalExperiment
from d2n.core import Evaluation
from d2n.datasets import toycity
from d2n.errors import StudyError
from d2n.studies import load_study
from d2n.studies.worker import LeaseLostError, StoppedError
from d2n.tracking import names, runs
from d2n.workflows import search
from d2n.workflows.kinds import KINDS, kind_of
from d2n.workflows.search.arm import with_arm
from tests.workflows.conftest import TINY_RETRIEVAL, TINY_TRANSLATION

NIGHT = "map/toycity/night"
TRANSLATION = {
    **TINY_TRANSLATION,
    "name": "translator",
    "translator": {**TINY_TRANSLATION["translator"], "method": "pix2pix"},  # type: ignore[dict-item]
    "evaluation": {**TINY_TRANSLATION["evaluation"], "extractor": "random-squeezenet1_0", "resize_px": 64},  # type: ignore[dict-item]
}
RETRIEVAL = {
    **TINY_RETRIEVAL,
    "name": "arm",
    "training": {**TINY_RETRIEVAL["training"], "n_epochs": 2, "num_queries": 5},  # type: ignore[dict-item]
}
ARM = {"experiment": "arm.yaml", "overrides": {"evaluation.measure_every_epochs": 1}}
STUDY = {
    "name": "by_map",
    "experiment": "translator.yaml",
    "arm": ARM,
    "space": {"translator.lr": {"type": "float", "low": 1e-4, "high": 1e-3}},
    "objective": NIGHT,
    "sampler": "random",
    "stop": {"trials": 2},
}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("by_map")
    with contextlib.chdir(folder):
        toycity.make("data/toycity", seed=0, scale=0.02, workers=1)
        (folder / "translator.yaml").write_text(json.dumps(TRANSLATION))
        (folder / "arm.yaml").write_text(json.dumps(RETRIEVAL))
        yield folder


@pytest.fixture(scope="module")
def store(folder: Path) -> runs.Store:
    return runs.open_store()


def study(folder: Path, **changed: Any) -> Path:
    path = folder / "study.yaml"
    path.write_text(
        json.dumps({key: value for key, value in {**STUDY, **changed}.items() if value is not None})
    )
    return path


def follow(
    opened: Any, told: dict[int, dict[str, float]], leave: BaseException | None = None, at: int = 0
) -> Any:
    """Consume a training as a search does, and leave it by an error after so many evaluations."""
    with opened as training:
        for found in training.steps:
            if isinstance(found, Evaluation) and found.scores:
                told[found.step] = dict(found.scores)
                if leave is not None and len(told) == at:
                    if isinstance(leave, LeaseLostError):
                        training.run.release()
                    raise leave
    return training


def trial(store: runs.Store, folder: Path, *, leave: BaseException | None = None, at: int = 0) -> Any:
    """A trial's two trainings; left by an error once the arm has been evaluated ``at`` times, and taken up again."""
    definition = load_study(study(folder))
    kind = with_arm(KINDS["translation"], definition.arm)
    run = store.start_run("d2n/toycity", "trial")
    given: dict[str, Any] = {"store": store, "work_root": store.work_root, "progress": False}
    told: dict[int, dict[str, float]] = {}
    if leave is not None:
        with pytest.raises(type(leave)):
            follow(kind.tracked(definition.experiment, run=run, resume=False, **given), told, leave, at)
        run = store.resume_run(run.run_id)
    going_on = kind.tracked(definition.experiment, run=run, resume=leave is not None, **given)
    return follow(going_on, told), told, run.run_id


def arms(store: runs.Store, run_id: str) -> list[runs.RunRecord]:
    return store.find_runs(tags={names.PARENT_RUN: run_id, names.KIND: "retrieval"})


@pytest.mark.slow
def test_a_killed_trial_ends_with_the_scores_of_one_never_killed(store: runs.Store, folder: Path) -> None:
    whole, told, run_id = trial(store, folder)
    assert whole.status == "FINISHED"
    assert {NIGHT, "map/toycity/day", "kid.random-squeezenet1_0"} <= whole.scores.keys()
    assert store.get(run_id).metrics[f"score/{NIGHT}"] == whole.scores[NIGHT]
    assert store.get(run_id).status == "FINISHED"
    assert len(told) == 2  # the arm's first epoch, and its end
    again, told_again, other = trial(store, folder, leave=StoppedError("stopped"), at=1)
    assert again.scores == whole.scores
    assert told_again == told
    (arm,) = arms(store, other)  # gone on with, not begun anew
    assert (arm.status, arm.params["night.generator"], arm.params["evaluation.split"]) == (
        "FINISHED",
        other,
        "val",
    )
    assert arm.metrics[NIGHT] == whole.scores[NIGHT]


@pytest.mark.slow
def test_a_trial_that_another_worker_has_is_left_as_it_is(store: runs.Store, folder: Path) -> None:
    definition = load_study(study(folder))
    kind = with_arm(KINDS["translation"], definition.arm)
    run = store.start_run("d2n/toycity", "trial")
    given: dict[str, Any] = {"store": store, "work_root": store.work_root, "progress": False}
    opened = kind.tracked(definition.experiment, run=run, resume=False, **given)
    with pytest.raises(LeaseLostError):
        follow(opened, {}, LeaseLostError("another has it"), 1)
    (arm,) = arms(store, run.run_id)
    assert (store.get(run.run_id).status, arm.status) == ("RUNNING", "RUNNING")


def test_a_study_of_translators_by_map_is_searched_and_its_best_is_the_arms(
    store: runs.Store, folder: Path
) -> None:
    asked = search.SearchRequest(study(folder, stop={"trials": 1}), tracking_uri=store.uri)
    result = search.run_search(asked)
    assert result.status.counts["COMPLETE"] == 1
    (best, *_) = result.status.best
    (arm,) = arms(store, best.run_id or "")
    assert best.values == (arm.metrics[NIGHT],)
    assert "epoch/map/toycity/night/seed0" in arm.metrics


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_by_map_of_eight_trials_goes_on_after_kill_9(store: runs.Store, folder: Path) -> None:
    """Killed in an arm of its third trial or later; the second call ends every trial once, with one arm each."""
    asked = study(folder, name="killed", stop={"trials": 8}, pruner="none")
    command = [sys.executable, "-m", "d2n", "search", str(asked), "--tracking-uri", store.uri]
    searching = subprocess.Popen(command, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: arms_of(store, "killed").count("FINISHED") >= 2, 300)
        wait_until(lambda: "RUNNING" in arms_of(store, "killed"), 60)
    finally:
        os.killpg(searching.pid, signal.SIGKILL)
        searching.wait()
    result = search.run_search(search.SearchRequest(asked, tracking_uri=store.uri))
    assert result.status.counts["COMPLETE"] == 8
    assert arms_of(store, "killed") == ["FINISHED"] * 8
    for run in trials_of(store, "killed"):
        (arm,) = arms(store, run.run_id)
        assert (run.status, run.metrics[f"score/{NIGHT}"]) == ("FINISHED", arm.metrics[NIGHT])


def trials_of(store: runs.Store, name: str) -> list[runs.RunRecord]:
    return [run for run in store.find_runs(tags={names.STUDY: name}) if names.TRIAL in run.tags]


def arms_of(store: runs.Store, name: str) -> list[str]:
    """How the arms of a study's trials stand."""
    return [arm.status for run in trials_of(store, name) for arm in arms(store, run.run_id)]


def test_a_retrieval_network_is_searched_by_its_own_knobs(store: runs.Store, folder: Path) -> None:
    own = study(
        folder,
        name="own",
        experiment="arm.yaml",
        arm=None,
        space={
            "training.margin": {"type": "float", "low": 0.5, "high": 1.0},
            "network.gem_p": {"type": "categorical", "choices": [2.0, 3.0]},
        },
        overrides={"evaluation.split": "val", "evaluation.measure_every_epochs": 1},
        objectives=[NIGHT, "map/toycity/day"],
        objective=None,
        pruner="none",
    )
    result = search.run_search(search.SearchRequest(own, tracking_uri=store.uri))
    assert result.status.counts["COMPLETE"] == 2
    for row in result.status.best:
        record = store.get(row.run_id or "")
        assert row.values == (record.metrics[NIGHT], record.metrics["map/toycity/day"])
        assert float(record.params["training.margin"]) == row.settings["training.margin"]
    assert any("night mAP" in line or "map/toycity/night" in line for line in search.status("own"))
    written = [line.split("/")[-1] for line in search.export("own", folder / "out")]
    assert {"trials.csv", "pareto_front.html"} <= {*written}


def test_what_a_study_by_map_cannot_be_is_one_line(folder: Path) -> None:
    def refused(**changed: Any) -> str:
        with pytest.raises(StudyError) as caught:
            load_study(study(folder, **changed))
        return str(caught.value)

    assert "expected arm: {experiment:" in refused(arm=None)
    assert "expected evaluation.split: val" in refused(arm={**ARM, "overrides": {"evaluation.split": "test"}})
    assert "night is each trial's generator" in refused(arm={**ARM, "overrides": {"night.generator": "x"}})
    assert "of kind translation, expected retrieval" in refused(arm={"experiment": "translator.yaml"})
    assert "leave arm out" in refused(experiment="arm.yaml", space={"training.margin": {"type": "bool"}})
    knob = {"translator.lr": {"type": "float", "low": 1, "high": 2}}
    assert "no knob of a retrieval experiment" in refused(experiment="arm.yaml", arm=None, space=knob)


def test_the_arm_is_a_part_of_what_a_study_is(folder: Path) -> None:
    short = load_study(study(folder)).identity()
    longer = load_study(study(folder, arm={**ARM, "overrides": {"training.n_epochs": 9}})).identity()
    how_often = load_study(study(folder, arm={"experiment": "arm.yaml"})).identity()
    assert short["arm"] != longer["arm"]
    assert short["arm"] == how_often["arm"]
    assert "arm" not in load_study(study(folder, arm=None, objective="fid")).identity()


def test_the_row_stays_itself_without_an_arm() -> None:
    experiment = config.build_experiment(RETRIEVAL)
    assert isinstance(experiment, RetrievalExperiment)
    assert with_arm(kind_of(experiment), None) is KINDS["retrieval"]
    assert dataclasses.is_dataclass(with_arm(KINDS["translation"], experiment))
