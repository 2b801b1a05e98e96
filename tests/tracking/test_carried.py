"""A run's working files in the artifact store: whole or not taken, bounded, and gone with the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from d2n.errors import TrackingError
from d2n.tracking import carried
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(sqlite_uri(tmp_path_factory.mktemp("store") / "mlflow.db"))


@pytest.fixture
def run_id(store: Store) -> str:
    return store.start_run("d2n/x", "x", tags={}).run_id


def files(folder: Path, contents: Mapping[str, bytes]) -> dict[str, Path]:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def stored(store: Store, run_id: str) -> list[Path]:
    uri = store.client.get_run(run_id).info.artifact_uri
    return sorted((Path(uri.removeprefix("file://")) / carried.FOLDER).glob("*"))


def test_what_was_put_comes_back_to_the_bit_and_old_files_go(
    store: Store, run_id: str, tmp_path: Path
) -> None:
    carried.put(
        store, run_id, files(tmp_path / "a", {"checkpoint/checkpoint-000001.pt": b"one", "best/g": b"best"})
    )
    carried.put(
        store, run_id, files(tmp_path / "b", {"checkpoint/checkpoint-000002.pt": b"two", "best/g": b"best"})
    )
    assert len(stored(store, run_id)) == 3  # both files, and their manifest
    found = carried.newest(store, run_id)
    assert found is not None
    carried.get(store, run_id, found, tmp_path / "there")
    assert (tmp_path / "there/checkpoint/checkpoint-000002.pt").read_bytes() == b"two"
    assert (tmp_path / "there/best/g").read_bytes() == b"best"
    assert not (tmp_path / "there/checkpoint/checkpoint-000001.pt").exists()
    carried.drop(store, run_id)
    assert stored(store, run_id) == []
    assert carried.newest(store, run_id) is None


def test_a_manifest_whose_files_are_not_all_there_is_passed_over(
    store: Store, run_id: str, tmp_path: Path
) -> None:
    first = carried.put(store, run_id, files(tmp_path / "a", {"c": b"one"}))
    text = '{"files": {"c": "' + "0" * 64 + '"}}'
    store.client.log_text(run_id, text, f"{carried.FOLDER}/manifest-00000009.json")
    store.client.log_text(run_id, "{", f"{carried.FOLDER}/manifest-00000010.json")  # killed in its writing
    assert carried.newest(store, run_id) == first


def test_a_damaged_file_is_refused_and_none_is_written(store: Store, run_id: str, tmp_path: Path) -> None:
    manifest = carried.put(store, run_id, files(tmp_path / "a", {"c": b"one"}))
    next(path for path in stored(store, run_id) if path.suffix != ".json").write_bytes(b"two")
    with pytest.raises(TrackingError, match="is damaged in the artifact store"):
        carried.get(store, run_id, manifest, tmp_path / "there")
    assert not (tmp_path / "there" / "c").exists()


@pytest.mark.parametrize("name", ["../c", "/etc/passwd", "a/../../c", ""])
def test_a_manifest_that_leads_out_of_the_folder_is_none(store: Store, run_id: str, name: str) -> None:
    text = '{"files": {"' + name + '": "' + "0" * 64 + '"}}'
    store.client.log_text(run_id, text, f"{carried.FOLDER}/manifest-00000001.json")
    assert carried.newest(store, run_id) is None
