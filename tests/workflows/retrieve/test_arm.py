from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trained_runs import TrainedRuns, tiny_generator

from d2n.errors import TrackingError
from d2n.tracking import names, registry, uses
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import RunRecord, Store, open_store
from d2n.translators import checkpoint
from d2n.workflows.retrieve.arm import _generator


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
