"""A tracking server in memory that goes away on command, and a run on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from away_server import AwayServer, Memory

from d2n.tracking.runs import Store, open_store


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def server(memory: Memory) -> Iterator[AwayServer]:
    served = AwayServer(memory)
    yield served
    served.close()


@pytest.fixture
def store(server: AwayServer) -> Store:
    return open_store(server.uri)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a run, below a work folder."""
    return tmp_path / "mlruns" / "work" / "run"
