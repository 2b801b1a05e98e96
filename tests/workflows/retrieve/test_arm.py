from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trained_runs import TrainedRuns, tiny_generator

from d2n.config import NetworkConfig, translator_config
from d2n.errors import ConfigError, TrackingError
from d2n.retrieval import network
from d2n.retrieval.photometric_network import PhotometricNetwork, read_photometric
from d2n.tracking import names, registry, uses
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import RunRecord, Store, open_store
from d2n.translators import checkpoint
from d2n.workflows.retrieve.arm import _generator, _generators, _light


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedRuns:
    """Two versions of one model, the champion at the first."""
    folder = tmp_path_factory.mktemp("arm")
    made = TrainedRuns(open_store(sqlite_uri(folder / "mlruns" / "mlflow.db")), folder / "work")
    for _ in range(2):
        one = made.train(1.0)
        registry.register(made.store, model_name="d2n-toycity", run_id=one.run_id, model_id=one.model_id)
    registry.set_alias(made.store, "d2n-toycity", "champion", "1")
    return made


def started(store: Store, use: uses.Use) -> RunRecord:
    """An interrupted run that wrote down what it uses."""
    with store.start_run("d2n/toycity", "arm", tags={names.KIND: "retrieval"}) as run:
        uses.record(store, run, use)
        run.close("KILLED")
    return store.get(run.run_id)


@pytest.mark.parametrize("role", [uses.GENERATOR, uses.QUERIES])
def test_a_resumed_run_keeps_the_version_it_began_with(trained: TrainedRuns, role: str) -> None:
    store = trained.store
    registry.set_alias(store, "d2n-toycity", "champion", "1")
    _, use = _generator("d2n-toycity@champion", role, store, None)
    record = started(store, use)
    registry.set_alias(store, "d2n-toycity", "champion", "2")
    found, again = _generator("d2n-toycity@champion", role, store, record)
    assert found.version is not None
    assert found.version.version == "1"
    assert again == use
    assert record.run_id in registry.resolve(store, "d2n-toycity/1").used_by
    assert _generator("d2n-toycity@champion", role, store, None)[1].version == "2"


def test_a_run_id_is_a_use_and_the_run_names_who_used_it(trained: TrainedRuns) -> None:
    store = trained.store
    run_id = registry.resolve(store, "d2n-toycity/1").run_id
    _, use = _generator(run_id, uses.QUERIES, store, None)
    record = started(store, use)
    assert (use.kind, use.run_id) == ("run", run_id)
    assert names.used_by(record.run_id) in store.get(run_id).tags


def test_a_folder_is_known_by_its_digest_and_another_is_refused(trained: TrainedRuns, tmp_path: Path) -> None:
    store, folder = trained.store, tmp_path / "generator"
    tiny_generator(folder)
    _, use = _generator(str(folder), uses.GENERATOR, store, None)
    record = started(store, use)
    assert _generator(str(folder), uses.GENERATOR, store, record)[1] == use
    generator, config = checkpoint.load_generator(folder)
    with torch.no_grad():
        next(generator.parameters()).add_(1)
    checkpoint.save_generator(folder, generator, checkpoint.config_from_dict(config, "here"))
    with pytest.raises(TrackingError, match=r"began with folder generator .* bring the former back"):
        _generator(str(folder), uses.GENERATOR, store, record)
    other = replace(use, sha256="")  # of a run before digests were written
    assert _generator(str(folder), uses.GENERATOR, store, started(store, other))[1].kind == "folder"


def with_seeds(trained: TrainedRuns, seeds: dict[int, str], champion: str) -> Store:
    """The champion, and which versions its seeds are."""
    store = trained.store
    for alias in registry.list_aliases(store, "d2n-toycity"):
        store.client.delete_registered_model_alias("d2n-toycity", alias)
    registry.set_alias(store, "d2n-toycity", "champion", champion)
    for seed, version in seeds.items():
        registry.set_alias(store, "d2n-toycity", names.seed_alias(seed), version)
    return store


