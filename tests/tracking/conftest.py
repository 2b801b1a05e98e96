"""A tracking store a test: a copy of one that is migrated once a session."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, open_store


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store with all tables and no runs."""
    path = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    path.touch()
    open_store(sqlite_uri(path))
    return path


@pytest.fixture
def new_store(migrated: Path, tmp_path: Path) -> Callable[[], Store]:
    """Makes a store of the test's own in tmp_path/mlruns."""

    def make() -> Store:
        path = tmp_path / "mlruns" / "mlflow.db"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            shutil.copyfile(migrated, path)
        return open_store(sqlite_uri(path))

    return make


@pytest.fixture
def store(new_store: Callable[[], Store]) -> Store:
    return new_store()
