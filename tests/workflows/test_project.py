"""What d2n.open shows of a store: tidy tables with plain names, values of their own kinds."""

from __future__ import annotations

from pathlib import Path

import optuna
import pandas as pd
import pytest

import d2n
from d2n.errors import StudyError, TrackingError
from d2n.studies.storage import open_optuna
from d2n.tracking import names
from d2n.tracking.runs import open_store


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two runs of one data set and a study of three trials."""
    folder = tmp_path_factory.mktemp("project")
    store = open_store(f"sqlite:///{folder}/mlflow.db")
    params = {
        "translator.lr": 2e-4,
        "training.n_epochs": 3,
        "translator.dropout": True,
        "training.device": None,
    }
    tags = {names.KIND: "translation", names.METHOD: "cut", names.SEED: 0, names.DATASET: "city"}
    with store.start_run("d2n/city", "first", params={**params, "name": "a"}, tags=tags) as run:
        run.log_metrics({names.score("fid"): 20.0}, step=0)
        run.log_metrics({names.score("fid"): 12.5}, step=1)
    with store.start_run(
        "d2n/city", "second", params={"translator.lr": 1e-3}, tags={names.KIND: "retrieval"}
    ):
        pass
    study = optuna.create_study(storage=open_optuna(f"sqlite:///{folder}/optuna.db"), study_name="lr")
    study.set_user_attr("d2n.definition", {"objectives": [{"score": "fid", "direction": "minimize"}]})
    study.set_user_attr("d2n.dataset", "city")
    study.optimize(lambda trial: trial.suggest_float("translator.lr", 0, 1) + trial.number, n_trials=3)
    return folder


@pytest.fixture(scope="module")
def project(place: Path) -> d2n.Project:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("D2N_STUDY_STORAGE", raising=False)
        return d2n.open(f"sqlite:///{place}/mlflow.db")


def test_runs_are_a_row_each_with_plain_names_and_typed_values(project: d2n.Project) -> None:
    table = project.runs()
    assert isinstance(table, pd.DataFrame)
    assert list(table["name"]) == ["second", "first"]
    assert list(table["status"]) == ["FINISHED", "FINISHED"]
    first = table.set_index("name").loc["first"]
    assert (first["method"], first["kind"], first["score/fid"]) == ("cut", "translation", 12.5)
    assert first["params.name"] == "a"
    assert first["training.n_epochs"] == 3
    assert bool(first["translator.dropout"]) is True
    assert pd.api.types.is_float_dtype(table["translator.lr"])
    assert table["training.device"].isna().all()
    assert not [name for name in table if name.startswith(("mlflow.", "d2n."))]
    assert table["start"].is_monotonic_decreasing


def test_runs_are_chosen_by_data_set_kind_and_status(project: d2n.Project) -> None:
    assert list(project.runs("city", kind="translation")["name"]) == ["first"]
    assert list(project.runs(status="FAILED").columns) == [
        "run_id",
        "name",
        "experiment",
        "status",
        "start",
        "end",
    ]
    assert len(project.runs("elsewhere")) == 0


def test_a_metric_s_history_is_a_row_a_step(project: d2n.Project) -> None:
    first = project.runs().set_index("name").loc["first"]
    history = project.history(str(first["run_id"]), "score/fid")
    assert history.to_dict("list") == {"step": [0, 1], "value": [20.0, 12.5]}
    assert list(project.history(str(first["run_id"]), "score/none").columns) == ["step", "value"]


def test_trials_are_a_row_each_with_knobs_and_the_objective(project: d2n.Project) -> None:
    table = project.trials("lr")
    assert list(table["trial"]) == [0, 1, 2]
    assert set(table["state"]) == {"COMPLETE"}
    pd.testing.assert_series_equal(table["fid"], table["translator.lr"] + table["trial"], check_names=False)


def test_studies_tell_their_counts_and_their_best(project: d2n.Project) -> None:
    row = project.studies().iloc[0]
    assert (row["study"], row["dataset"], row["objective"], row["direction"]) == (
        "lr",
        "city",
        "fid",
        "minimize",
    )
    assert (row["trials"], row["complete"], row["pruned"], row["best_trial"]) == (3, 3, 0, 0)


def test_figures_are_plotly_s(project: d2n.Project) -> None:
    figures = project.figures("lr")
    assert {"history", "slices", "timeline"} <= set(figures)
    assert all(hasattr(figure, "to_plotly_json") for figure in figures.values())


def test_what_is_not_there_is_told_in_one_line_and_nothing_is_made(
    project: d2n.Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StudyError, match=r"no study 'rl' .*did you mean 'lr'"):
        project.trials("rl")
    assert len(project.champions()) == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("D2N_STUDY_STORAGE", raising=False)
    with pytest.raises(TrackingError, match="nothing was tracked"):
        d2n.open()
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_studies_has_an_empty_table_of_them(project: d2n.Project, tmp_path: Path) -> None:
    bare = d2n.Project(project._store, f"sqlite:///{tmp_path}/optuna.db")
    assert list(bare.studies()["study"]) == []
    with pytest.raises(StudyError, match="no studies yet"):
        bare.trials("lr")
    assert str(tmp_path) in repr(bare)
