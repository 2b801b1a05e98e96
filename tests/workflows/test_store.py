"""d2n store move and copy: the whole store in another place, or the whole old one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest

from d2n.errors import D2NError, TrackingError
from d2n.studies.leases import LeaseTable, this_process
from d2n.studies.storage import open_optuna, storage_url
from d2n.tracking import health, names, registry
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import open_store
from d2n.workflows import store

_KILLED_AT = """
import os, signal, sys
from pathlib import Path
from d2n.workflows import store
def die(*a, **k): os.kill(os.getpid(), signal.SIGKILL)
wanted, real, calls = sys.argv[1], Path.rename, []
def rename(self, to):
    calls.append(self)
    if wanted == f"before rename {len(calls)}": die()
    done = real(self, to)
    if wanted == f"after rename {len(calls)}": die()
    return done
Path.rename = rename
if wanted == "databases": store._copy_databases = die
getattr(store, sys.argv[2])(sys.argv[3], sys.argv[4])
"""


@pytest.fixture(autouse=True)
def unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models here stand in for real ones, and would be refused: tests/workflows/test_sealed.py looks at those."""
    monkeypatch.setattr(health, "broken_seals", lambda store: [])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run, a champion whose MLmodel names its place, a study and a work folder."""
    folder = tmp_path_factory.mktemp("made") / "mlruns"
    opened = open_store(sqlite_uri(folder / "mlflow.db"))
    with opened.start_run("d2n/toycity", "one") as run:
        run.log_text("x", "note.txt")
        run.log_image(np.zeros((4, 4, 3), np.uint8), "samples/grid", 0)
        model = opened.client.create_logged_model(run.experiment_id, "generator", run.run_id)
        files = folder.parent / "model"
        (files / "data").mkdir(parents=True)
        (files / "data" / "model.pt2").write_bytes(b"x")
        (files / "MLmodel").write_text(f"artifact_path: {model.artifact_location}\nflavors: {{}}\n")
        opened.client.log_model_artifacts(model.model_id, str(files))
        opened.client.finalize_logged_model(model.model_id, "READY")
    registry.register(
        opened, model_name="d2n-toycity", run_id=run.run_id, model_id=model.model_id, alias="champion"
    )
    url = storage_url(f"sqlite:///{folder}/optuna.db")
    study = optuna.create_study(storage=open_optuna(url), study_name="s")
    study.set_user_attr("work", str(folder / "work"))
    LeaseTable(url).register("s")
    (folder / "work").mkdir()
    (folder / "work" / "uv.lock").write_text("kept")
    return folder


@pytest.fixture
def old(made: Path, tmp_path: Path) -> Path:
    """A store of the test's own."""
    store.copy(made, tmp_path / "old")
    return tmp_path / "old"


def check_whole(folder: Path, out: Path) -> None:
    """Everything is found in the folder, and nothing leads to another one."""
    uri = sqlite_uri(folder / "mlflow.db")
    assert [one for one in health.examine(uri) if one.kind != "leftover"] == []
    opened = open_store(uri)
    assert registry.list_aliases(opened, "d2n-toycity") == {"champion": "1"}
    got = registry.download(opened, "d2n-toycity@champion", out / f"pulled-{folder.name}")
    assert f'artifact_path: "{folder.as_uri()}/' in (got / "MLmodel").read_text()
    (run,) = opened.find_runs()
    assert opened.artifact(run.run_id, "note.txt", out / f"got-{folder.name}").read_text() == "x"
    study = optuna.load_study(storage=open_optuna(f"sqlite:///{folder}/optuna.db"), study_name="s")
    assert study.user_attrs["work"] == str(folder / "work")
    assert (folder / "work" / "uv.lock").read_text() == "kept"


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_copy_stands_alone_and_the_original_stays(old: Path, tmp_path: Path) -> None:
    before = content(old)
    lines = store.copy(old, tmp_path / "a b" / "new")
    new = tmp_path / "a b" / "new"
    assert lines[0].startswith(f"copied {old} to {new}: ")
    assert content(old) == before
    check_whole(old, tmp_path)
    shutil.rmtree(old)
    check_whole(new, tmp_path)


