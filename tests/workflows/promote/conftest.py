"""One tracking store for all; each test has an experiment of its own in it."""

from __future__ import annotations

import pytest

from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, open_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("promote") / "mlflow.db"
    path.touch()
    return open_store(sqlite_uri(path))


@pytest.fixture
def dataset(request: pytest.FixtureRequest) -> str:
    """Named after the test."""
    return str(request.node.name).partition("[")[0][5:90]
