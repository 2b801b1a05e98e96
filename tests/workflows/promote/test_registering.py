from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from failing_store import going_away
from trained_runs import TrainedRuns, decision_for

from d2n.errors import RegistryError, TrackingError
from d2n.tracking import health, history, names, registry
from d2n.tracking.runs import Store, open_store
from d2n.workflows.promote import registering
from d2n.workflows.promote.registering import ChampionMovedError, record_kept, register_winner

NAME = "d2n-toycity"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedRuns:
    """A store with tables and one export; each test has data sets of its own in it."""
    folder = tmp_path_factory.mktemp("trained")
    return TrainedRuns(open_store(f"sqlite:///{folder}/mlruns/mlflow.db"), folder / "work")


@pytest.fixture
def place(trained: TrainedRuns, request: pytest.FixtureRequest) -> tuple[Store, TrainedRuns, str, str]:
    """(store, runs, data set, registered model), the last two of this test alone."""
    dataset = f"s{abs(hash(request.node.name))}"
    trained.dataset = dataset
    return trained.store, trained, dataset, f"d2n-{dataset}"


@pytest.fixture(autouse=True)
def compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison in a fresh process takes seconds a version, and has tests of its own."""
    monkeypatch.setattr(registry, "check_model", lambda *_, **__: 0.0)


Place = tuple[Store, TrainedRuns, str, str]


def aliases(store: Store, name: str) -> dict[str, str]:
    return registry.list_aliases(store, name)


def promotion_runs(store: Store, dataset: str) -> list[str]:
    found = store.find_runs(experiment=names.experiment(dataset), tags={names.KIND: "promotion"})
    return [run.status for run in found]


def test_the_winner_and_its_seeds_are_versions_under_their_aliases(place: Place) -> None:
    store, trained, dataset, name = place
    first, second, third = (trained.train(10, seed=0), trained.train(11, seed=1), trained.train(12, seed=2))
    done = register_winner(store, dataset, name, replace(decision_for(first), seeds=(first, second, third)))
    assert aliases(store, name) == {
        "champion": "1",
        "champion-seed-0": "1",
        "champion-seed-1": "2",
        "champion-seed-2": "3",
    }
    assert done.version is not None
    assert done.version.tags[names.SEED] == "0"
    experiment = store.client.get_experiment_by_name(names.experiment(dataset))
    assert f"Champion: [{name} version 1]" in experiment.tags[names.NOTE]
    better = trained.train(5, seed=7)
    done = register_winner(store, dataset, name, decision_for(better, replace(first, name=f"{name}/1")))
    assert aliases(store, name) == {"champion": "4", "previous": "1", "champion-seed-7": "4"}
    record = history.records(store, name)[-1]
    assert (record.state, record.by, record.run_id) == ("done", "promote", done.run_id)
    run = store.get(done.run_id)
    assert (run.status, run.params["version"], run.params["verdict"]) == ("FINISHED", "4", "promoted")
    assert (
        json.loads(store.artifact(done.run_id, names.DECISION, trained.work).read_text())["promote"] is True
    )
    assert f"(#/models/{name}/versions/4)" in run.tags[names.NOTE]
    assert done.version is not None
    assert f"/runs/{better.run_id}?" in done.version.description
    assert f"(#/models/{name}/versions/4)" in store.get(better.run_id).tags[names.NOTE]


def test_a_decision_to_keep_is_recorded_in_a_run_and_in_the_history(place: Place) -> None:
    store, trained, dataset, name = place
    champion = trained.train(10)
    register_winner(store, dataset, name, decision_for(champion))
    kept = record_kept(store, dataset, name, decision_for(champion, champion, promote=False))
    assert kept.version is None
    assert history.records(store, name)[-1].run_id == kept.run_id
    assert store.get(kept.run_id).params["verdict"] == "kept"
    assert aliases(store, name)["champion"] == "1"


def test_a_decision_against_another_champion_changes_nothing(place: Place) -> None:
    store, trained, dataset, name = place
    old, other, winner = trained.train(10), trained.train(9), trained.train(8)
    register_winner(store, dataset, name, decision_for(old))
    register_winner(store, dataset, name, decision_for(other, old))
    before = aliases(store, name)
    for late in (decision_for(winner, old), decision_for(winner)):
        with pytest.raises(ChampionMovedError, match=r"version 2.*decided: run `d2n promote` again"):
            register_winner(store, dataset, name, late)
    with pytest.raises(ChampionMovedError):
        record_kept(store, dataset, name, decision_for(winner, old, promote=False))
    assert aliases(store, name) == before
    assert len(registry.list_versions(store, name)) == 2
    same = register_winner(store, dataset, name, decision_for(other, old))  # found by two at once
    assert same.version is not None
    assert same.version.version == "2"
    assert len(history.records(store, name)) == 2


def test_where_the_champions_files_are_gone_the_next_that_loads_is_taken(place: Place) -> None:
    store, trained, dataset, name = place
    champion, gone, fine = trained.train(10), trained.train(8), trained.train(9)
    register_winner(store, dataset, name, decision_for(champion))
    for lost in (champion, gone):
        shutil.rmtree(trained.files_of(lost))
    done = register_winner(store, dataset, name, decision_for(gone, None, fine))
    assert done.version is not None
    assert done.version.run_id == fine.run_id
    assert {one.run_id for one in registry.list_versions(store, name)} == {champion.run_id, fine.run_id}
    with pytest.raises(
        RegistryError, match="does not load"
    ):  # a champion that stands is not replaced by a second
        register_winner(store, dataset, name, decision_for(gone, fine, trained.train(7)))


def test_a_vetoed_winner_is_refused(place: Place) -> None:
    store, trained, dataset, name = place
    first, second = trained.train(10), trained.train(9)
    register_winner(store, dataset, name, decision_for(first))
    register_winner(store, dataset, name, decision_for(second, first))
    registry.veto(store, registry.resolve(store, f"{name}/1"), "inverts")
    with pytest.raises(RegistryError, match="was vetoed: inverts"):
        register_winner(store, dataset, name, decision_for(first, second))
    assert aliases(store, name)["champion"] == "2"


def test_the_run_of_a_killed_promotion_is_closed_by_the_next(place: Place) -> None:
    store, trained, dataset, name = place
    tags = {names.KIND: "promotion", names.DATASET: dataset}
    run = store.start_run(names.experiment(dataset), "killed", tags=tags)
    run.set_tags({names.PID: "4194303", names.PROCESS_START: "1"})
    run.release()
    register_winner(store, dataset, name, decision_for(trained.train(10)))
    assert sorted(promotion_runs(store, dataset)) == ["FINISHED", "KILLED"]


@pytest.mark.parametrize("step", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_a_server_that_goes_away_at_each_call_leaves_nothing_half_registered(place: Place, step: int) -> None:
    store, trained, dataset, name = place
    champion = trained.train(100)
    register_winner(store, dataset, name, decision_for(champion))
    number = 1
    while True:
        number += step
        winner = trained.train(100 - number)
        seen, client = going_away(store, number, is_done=number % 2 == 0)
        with contextlib.suppress(TrackingError):
            register_winner(seen, dataset, name, decision_for(winner, champion))
        if client.count < number:
            break
        now = aliases(store, name)["champion"]
        assert now in {one.version for one in registry.list_versions(store, name)}
        current = registry.resolve(store, f"{name}@champion").run_id
        assert current in (champion.run_id, winner.run_id)
        if current == champion.run_id:
            register_winner(store, dataset, name, decision_for(winner, champion))  # the next run repairs
        else:
            registering.repair(store, dataset, name)
        champion = winner
        ids = [one.model_id for one in registry.list_versions(store, name)]
        assert len(ids) == len(set(ids))
        last: dict[str, str] = {}
        for move in history.alias_history(store, name):
            assert (move.former or "") == last.get(move.alias, "")
            last[move.alias] = move.version
        assert {alias: to for alias, to in last.items() if to} == aliases(store, name)
        assert registry.resolve(store, f"{name}@champion").run_id == winner.run_id
    assert number > 40


def test_nothing_is_left_for_doctor(trained: TrainedRuns) -> None:
    found = health.examine(trained.store.uri)
    assert {one.kind for one in found} <= {"broken version", "orphan run", "missing folder", "leftover"}
    assert Path(trained.work).is_dir()