@pytest.mark.parametrize(
    ("reference", "seeds", "num_seeds", "versions"),
    [
        ("models:/d2n-toycity@champion", {0: "1", 1: "2"}, 3, ["2", "1"]),
        ("d2n-toycity@champion", {3: "2", 12: "1"}, 1, ["2"]),
        ("d2n-toycity@champion", {0: "1"}, 3, ["2"]),  # the seeds of another champion
        ("d2n-toycity@champion", {}, 3, ["2"]),
        ("d2n-toycity@champion-seed-0", {0: "1", 1: "2"}, 3, ["1"]),
        ("d2n-toycity/2", {0: "1", 1: "2"}, 3, ["2"]),
    ],
)
def test_each_seed_takes_the_generator_of_another_seed_of_the_champion(
    trained: TrainedRuns, reference: str, seeds: dict[int, str], num_seeds: int, versions: list[str]
) -> None:
    store = with_seeds(trained, seeds, champion="2")
    found = _generators(reference, num_seeds, store, None)
    assert [use.version for _, use in found] == versions
    assert [use.role for _, use in found] == ["generator", "generator-2"][: len(versions)]


def test_a_resumed_run_goes_on_with_the_generators_that_it_began_with(trained: TrainedRuns) -> None:
    store = with_seeds(trained, {0: "1", 1: "2"}, champion="1")
    begun = [use for _, use in _generators("d2n-toycity@champion", 2, store, None)]
    with store.start_run("d2n/toycity", "arm", tags={names.KIND: "retrieval"}) as run:
        for use in begun:
            uses.record(store, run, use)
        run.close("KILLED")
    with_seeds(trained, {0: "1"}, champion="2")
    again = _generators("d2n-toycity@champion", 2, store, store.get(run.run_id))
    assert [use for _, use in again] == begun
    assert run.run_id in registry.resolve(store, "d2n-toycity/2").used_by
    before = started(store, begun[0])  # of a release whose seeds shared one generator
    assert len(_generators("d2n-toycity@champion", 2, store, before)) == 1


@pytest.fixture(scope="module")
def photometric(tmp_path_factory: pytest.TempPathFactory) -> TrainedRuns:
    """A data set whose generator is a photometric network, two versions."""
    folder = tmp_path_factory.mktemp("photometric")
    made = TrainedRuns(open_store(sqlite_uri(folder / "mlruns" / "mlflow.db")), folder / "work")
    made.config = translator_config("photometric", generator_channels=4, unet_depth=3, generator_norm="batch")
    for _ in range(2):
        one = made.train(1.0)
        registry.register(
            made.store, model_name="d2n-toycity.night-day", run_id=one.run_id, model_id=one.model_id
        )
    registry.set_alias(made.store, "d2n-toycity.night-day", "champion", "1")
    return made


def test_the_light_slot_pulls_a_registered_photometric_network(photometric: TrainedRuns) -> None:
    store, named = photometric.store, "d2n-toycity.night-day@champion"
    asked = NetworkConfig(backbone="toy", light="photometric", light_weights=named)
    config, lit = _light(asked, store, None)
    ((generator, use),) = lit
    assert (use.role, use.name, use.version) == ("light", "d2n-toycity.night-day", "1")
    lit_network = read_photometric(config.light_weights)
    images = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        expected = (generator.module(2 * images - 1) + 1) / 2
        torch.testing.assert_close(lit_network(images), expected)
    built = network.build(config, seed=0)
    assert isinstance(built.light, PhotometricNetwork)
    record = started(store, use)
    registry.set_alias(store, "d2n-toycity.night-day", "champion", "2")
    ((_, again),) = _light(asked, store, record)[1]
    assert again == use  # a resumed run keeps the version it began with
    registry.set_alias(store, "d2n-toycity.night-day", "champion", "1")


def test_another_generator_in_the_light_slot_is_one_line(trained: TrainedRuns) -> None:
    asked = NetworkConfig(backbone="toy", light="photometric", light_weights="d2n-toycity/1")
    with pytest.raises(
        ConfigError, match=r"d2n-toycity version 1 is a resnet of cyclegan, expected a photometric"
    ):
        _light(asked, trained.store, None)
    plain = NetworkConfig(backbone="toy", light="photometric", light_weights="no/such/file.pth")
    assert _light(plain, trained.store, None) == (plain, [])
