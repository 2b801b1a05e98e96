"""Fetching a model's files from a store over HTTP: held against its seal, what is there already is not fetched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2n.errors import RegistryError
from d2n.tracking import fetching, registry, seal
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, open_store
from tests.tracking.servers import MlflowServer


@pytest.fixture
def served(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Path]]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(migrated, folder / "server.db")
    server = MlflowServer(folder, sqlite_uri(folder / "server.db"))
    server.start()
    yield open_store(server.uri), folder / "served"
    server.stop()


def logged_model(store: Store, folder: Path) -> str:
    """A sealed logged model of two files, without an export."""
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "data/model.pt2").write_bytes(b"program")
    with store.start_run("d2n/x", "one") as run:
        model = store.client.create_logged_model(run.experiment_id, "generator", run.run_id)
        store.client.set_logged_model_tags(model.model_id, seal.tag_values(seal.manifest(folder)))
        store.client.log_model_artifacts(model.model_id, str(folder))
        store.client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


@pytest.mark.slow
def test_over_http_too_every_file_is_held_against_its_sum(served: tuple[Store, Path], tmp_path: Path) -> None:
    store, folder = served
    model_id = logged_model(store, tmp_path / "made")
    got = registry.download_model(store, model_id, tmp_path / "got")
    assert seal.manifest(got) == seal.manifest(tmp_path / "made")

    (stored,) = folder.rglob("model.pt2")
    stored.unlink()
    half = tmp_path / "half"
    half.mkdir()
    (half / "data").mkdir()
    (half / "data/model.pt2").write_bytes(b"program")
    fetching.fill(store, model_id, half, {})  # it is not fetched again
    assert seal.manifest(half) == seal.manifest(got)

    stored.write_bytes(b"changed")
    with pytest.raises(RegistryError, match=r"data/model\.pt2.* is not what was registered"):
        registry.download_model(store, model_id, tmp_path / "changed")
    stored.write_bytes(b"program")
    stored.with_name("model.pth").write_bytes(b"planted")
    with pytest.raises(RegistryError, match=r"model\.pth.*put there later"):
        registry.download_model(store, model_id, tmp_path / "planted")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["got", "half", "made"]


def test_a_seal_cannot_name_a_place_outside_the_folder(store: Store, tmp_path: Path) -> None:
    model_id = logged_model(store, tmp_path / "made")
    tags = seal.tag_values({"../outside": "0" * 64})
    with pytest.raises(RegistryError, match=r"outside|put there later"):
        registry.download_model(store, model_id, tmp_path / "got", tags)
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "got").exists()


def test_a_model_of_an_earlier_release_has_no_seal_and_is_fetched_as_it_is(
    store: Store, tmp_path: Path
) -> None:
    model_id = logged_model(store, tmp_path / "made")
    for tag in store.client.get_logged_model(model_id).tags:
        store.client.delete_logged_model_tag(model_id, tag)
    got = registry.download_model(store, model_id, tmp_path / "got")
    assert seal.manifest(got) == seal.manifest(tmp_path / "made")