def test_a_moved_store_leaves_nothing_behind(old: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()  # an empty folder is no hindrance
    lines = store.move(old, tmp_path / "new")
    assert any(str(tmp_path / "new" / "optuna.db") in line for line in lines)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["new"]
    check_whole(tmp_path / "new", tmp_path)


def test_a_move_by_hand_is_completed(old: Path, tmp_path: Path) -> None:
    old.rename(tmp_path / "new")
    assert "by hand" in store.move(old, tmp_path / "new")[0]
    check_whole(tmp_path / "new", tmp_path)
    with pytest.raises(D2NError, match="no place of the store"):
        store.move(tmp_path / "never", tmp_path / "new")


def test_a_store_that_was_copied_by_hand_is_copied_whole(old: Path, tmp_path: Path) -> None:
    hand = Path(shutil.copytree(old, tmp_path / "hand"))
    store.copy(hand, tmp_path / "new")
    shutil.rmtree(old)
    shutil.rmtree(hand)
    check_whole(tmp_path / "new", tmp_path)


def test_links_lead_where_they_led(old: Path, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "x").write_text("far")
    (old / "far").symlink_to(Path("..") / "big")
    (old / "near").symlink_to("work")
    (tmp_path / "deep").mkdir()
    store.move(old, tmp_path / "deep" / "new")
    assert (tmp_path / "deep" / "new" / "far" / "x").read_text() == "far"
    assert (tmp_path / "deep" / "new" / "near").readlink() == Path("work")


@pytest.mark.parametrize(
    ("verb", "at"),
    [
        ("move", "databases"),
        ("move", "after rename 2"),
        *(
            pytest.param(verb, at, marks=pytest.mark.slow)
            for verb, at in (
                ("copy", "databases"),
                ("copy", "after rename 1"),
                ("move", "before rename 1"),
                ("move", "after rename 1"),
                ("move", "before rename 2"),
            )
        ),
    ],
)
def test_a_kill_leaves_the_whole_old_store_or_the_whole_new_one(
    old: Path, tmp_path: Path, verb: str, at: str
) -> None:
    new = tmp_path / "new"
    done = subprocess.run([sys.executable, "-c", _KILLED_AT, at, verb, str(old), str(new)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert old.exists() or new.exists()
    for folder in (old, new):
        if folder.exists():
            check_whole(folder, tmp_path)
    left = [one for one in tmp_path.iterdir() if one.name.endswith(".part")]
    if new.exists():
        uri = sqlite_uri(new / "mlflow.db")
        found = [one for one in health.examine(uri) if Path(one.subject).parent == tmp_path]
        assert [Path(one.subject) for one in found] == left
        for one in found:
            health.mend(uri, one)
    else:
        getattr(store, verb)(old, new)  # the same command again
        check_whole(new, tmp_path)
    assert not [one for one in tmp_path.iterdir() if one.name.endswith(".part")]


def test_a_store_in_use_is_refused_and_stays(old: Path, tmp_path: Path) -> None:
    opened = open_store(sqlite_uri(old / "mlflow.db"))
    run = opened.start_run("d2n/toycity", "alive")
    for verb in (store.move, store.copy):
        with pytest.raises(D2NError, match=f"{run.run_id} is RUNNING"):
            verb(old, tmp_path / "new")
    run.close()
    table = LeaseTable(f"sqlite:///{old}/optuna.db")
    with table.exclusive("s") as connection:
        lease = table.take(connection, "s", 0, this_process(), 300.0)
    with pytest.raises(D2NError, match="trial 0 of s is held"):
        store.copy(old, tmp_path / "new")
    with table.engine.begin() as connection:
        table.end(connection, lease, "done")
    writing = sqlite3.connect(old / "mlflow.db", isolation_level=None)
    writing.execute("BEGIN IMMEDIATE")
    with pytest.raises(D2NError, match="is being written"):
        store.move(old, tmp_path / "new")
    writing.close()
    assert not (tmp_path / "new").exists()
    orphan = {names.HOST: socket.gethostname(), names.PID: os.getpid(), names.PROCESS_START: "1"}
    opened.start_run("d2n/toycity", "orphan", tags=orphan)  # of a process that is gone: no hindrance
    store.move(old, tmp_path / "new")


def test_bad_input_is_one_line(old: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "link").symlink_to(old)
    for source, target, said in (
        ("postgresql://me:secret@db/x", tmp_path / "new", "only an embedded store"),
        (old, "http://server:5000", "only an embedded store"),
        (f"sqlite:///{old}/mlflow.db", tmp_path / "new", "expected the store's folder"),
        ("", tmp_path / "new", "no folder is named"),
        (tmp_path / "none", tmp_path / "new", "is not there: expected the folder of a store"),
        (tmp_path / "file", tmp_path / "new", "is no folder"),
        (tmp_path / "full", tmp_path / "new", "holds no store: expected mlflow.db"),
        (tmp_path / "link", tmp_path / "new", "is a link"),
        (old, old, "where the store is already"),
        (old, old / "in" / "it", "lies inside the store"),
        (old, tmp_path / "full", "is there already"),
        (old, tmp_path / "file", "is there already"),
        (old, tmp_path / "file" / "new", "file/new is not made"),
        (old, tmp_path / ("x" * 300), "name too long"),
    ):
        for verb in (store.move, store.copy):
            with pytest.raises(D2NError) as caught:
                verb(source, target)
            assert said.lower() in str(caught.value).lower()
            assert "secret" not in str(caught.value)
            assert "\n" not in str(caught.value)
    (old / "mlflow.db").write_bytes(b"damaged" * 100)
    with pytest.raises(D2NError, match="not a SQLite database"):
        store.copy(old, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_store_of_a_newer_mlflow_stays_where_it_is(old: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(old / "mlflow.db")) as opened, opened:
        opened.execute("update alembic_version set version_num = 'ffffffffffff'")
    before = content(old)
    for transfer in (store.move, store.copy):
        with pytest.raises(TrackingError, match=r"touched by a newer MLflow .*pip install -U mlflow"):
            transfer(old, tmp_path / "new")
    kept = {name: value for name, value in content(old).items() if not name.endswith(("-shm", "-wal"))}
    assert kept == before  # whoever looks into SQLite's log leaves its index there
    assert not (tmp_path / "new").exists()
