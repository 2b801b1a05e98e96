from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from d2n.config import RetrievalExperiment, TranslationExperiment, build_experiment, flatten
from d2n.errors import ConfigError, D2NError, OtherKnobsError, TrackingError
from d2n.tracking import names
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, open_store
from d2n.workflows import resuming, retrieve, train
from d2n.workflows.saved import CHANGEABLE


def translation(**overrides: Any) -> TranslationExperiment:
    experiment = build_experiment({"preset": "toy", "name": "mine"}, overrides)
    assert isinstance(experiment, TranslationExperiment)
    return experiment


def retrieval() -> RetrievalExperiment:
    experiment = build_experiment({"kind": "retrieval", "name": "mine"})
    assert isinstance(experiment, RetrievalExperiment)
    return experiment


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_store(sqlite_uri(path))
    return path


@pytest.fixture
def store(tmp_path: Path, database: Path) -> Store:
    shutil.copyfile(database, tmp_path / "mlflow.db")
    return open_store(sqlite_uri(tmp_path / "mlflow.db"))


@pytest.fixture
def begun(store: Store) -> Callable[..., str]:
    """Makes a run as a training leaves it; its id."""

    def make(status: Any = "KILLED", kind: str = "translation", name: str = "mine", **tags: str) -> str:
        tags = {k: f"{time.time():.0f}" if v == "now" else v for k, v in tags.items()}
        known = {names.KIND: kind, names.EXPERIMENT_NAME: name, **{f"d2n.{k}": v for k, v in tags.items()}}
        run = store.start_run("d2n/toycity", name, tags=known, params=flatten(translation(name=name)))
        if status != "RUNNING":
            run.close(status)
        return run.run_id

    return make


def state(store: Store, run_id: str) -> Any:
    run = store.client.get_run(run_id)
    return run.info.status, run.info.end_time, dict(run.data.tags), dict(run.data.params)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"status": "FINISHED"}, "is FINISHED"),
        ({"status": "RUNNING"}, "is being worked on by process"),
        ({"kind": "study"}, r"is of kind study, expected a run of `d2n train`"),
        ({"kind": "promotion"}, r"is of kind promotion"),
        ({"kind": "retrieval"}, r"`d2n retrieve --resume` goes on with it"),
        ({"study": "s", "trial": "3"}, r"trial 3 of the study s: `d2n search` goes on"),
        (
            {"status": "RUNNING", "host": "elsewhere", "processes": "x", "heartbeat": "now"},
            "elsewhere",
        ),
    ],
)
def test_a_refused_resume_is_one_line_and_leaves_the_run_as_it_was(
    store: Store, begun: Callable[..., str], made: dict[str, str], said: str
) -> None:
    run_id = begun(**made)
    before = state(store, run_id)
    with pytest.raises(TrackingError, match=said) as refusal:
        train.train_command(translation(), tracking_uri=store.uri, resume=run_id, progress=False)
    assert "\n" not in str(refusal.value)
    assert state(store, run_id) == before


@pytest.mark.parametrize(("version", "is_later"), [("99.1", True), ("0.0.9", False), ("unknown", False)])
def test_a_run_of_a_later_d2n_stays_as_it_is(
    store: Store, begun: Callable[..., str], version: str, is_later: bool
) -> None:
    run_id = begun(version=version)
    if not is_later:
        assert resuming.interrupted_run(store, run_id, translation()).run_id == run_id
        return
    with pytest.raises(
        TrackingError, match=r"was begun by d2n 99\.1, this is .*pip install -U d2n"
    ) as caught:
        resuming.interrupted_run(store, run_id, translation())
    assert "\n" not in str(caught.value)
    assert store.get(run_id).status == "KILLED"


@pytest.mark.parametrize("reference", ["", "  "])
def test_an_empty_reference_starts_no_run(store: Store, reference: str) -> None:
    with pytest.raises(ConfigError, match="names no run"):
        train.train_command(translation(), tracking_uri=store.uri, resume=reference, progress=False)
    with pytest.raises(ConfigError, match="names no run"):
        retrieve.retrieve_command(retrieval(), tracking_uri=store.uri, resume=reference, progress=False)
    assert store.find_runs() == []


@pytest.mark.parametrize("reference", ["nothing", "x y", "../..", "0" * 32, "a'b"])
def test_a_run_that_is_not_there_is_one_line(store: Store, reference: str) -> None:
    with pytest.raises(D2NError) as refusal:
        resuming.interrupted_run(store, reference, translation())
    assert "\n" not in str(refusal.value)


def test_other_knobs_are_refused_and_those_of_the_machine_are_not(
    store: Store, begun: Callable[..., str]
) -> None:
    run_id = begun()
    before = state(store, run_id)
    for knob, value in (
        ("seed", 3),
        ("translator.lr", 1e-3),
        ("evaluation.num_clusters", 7),
        ("name", "other"),
        ("evaluation.scores", ["kid", "fid"]),  # another one chooses
    ):
        told = json.dumps(value) if isinstance(value, list) else str(value)
        with pytest.raises(OtherKnobsError, match=rf"{knob}: .+ in the run, {re.escape(told)} now"):
            resuming.interrupted_run(store, run_id, translation(**{knob: value}))
    assert state(store, run_id) == before
    changed = {
        "training.num_threads": 3,
        "training.num_workers": 2,
        "training.device": "cuda:3",
        "training.log_every_steps": 7,
        "training.compile": True,
        "dataset.root": "/elsewhere",
        "dataset.index": "/elsewhere/index.csv",
        "evaluation.weights": "/elsewhere/file.pth",
        "evaluation.num_bootstrap": 10,
        "evaluation.scores": ["fid", "kid", "place/night_to_fake"],  # one more beside it
    }
    assert resuming.interrupted_run(store, run_id, translation(**changed)).run_id == run_id
    run = store.resume_run(run_id)
    run.log_params(flatten(translation(**changed)), CHANGEABLE)
    run.close("KILLED")
    record = store.get(run_id)
    assert record.params["training.num_threads"] == "0"
    assert record.tags[names.resumed_with("training.num_threads")] == "3"
    assert record.tags[names.resumed_with("dataset.root")] == "/elsewhere"
    assert "night_to_fake" in record.tags[names.resumed_with("evaluation.scores")]
    assert names.resumed_with("training.n_epochs") not in record.tags


def test_last_is_the_newest_interrupted_run_of_the_experiment(
    store: Store, begun: Callable[..., str]
) -> None:
    with pytest.raises(TrackingError, match="no interrupted run of mine on toycity"):
        resuming.interrupted_run(store, "last", translation())
    begun("KILLED")
    wanted = begun("KILLED")
    for other in (
        {"status": "FINISHED"},
        {"status": "FAILED", "error": "TrainingError: loss is nan"},
        {"name": "another"},
        {"kind": "retrieval"},
        {"study": "s", "trial": "0"},
        {"status": "RUNNING"},
    ):
        begun(**other)
    assert resuming.interrupted_run(store, "last", translation()).run_id == wanted
    full = begun("FAILED", error="CheckpointError: no space left")
    assert resuming.interrupted_run(store, "last", translation()).run_id == full
    killed = begun("RUNNING", pid="999999999")  # kill -9
    assert resuming.interrupted_run(store, "last", translation()).run_id == killed


def test_a_run_killed_before_it_said_what_it_is_goes_on(store: Store) -> None:
    run = store.start_run("d2n/toycity", "mine")
    run.close("KILLED")
    assert resuming.interrupted_run(store, run.run_id, translation()).run_id == run.run_id
