"""``d2n clean`` lists, and frees only what it was told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.tracking import names
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, open_store
from d2n.workflows.clean import clean, size_text


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a finished run's folder of 2000 bytes."""
    made = open_store(sqlite_uri(tmp_path / "mlruns" / "mlflow.db"))
    tags = {names.KIND: "translation", names.MODEL_ID: "m-1"}
    with made.start_run("d2n/toycity", "one", tags=tags) as run:
        folder = made.work_root / run.run_id
        folder.mkdir(parents=True)
        (folder / "checkpoint.pt").write_bytes(b"x" * 2000)
    return made


def test_it_lists_first_and_frees_on_request(store: Store) -> None:
    (folder,) = store.work_root.iterdir()
    line, last = clean(store, is_wanted=False)
    assert line == f"work folder {folder}: 2 kB: run 'one' of d2n/toycity is FINISHED"
    assert last == "2 kB can go; nothing was freed: `d2n clean --yes` does it"
    assert (folder / "checkpoint.pt").is_file()
    assert clean(store, is_wanted=True)[-1] == "freed 2 kB"
    assert not folder.exists()
    assert clean(store, is_wanted=True) == ["nothing to free"]


def test_sizes_are_of_a_readable_unit() -> None:
    assert [size_text(n) for n in (0, 999, 1234567, 5e15)] == ["0 B", "999 B", "1.235 MB", "5000 TB"]


def test_what_is_left_to_mlflows_own_collector_is_told_with_its_command(store: Store) -> None:
    (folder,) = store.work_root.iterdir()
    model = store.client.create_logged_model(
        store.get(folder.name).experiment_id, name="generator", source_run_id=folder.name
    )
    store.client.finalize_logged_model(model.model_id, "READY")  # no folder here: it lies in an object store
    store.client.delete_run(folder.name)
    command = f"mlflow gc --backend-store-uri {store.uri} --tracking-uri {store.uri}"
    lines = clean(store, is_wanted=True)
    assert (
        f"logged model {model.model_id}: in the artifact store: its run {folder.name} was deleted" in lines[1]
    )
    assert lines[-2].startswith("1 run is deleted")
    assert lines[-2].endswith(f"until `{command}` removes them with their artifacts")
    assert lines[-1] == f"logged models leave the artifact store with `{command}`"
