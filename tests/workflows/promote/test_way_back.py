"""The generator of the other direction: registered beside the champion, under a name and an alias of its own."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trained_runs import TrainedRuns, decision_for

from d2n.errors import RegistryError
from d2n.promotion import Candidate
from d2n.tracking import health, names, registry
from d2n.tracking.runs import Store, open_store
from d2n.translators import checkpoint
from d2n.translators.translate import translate_batch
from d2n.workflows import card, generators
from d2n.workflows.promote.registering import register_winner
from d2n.workflows.report.links import champions_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedRuns:
    folder = tmp_path_factory.mktemp("way-back")
    return TrainedRuns(open_store(f"sqlite:///{folder}/mlruns/mlflow.db"), folder / "work")


@pytest.fixture(autouse=True)
def compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison in a fresh process takes seconds a version, and has tests of its own."""
    monkeypatch.setattr(registry, "check_model", lambda *_, **__: 0.0)


def two_way(trained: TrainedRuns, fid: float, dataset: str, *, exported: bool = True) -> Candidate:
    """A finished run that left the weights of its way back too, and is ``exported`` where that was registered once."""
    trained.dataset = dataset
    found = trained.train(fid)
    with trained.store.append_to(found.run_id) as run:
        if exported:
            run.set_tags({names.WAY_BACK_MODEL_ID: trained._log_model(run)})
        else:
            for file in sorted((trained.work / "generator").iterdir()):
                run.log_file(file, names.WAY_BACK_FOLDER)
            run.set_tags({names.WAY_BACK_FILES: "true"})
    return found


def promoted(trained: TrainedRuns, winner: Candidate, former: Candidate | None = None):
    model = names.generator_model(trained.dataset)
    return register_winner(trained.store, trained.dataset, model, decision_for(winner, former))


def test_night_to_day_stands_beside_and_the_champion_is_day_to_night(trained: TrainedRuns) -> None:
    store: Store = trained.store
    first = two_way(trained, 10, "town")
    back = promoted(trained, first).way_back
    assert back is not None
    assert (back.name, back.aliases) == ("d2n-town.night-day", (names.WAY_BACK,))
    assert (back.tags[names.SOURCE], back.tags[names.TARGET]) == ("night", "day")
    assert back.tags[names.WAY_BACK_OF] == "d2n-town/1"
    assert registry.list_aliases(store, "d2n-town")["champion"] == "1"
    assert set(registry.list_aliases(store, "d2n-town.night-day")) == {names.WAY_BACK}
    text = card.card(store, back)
    assert "of night into the same of day" in text
    assert "none of its own: it was trained as the way back of d2n-town/1" in text

    second = two_way(trained, 5, "town")
    again = promoted(trained, second, replace(first, name="d2n-town/1")).way_back
    assert again is not None
    assert (again.version, again.aliases) == ("2", (names.WAY_BACK,))
    assert champions_of(store, ["town"]) == {second.model_id}


@pytest.mark.slow
def test_it_is_made_of_the_files_that_the_run_left(
    trained: TrainedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the comparison too
    store, winner = trained.store, two_way(trained, 10, "city", exported=False)
    assert promoted(trained, winner).way_back is not None
    made = generators.load(f"d2n-city.night-day@{names.WAY_BACK}", store)
    day = torch.rand(1, 3, 17, 22) * 2 - 1
    expected, _ = checkpoint.load_generator(trained.work / "generator")
    assert torch.equal(made.translate(day), translate_batch(expected, day, made.stride))
    assert store.get(winner.run_id).tags[names.MODEL_ID] == winner.model_id  # the run's own generator stays
    assert [one.subject for one in health.examine(store.uri) if "city" in one.subject] == []


def test_a_method_without_a_way_back_registers_none(trained: TrainedRuns) -> None:
    trained.dataset = "village"
    assert promoted(trained, trained.train(10)).way_back is None
    assert registry.list_models(trained.store, "d2n-village") == ["d2n-village"]


def test_files_that_are_damaged_are_a_warning_and_the_champion_stands(
    trained: TrainedRuns, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    winner = two_way(trained, 10, "hamlet", exported=False)
    broken = tmp_path / "generator.safetensors"
    broken.write_bytes(b"nothing")
    with trained.store.append_to(winner.run_id) as run:
        run.log_file(broken, names.WAY_BACK_FOLDER)
    with caplog.at_level(logging.WARNING):
        done = promoted(trained, winner)
    assert done.way_back is None
    assert done.version is not None
    assert "the way back of d2n-hamlet version 1 is not registered" in caplog.text


def test_a_data_set_named_as_a_direction_is_refused_where_they_meet(trained: TrainedRuns) -> None:
    two = two_way(trained, 10, "port")
    promoted(trained, two)  # makes d2n-port.night-day
    trained.dataset = "port.night-day"
    with pytest.raises(
        RegistryError, match=r"d2n-port.night-day is the generator of port from night to day alr"
    ):
        promoted(trained, trained.train(9))
    registry.refuse_other_origin(trained.store, "d2n-port.night-day", "port", "night", "day")
    registry.refuse_other_origin(trained.store, "d2n-nowhere", "nowhere", "day", "night")


def test_the_generators_of_a_data_set_are_not_those_of_one_named_alike(trained: TrainedRuns) -> None:
    trained.dataset = "bay.dusk-night"
    promoted(trained, trained.train(10))
    promoted(trained, two_way(trained, 10, "bay"))
    assert registry.generators_of(trained.store, "bay") == ["d2n-bay", "d2n-bay.night-day"]
    assert registry.generators_of(trained.store, "bay.dusk-night") == ["d2n-bay.dusk-night"]
